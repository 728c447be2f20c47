package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link"
	"github.com/meterseal/meterseal/dlms/link/hdlc"
	"github.com/meterseal/meterseal/dlms/security"
	dlmsserver "github.com/meterseal/meterseal/dlms/server"
	"github.com/meterseal/meterseal/internal/transport"
)

func TestABenchMeterIsBrowsedInWordsOverEitherLink(t *testing.T) {
	r, s, tcp, hdlc := benchRig(t)
	for _, to := range []string{tcp, hdlc} {
		r.ok("dlms browse"+to).
			stdout("^CLASS +OBIS +WHAT +RIGHTS$").
			stdout(`^1 +0\.0\.42\.0\.0\.255 +Data: logical device name +read 1-2$`).
			stderr("^meterseal: 4 objects$").check("stdout", "", "active energy", false)
		r.ok("dlms browse" + to + "--keys keys.json").
			stdout(`^3 +1\.0\.1\.8\.0\.255 +Register: active energy import, total +read 1-3$`).
			stdout(`^8 +0\.0\.1\.0\.0\.255 +Clock: .*read and write 2; invoke 6$`).
			stdout(`^70 +0\.0\.96\.3\.10\.255 +Disconnect control: .*invoke 1-2$`).stderr("^meterseal: 16 objects$")
		r.ok("dlms browse" + to + "--keys keys.json --values").
			stdout(`^3/1\.0\.1\.8\.0\.255  Register: active energy import, total$`).stdout(`^ +2 +value +read +[1-9][0-9]* Wh$`).
			stdout(`^ +3 +scaler and unit +read +watt-hour$`).stdout(`^ +2 +time .* 2020-03-01 Sun 02:0`).
			stdout(`^ +2 +buffer +read +\(not read: meterseal dlms profile 1\.0\.99\.1\.0\.255\)`).
			stdout(`^ +5 +sort method +read +first in, first out$`).stdout(`^ +2 +security policy +read +authentication and encryption$`).
			stdout(`^ +6 +authentication mechanism name +read +hls-gmac$`).stdout(`^ +method 6 +shift time +invoke`).
			stdout(`^ +3 +control state +read +connected$`).stderr("^objects read: 16 of 16$").never("000102030405")
	}
	r.ok("dlms browse" + hdlc + "--keys keys.json 1.0.1. 0.0.96").stderr("^meterseal: 2 objects$")
	r.ok("dlms browse" + tcp + "--keys keys.json 1.0.9").stderr("^meterseal: 0 objects$")
	s.stop()
}

