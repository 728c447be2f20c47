package meter

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/meterseal/meterseal/internal/meter/loadcurve"
)

// Config describes a fleet of meters in one process.
type Config struct {
	// Profile, if set, is the profile that every row of the factory file has to have.
	Profile string `yaml:"profile"`
	// Factory is the shipment file sealed to the factory; FactoryIdentity the factory's secret, which opens it.
	Factory         string `yaml:"factory"`
	FactoryIdentity string `yaml:"factory_identity"`
	// First and Count choose rows of the factory file: the first one, from 0, and how many; Count 0 is all that follow.
	First int `yaml:"first"`
	Count int `yaml:"count"`
	// Data is the folder of the meters' memories. One process serves it at a time.
	Data string `yaml:"data"`
	// LANListen is where the first meter serves the COSEM wrapper on TCP, HOST:PORT; the next ones have the ports that
	// follow. Port 0 gives each any port. Empty serves no LAN.
	LANListen string `yaml:"lan_listen"`
	// LocalListen is the same for the local port, HDLC over TCP.
	LocalListen string `yaml:"local_listen"`
	// LoadCurve is a file to replay; empty takes the built-in household.
	LoadCurve string `yaml:"load_curve"`
	// InstalledAt is when all meters were installed, in the world's time, and their load curves begin. The default is
	// the first full day of the file, or a week before the first start.
	InstalledAt time.Time `yaml:"installed_at"`
	// Clock sets the times of the first start. Later starts go on.
	Clock ClockConfig `yaml:"clock"`
	// UTCOffset is what the meters' clocks show, less UTC: 1h by default. By it they count days.
	UTCOffset *time.Duration `yaml:"utc_offset"`
	// Spread makes the copies of the load.
	Spread SpreadConfig `yaml:"spread"`
	// PressAfter is how long after an arming of its breaker a customer presses the button; 0 is never.
	PressAfter time.Duration `yaml:"press_after"`
}

// ClockConfig is the times at the first start of a fleet. They hold for meters that have no memory yet.
type ClockConfig struct {
	// Start is the world's time at the first start; the default is the host's. It goes on at the host's pace, also
	// while the fleet is down.
	Start time.Time `yaml:"start"`
	// Cold are the meters, counted from 0, whose clocks were lost.
	Cold []int `yaml:"cold"`
	// Offset is by how much the clocks of the meters in Wrong are fast, or slow where it is negative.
	Offset time.Duration `yaml:"offset"`
	Wrong  []int         `yaml:"wrong"`
}

// SpreadConfig says how the loads of the meters differ. The first meter measures the curve itself.
type SpreadConfig struct {
	// Percent is how far the scale of the others lies from 1 at most, to both sides. The default is 50.
	Percent int `yaml:"percent"`
	// Shift is how far they are shifted at most, to both sides, in whole minutes. The default is 90 minutes.
	Shift time.Duration `yaml:"shift"`
}

// Defaults of a SpreadConfig.
const (
	defaultSpread = 50
	defaultShift  = 90 * time.Minute
)

func (c *Config) complete() error {
	switch {
	case c.Factory == "" || c.FactoryIdentity == "":
		return errors.New("meter: config: want factory and factory_identity: the sealed file of the meters' first keys, and what opens it")
	case c.Data == "":
		return errors.New("meter: config: want data, the folder of the meters' memories")
	case c.First < 0 || c.Count < 0:
		return errors.New("meter: config: first, count: want no negative number")
	case c.Spread.Percent < 0 || c.Spread.Percent > 99:
		return fmt.Errorf("meter: config: spread: percent: want 0 to 99, got %d", c.Spread.Percent)
	case c.Spread.Shift < 0 || c.Spread.Shift > 7*24*time.Hour:
		return fmt.Errorf("meter: config: spread: shift: want at most a week, got %s", c.Spread.Shift)
	}
	if o := c.UTCOffset; o != nil && (*o < -14*time.Hour || *o > 14*time.Hour || *o%time.Minute != 0) {
		return fmt.Errorf("meter: config: utc_offset: want whole minutes from -14h to 14h, got %s", *o)
	}
	if c.Profile != "" {
		if _, err := profileOf(c.Profile); err != nil {
			return err
		}
	}
	if c.Spread.Percent == 0 {
		c.Spread.Percent = defaultSpread
	}
	if c.Spread.Shift == 0 {
		c.Spread.Shift = defaultShift
	}
	return nil
}

// zone is that of the meters' clocks.
func (c *Config) zone() *time.Location {
	if c.UTCOffset == nil {
		return loadcurve.FileTime()
	}
	return time.FixedZone("meters", int(*c.UTCOffset/time.Second))
}

// copy returns scale, in per mille, and shift of meter i. They are spread evenly by the golden ratio, so that
// neighbours differ and the mean stays.
func (c SpreadConfig) copy(i int) (scalePerMille int, shift time.Duration) {
	const whole, ratio, other = 1000, 618, 382
	if i == 0 {
		return whole, 0
	}
	at := (i * ratio) % whole // 0 to 999
	scalePerMille = whole + (2*at-whole)*10*c.Percent/whole
	minutes := int(c.Shift / time.Minute)
	shiftBy := (2*((i*other+i/whole)%whole) - whole) * minutes / whole
	return scalePerMille, time.Duration(shiftBy) * time.Minute
}

// portOf returns the address of meter i above a base address.
func portOf(base string, i int) (string, error) {
	host, port, err := net.SplitHostPort(base)
	if err != nil {
		return "", fmt.Errorf("want HOST:PORT, got %q", base)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("port: want 0 to 65535, got %q", port)
	}
	if n != 0 {
		n += uint64(i)
	}
	if n > 65535 {
		return "", fmt.Errorf("no port left for meter %d above %s", i, base)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}
