package meter

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"go.uber.org/goleak"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/dlmstest"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/meter/loadcurve"
	"github.com/meterseal/meterseal/internal/meter/nvm"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// factory writes a sealed file of meters and the factory's identity.
func factory(t *testing.T, profile string, count int) (Config, []shipment.Meter) {
	t.Helper()
	dir := t.TempDir()
	id := must(age.GenerateX25519Identity())
	rows := must(shipment.Generate(seeded(11), "MSL", count, profile, 1))
	var file bytes.Buffer
	if err := shipment.WriteFactory(&file, "MSL", rows, id.Recipient()); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Factory: filepath.Join(dir, "meters.age"), FactoryIdentity: filepath.Join(dir, "factory.txt"),
		Data: filepath.Join(dir, "data"), LANListen: "127.0.0.1:0", LocalListen: "127.0.0.1:0",
		Clock: ClockConfig{Start: noon()}, InstalledAt: installed(),
	}
	if err := errors.Join(os.WriteFile(cfg.Factory, file.Bytes(), 0o600),
		os.WriteFile(cfg.FactoryIdentity, []byte(id.String()+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	return cfg, rows
}

func deps(o *dlmstest.Oracle) Deps {
	return Deps{Now: time.Now, Rand: seeded(13), WrapAEAD: o.Wrap}
}

// serve runs a fleet until the test or stop ends it.
func serve(t *testing.T, cfg Config, d Deps) (f *Fleet, stop func()) {
	t.Helper()
	f, err := OpenFleet(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
	t.Cleanup(stop)
	return f, stop
}

// half is a client's half of a long-term key.
func half(o *dlmstest.Oracle, k opener, meter dlms.SystemTitle, from dlms.InvocationCounter) security.LongTerm {
	send := must(security.NewBlockCounter(security.BlockConfig{
		Start:   security.Reservation{Ceiling: from},
		Reserve: func(security.Reservation) error { return nil },
	}))
	c := must(security.NewCipher(o.Wrap(must(k.AEAD()), k.Fingerprint()), key.Authentication{}))
	return security.LongTerm{Cipher: c, Send: send, Floor: security.NewMemoryFloor(meter, security.MaxJump)}
}

func readClockOver(t *testing.T, conn link.Conn, err error, o *dlmstest.Oracle, own dlms.SystemTitle, m shipment.Meter, k opener, from dlms.InvocationCounter, info ...byte) time.Time {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	cfg := client.Linky(own, m.Title, half(o, k, m.Title, from), rand.Reader)
	cfg.WrapAEAD, cfg.Implementation = o.Wrap, info
	a, err := client.Open(context.Background(), conn, cfg)
	if err != nil {
		t.Fatal(err)
	}
	d, err := a.Get(context.Background(), ref(clockObject(), 2))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Release(context.Background()); err != nil {
		t.Error(err)
	}
	return must(must(d.DateTime()).Time())
}

func TestAFleetServesEachMeterOnItsOwnSocketsAndRemembersOverARestart(t *testing.T) {
	cfg, rows := factory(t, ProfileHardened, 3)
	cfg.Clock.Cold = []int{2}
	o := dlmstest.NewOracle(t)
	ctx := context.Background()
	for round := range dlms.InvocationCounter(2) {
		f, stop := serve(t, cfg, deps(o))
		if got := len(f.Meters()); got != 3 {
			t.Fatalf("want 3 meters, got %d", got)
		}
		for i, at := range f.Addresses() {
			lan, err := wrapper.Dial(ctx, at.LAN.String(), role.SAPReadWrite, role.SAPServer)
			seen := readClockOver(t, lan, err, o, titleDC, rows[i], rows[i].LAN, 100*round)
			if off := f.Now().Sub(seen); i < 2 && (off < 0 || off > time.Minute) {
				t.Errorf("meter %d: clock %s, want about %s", i, seen, f.Now())
			}
			if i == 2 && seen.Year() != 2000 {
				t.Errorf("meter 2: want a cold clock, got %s", seen)
			}
			if i == 2 { // a cold clock tells no day
				continue
			}
			last := dlms.DayOf(f.Now().AddDate(0, 0, 2))
			granted := must(rows[i].Locale.Derive(titleTSP, last))
			local, err := hdlc.Dial(ctx, at.Local.String(), hdlc.Config{
				Client: role.SAPTSP, Server: role.SAPServer,
			})
			readClockOver(t, local, err, o, titleTSP, rows[i], granted, 100*round, role.LastDayInfo(last)...)
		}
		if _, err := OpenFleet(cfg, deps(o)); !errors.Is(err, nvm.ErrInUse) {
			t.Errorf("second process: want ErrInUse, got %v", err)
		}
		stop()
	}
}

func TestAFleetGoesOnWithTheTimesOfItsFirstStart(t *testing.T) {
	cfg, _ := factory(t, ProfileLinky, 2)
	now := time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)
	d := Deps{Now: func() time.Time { return now }, Rand: seeded(1)}
	f := must(OpenFleet(cfg, d))
	if !f.Now().Equal(noon()) {
		t.Fatalf("want the world at %s, got %s", noon(), f.Now())
	}
	before := f.Meters()[1].Load().Wh(noon())
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(90 * time.Minute)
	cfg.Clock.Start, cfg.InstalledAt, cfg.Spread.Percent = time.Time{}, time.Time{}, 7
	f = must(OpenFleet(cfg, d))
	defer f.Close()
	if want := noon().Add(90 * time.Minute); !f.Now().Equal(want) {
		t.Errorf("want the world at %s, got %s", want, f.Now())
	}
	if got := f.Meters()[1].Load().Wh(noon()); got != before {
		t.Errorf("the register went from %d to %d over a restart", before, got)
	}
}

func TestTheFirstMeterMeasuresTheCurveAndTheOthersTheirCopies(t *testing.T) {
	cfg, _ := factory(t, ProfileLinky, 4)
	f := must(OpenFleet(cfg, Deps{Now: time.Now, Rand: seeded(1)}))
	defer f.Close()
	curve := loadcurve.Household(must(f.note()).Household, householdSeed)
	seen := map[int64]int{}
	for i, m := range f.Meters() {
		wh, _ := m.Load().Interval(installed(), noon())
		if want, _ := curve.Interval(installed(), noon()); i == 0 && wh != want {
			t.Errorf("meter 0: want %d Wh, got %d", want, wh)
		}
		if j, twice := seen[wh]; twice {
			t.Errorf("meters %d and %d measure the same", j, i)
		}
		seen[wh] = i
	}
}

func (f *Fleet) note() (note, error) {
	var n note
	_, err := f.readNote(&n)
	return n, err
}

func TestADamagedMemoryKeepsTheFleetFromStarting(t *testing.T) {
	cfg, rows := factory(t, ProfileHardened, 2)
	f := must(OpenFleet(cfg, Deps{Now: time.Now, Rand: seeded(1)}))
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cfg.Data, rows[1].Title.String()+".nvm")
	b := must(os.ReadFile(path))
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenFleet(cfg, Deps{Now: time.Now, Rand: seeded(1)})
	if !errors.Is(err, nvm.ErrDamaged) || !strings.Contains(err.Error(), rows[1].Title.String()) {
		t.Fatalf("want ErrDamaged that names the meter, got %v", err)
	}
	if g, err := nvm.OpenFolder(cfg.Data); err != nil {
		t.Errorf("the folder stayed locked: %v", err)
	} else {
		g.Close()
	}
}

func TestLaw4AMeterWhoseMemoryIsGoneDoesNotStartFromTheFactoryAgain(t *testing.T) {
	cfg, rows := factory(t, ProfileHardened, 2)
	d := Deps{Now: time.Now, Rand: seeded(1)}
	if err := must(OpenFleet(cfg, d)).Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(cfg.Data, rows[1].Title.String()+".nvm")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFleet(cfg, d); !errors.Is(err, ErrMemoryGone) || !strings.Contains(err.Error(), rows[1].Title.String()) {
		t.Fatalf("want ErrMemoryGone that names the meter, got %v", err)
	}
	cfg.Count = 1
	if err := must(OpenFleet(cfg, d)).Close(); err != nil {
		t.Error(err)
	}
	cfg.Count = 2
	if _, err := OpenFleet(cfg, d); !errors.Is(err, ErrMemoryGone) {
		t.Errorf("it was forgotten by a start without it: %v", err)
	}
}

func TestAFleetRefusesBadConfigurations(t *testing.T) {
	good, _ := factory(t, ProfileLinky, 2)
	taken := must(net.Listen("tcp", "127.0.0.1:0"))
	defer taken.Close()
	for want, change := range map[string]func(*Config){
		"factory_identity": func(c *Config) { c.FactoryIdentity = "" },
		"folder":           func(c *Config) { c.Data = "" },
		"rows 1 to 3":      func(c *Config) { c.Count = 3 },
		"no negative":      func(c *Config) { c.First = -1 },
		"0 to 99":          func(c *Config) { c.Spread.Percent = 100 },
		"a week":           func(c *Config) { c.Spread.Shift = 8 * 24 * time.Hour },
		"profile":          func(c *Config) { c.Profile = "plain" },
		"want profile har": func(c *Config) { c.Profile = ProfileHardened },
		"HOST:PORT":        func(c *Config) { c.LANListen = "nowhere" },
		"no port left":     func(c *Config) { c.LocalListen = "127.0.0.1:65535"; c.LANListen = "" },
		"in use":           func(c *Config) { c.LANListen = taken.Addr().String() },
		"load curve":       func(c *Config) { c.LoadCurve = c.Factory },
		"chmod 600":        func(c *Config) { c.FactoryIdentity = openToAll(t, c.FactoryIdentity) },
	} {
		cfg := good
		cfg.Data = filepath.Join(t.TempDir(), "data")
		change(&cfg)
		f, err := OpenFleet(cfg, Deps{Now: time.Now, Rand: seeded(1)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
		if f != nil {
			f.Close()
		}
	}
}

func openToAll(t *testing.T, path string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "open.txt")
	if err := os.WriteFile(copied, must(os.ReadFile(path)), 0o644); err != nil {
		t.Fatal(err)
	}
	return copied
}

func TestAFleetReplaysAFileAndFlagsWhatItDoesNotHave(t *testing.T) {
	cfg, _ := factory(t, ProfileLinky, 1)
	var file strings.Builder
	file.WriteString("Date;Time;Global_active_power\n")
	start := time.Date(2006, 12, 16, 17, 24, 0, 0, loadcurve.FileTime())
	for i := range 3 * 24 * 60 {
		at := start.Add(time.Duration(i) * time.Minute)
		power := "0.123"
		if at.Hour() == 8 && at.Minute() < 7 {
			power = "?"
		}
		file.WriteString(at.Format("2/1/2006;15:04:05;") + power + "\n")
	}
	cfg.LoadCurve = filepath.Join(t.TempDir(), "house.csv")
	if err := os.WriteFile(cfg.LoadCurve, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.InstalledAt, cfg.Clock.Start = time.Time{}, time.Date(2006, 12, 18, 6, 0, 0, 0, loadcurve.FileTime())
	f := must(OpenFleet(cfg, Deps{Now: time.Now, Rand: seeded(1)}))
	defer f.Close()
	m, c := f.Meters()[0], must(loadcurve.ReadFile(cfg.LoadCurve))
	v := curve{
		load: m.Load(), installed: m.state.birth.installed, history: &m.state.clock, until: momentOf(f.Now()),
	}.view()
	if v.len != 60 { // from the first midnight to 6:00 of the next day
		t.Fatalf("want 60 rows, got %d", v.len)
	}
	for i, r := range rowsOf(t, v) {
		from := c.FirstFullDay().Add(time.Duration(i) * capturePeriod)
		wh := c.Wh(from.Add(capturePeriod)) - c.Wh(from)
		missing := from.Hour() == 8 && from.Minute() == 0
		if !r.at.time().Equal(from.Add(capturePeriod)) || r.wattHours != wh || (r.status == rowMissing) != missing {
			t.Errorf("row %d: want %s %d Wh missing %v, got %s %d Wh status %02X",
				i, from.Add(capturePeriod), wh, missing, r.at.time(), r.wattHours, r.status)
		}
	}
}