func TestBrowseForMachinesHasEveryValueAsItCame(t *testing.T) {
	r, s, _, hdlc := benchRig(t)
	lines := strings.Split(strings.TrimSpace(r.ok("dlms browse"+hdlc+"--keys keys.json --values --json").out), "\n")
	if len(lines) != 16 {
		t.Fatalf("%d lines, want one for each object", len(lines))
	}
	found := false
	for _, line := range lines {
		var o struct {
			Class      int    `json:"class"`
			OBIS       string `json:"obis"`
			What       string `json:"what"`
			Attributes []struct {
				Number       int
				Name, Access string
				Value        map[string]any
				Text         string
			} `json:"attributes"`
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil || o.Class == 0 || o.What == "" || len(o.Attributes) == 0 {
			t.Fatalf("%v: %s", err, line)
		}
		if o.OBIS != "1.0.1.8.0.255" {
			continue
		}
		a := o.Attributes[1]
		found = a.Number == 2 && a.Access == "read" && a.Value["double-long-unsigned"] != nil && strings.HasSuffix(a.Text, " Wh")
	}
	if !found {
		t.Errorf("no energy in\n%s", strings.Join(lines, "\n"))
	}
	s.stop()
}

func TestMetersOfEveryProfileAreBrowsedAtTheirLocalPort(t *testing.T) {
	for profile, objects := range map[string]int{"linky": 5, "hardened": 6} {
		t.Run(profile, func(t *testing.T) {
			r := newRig(t)
			is, err := transport.Generate(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			r.ok(fmt.Sprintf("maker shipment --count 1 --profile %s --to %s --out shipment.jsonl --key maker.key --factory-identity factory.key --factory-out meters.age", profile, is.Public()))
			r.write("meters.yaml", "factory: meters.age\nfactory_identity: factory.key\ndata: meters\nlan_listen: 127.0.0.1:0\nlocal_listen: 127.0.0.1:0\n")
			s, at := r.serve("meter --config meters.yaml --profile "+profile, `meter (\S+)  wrapper (\S+)  hdlc (\S+)\n`)
			for _, to := range []string{" --connect " + at[1], " --hdlc " + at[2]} {
				r.ok("dlms browse" + to + " --values").
					stdout(`^1/0\.0\.42\.0\.0\.255  Data: logical device name$`).stdout(`^ +2 +value +read +"MSL`).
					stdout(`^ +5 +server system title +read +` + at[0] + "$").
					stderr(fmt.Sprintf("^meterseal: %d objects$", objects))
			}
			s.stop()
		})
	}
}

// foreign is a meter as others make them: a password or an HLS secret, no ciphering, an address of four octets.
type foreign struct{ secret key.Secret }

func (f foreign) SystemTitle() dlms.SystemTitle {
	return dlms.SystemTitle{'X', 'X', 'X', 0, 0, 0, 0, 1}
}

func (f foreign) LongTerm(dlms.OBIS) (*security.LongTerm, error) { return nil, errors.New("no key") }

func (f foreign) Event(dlmsserver.Event) {}

func (f foreign) Secret(string) (key.Secret, error) { return f.secret, nil }

// serveForeign serves one and returns where. Its list of objects is for client 2 alone.
func serveForeign(t *testing.T, secret string) string {
	t.Helper()
	energy := dlms.OBIS{1, 0, 1, 8, 0, 255}
	volts := dlms.OBIS{1, 0, 32, 7, 0, 255}
	rights := []dlmsserver.Right{
		{Class: dlms.ClassRegister, Instance: energy, Read: []int8{1, 2, 3}},
		{Class: dlms.ClassRegister, Instance: volts, Read: []int8{2, 3}},
	}
	list := dlmsserver.Right{Class: dlms.ClassAssociationLN, Instance: cosem.CurrentAssociation(), Read: []int8{1, 2, 8}}
	model, err := dlmsserver.NewModel(dlmsserver.ModelConfig{
		Objects: []cosem.Object{
			cosem.NewRegister(energy, cosem.Constant(dlms.Uint32(123456)), 1, cosem.UnitWattHour),
			cosem.NewRegister(volts, cosem.Constant(dlms.Uint16(2305)), -1, cosem.UnitVolt),
			cosem.NewAssociation(),
		},
		Clients: []dlmsserver.Client{
			{Name: "reader", SAP: 1, Links: []string{"local"}, Mechanism: dlmsserver.MechanismLLS, Rights: rights},
			{Name: "manager", SAP: 2, Links: []string{"local"}, Mechanism: dlmsserver.MechanismSHA256, Rights: append(rights, list)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	held, err := key.NewSecret([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	s := dlmsserver.New(model, foreign{held}, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		h := link.HandlerFunc(func(ctx context.Context, r link.Request) []byte { return s.Handle(ctx, "local", r) })
		done <- hdlc.Serve(ctx, ln, h, hdlc.Options{ServerConfig: hdlc.ServerConfig{Physical: 8000}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return ln.Addr().String()
}

func TestAForeignMeterIsReachedByPasswordOrSecretAtAnAddressOfFourOctets(t *testing.T) {
	r := newRig(t)
	to := " --hdlc " + serveForeign(t, "12345678") + " --physical 8000 --timeout 20s "
	r.write("password", "12345678\n")
	r.write("password.hex", "hex:3132333435363738\r\n")
	r.write("wrong", "87654321")
	r.write("bad.hex", "hex:3x")
	r.write("empty", "\n")
	r.ok("dlms get" + to + "--secret password 3/1.0.1.8.0.255/2").stdout("^1234560 Wh$")
	r.ok("dlms get" + to + "--secret password.hex --hdlc-window 3 --hdlc-info 512 3/1.0.32.7.0.255/2").stdout(`^230\.5 V$`)
	r.ok("dlms browse" + to + "--client 2 --auth sha256 --secret password --values 1.0 0.0.40").
		stdout(`^ +2 +value +read +1234560 Wh$`).stdout("watt-hour, times 10").stdout(`associated$`).stderr("^meterseal: 3 objects$")
	if err := os.Chmod(r.path("password"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.ok("dlms get" + to + "--secret password 3/1.0.1.8.0.255/2").stderr("mode 0644 lets others at the secret")
	for _, wrong := range []string{"--secret wrong", "--client 2 --auth sha256 --secret wrong", "--secret bad.hex", "--secret empty", "--secret missing"} {
		r.exits(exitFailed, "dlms get"+to+wrong+" 3/1.0.1.8.0.255/2").silent().never("87654321").never("3x")
	}
	r.exits(exitUsage, "dlms get"+to+"--address-size 2 3/1.0.1.8.0.255/2").stderr("at most 127 in 2 octets")
	elsewhere := strings.NewReplacer("20s", "300ms", "8000", "8001").Replace(to)
	r.exits(exitFailed, "dlms get"+elsewhere+"--secret password 3/1.0.1.8.0.255/2").silent().stderr("hint: nobody speaks HDLC under this address")
}

func TestAMeterThatDoesNotListItsObjectsIsAskedForTheUsualOnes(t *testing.T) {
	r := newRig(t)
	to := " --hdlc " + serveForeign(t, "12345678") + " --physical 8000 --secret password "
	r.write("password", "12345678")
	r.ok("dlms browse" + to).stderr("does not list its objects to this client").stderr("^objects asked for: ").
		stdout(`^3 +1\.0\.1\.8\.0\.255 +Register: active energy import, total +not known$`).
		stdout(`^3 +1\.0\.32\.7\.0\.255 `).stderr("^meterseal: 2 objects$")
	r.ok("dlms browse" + to + "--values 1.0.32").stdout(`^ +2 +value +230\.5 V$`)
}

// unheard is a meter that fails in the middle.
type unheard struct{ after int }

var errLine = errors.New("the line broke")

func (u *unheard) Get(_ context.Context, ref dlms.AttributeRef) (dlms.Data, error) {
	if ref.Class == dlms.ClassAssociationLN {
		return dlms.Null(), dlms.DataAccessReadWriteDenied
	}
	if u.after--; u.after < 0 {
		return dlms.Null(), errLine
	}
	return dlms.Null(), dlms.DataAccessObjectUndefined
}

func TestALineThatBreaksEndsABrowseWithItsError(t *testing.T) {
	c := &cobra.Command{}
	c.SetOut(new(lockedBuffer))
	c.SetErr(new(lockedBuffer))
	b := &browser{c: c, from: &unheard{after: 5}}
	if err := b.run(t.Context()); !errors.Is(err, errLine) {
		t.Errorf("got %v", err)
	}
}

func TestRightsAreSaidInWordsInEveryVersionOfTheClass(t *testing.T) {
	for _, c := range []struct {
		got, want string
	}{
		{attributeAccess(3, 1), "read and write"},
		{attributeAccess(4, 2), "read, authenticated"},
		{attributeAccess(1, 3), "read"},
		{attributeAccess(0x0F, 3), "read and write, authenticated, encrypted"},
		{attributeAccess(0x0C, 3), "none"},
		{methodAccess(1, 0), "invoke"},
		{methodAccess(2, 2), "invoke, authenticated"},
		{methodAccess(5, 3), "invoke, authenticated"},
		{methodAccess(0, 3), "none"},
		{methodAccess(9, 1), "access mode 9"},
		{ranges([]int{9, 1, 2, 3, 7}), "1-3,7,9"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestAnUnreachableMeterIsToldWithWhatToDo(t *testing.T) {
	r := newRig(t)
	deaf, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = deaf.Close() }()
	r.exits(exitFailed, "dlms browse --hdlc "+closedPort(t)).silent().stderr("hint: nobody listens there")
	r.exits(exitFailed, "dlms browse --timeout 200ms --hdlc "+deaf.Addr().String()).silent().stderr("hint: ")
	r.exits(exitFailed, "dlms browse --serial "+filepath.Join(r.dir, "ttyUSB0")).silent().stderr("no such port|does not exist").stderr("hint: there is no such port")
	r.write("file", "")
	r.exits(exitFailed, "dlms browse --serial file").silent().stderr("no serial port").stderr("hint: check --serial")
	rigged, s, tcp, hdlc := benchRig(t)
	rigged.exits(exitFailed, "dlms browse --timeout 1s"+strings.Replace(hdlc, "--hdlc", "--connect", 1)).silent().stderr("hint: ")
	rigged.exits(exitFailed, "dlms browse --timeout 1s"+strings.Replace(tcp, "--connect", "--hdlc", 1)).silent().stderr("hint: ")
	s.stop()
}
