package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meterseal/meterseal/internal/keysfile"
)

// Keys for the tests alone.
const (
	benchKeys = `{"system_title": "4D534C0000000001", "ek": "000102030405060708090A0B0C0D0E0F", "kek": "101112131415161718191A1B1C1D1E1F", "ak": "D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF"}`
	wrongEK   = "0F0E0D0C0B0A09080706050403020100"
	ours      = "4D534C7000000001"
	benchLine = "meter --profile generic --listen 127.0.0.1:0 --keys "
	wrapperAt = `meter 4D534C0000000001  wrapper (\S+)`
)

// benchRig is a rig with a bench meter, which replays a synthetic household, and the client's flags to reach it.
func benchRig(t *testing.T) (r *rig, s *server, tcp, hdlc string) {
	t.Helper()
	r = newRig(t)
	r.write("keys.json", benchKeys)
	curve, err := filepath.Abs("../../internal/meter/loadcurve/testdata/household.csv.gz")
	if err != nil {
		t.Fatal(err)
	}
	s, at := r.serve(benchLine+"keys.json --hdlc 127.0.0.1:0 --clock 2020-03-01T02:00:00+01:00 --load-curve "+curve, wrapperAt+`  hdlc (\S+)`)
	return r, s, " --connect " + at[0] + " ", " --hdlc " + at[1] + " "
}

// hdlcRig is benchRig for those who need the address of HDLC alone.
func hdlcRig(t *testing.T) (r *rig, s *server, at string) {
	t.Helper()
	r, s, _, hdlc := benchRig(t)
	return r, s, strings.TrimSpace(strings.TrimPrefix(hdlc, " --hdlc "))
}

func TestABenchMeterAnswersThePublicClientWithLittle(t *testing.T) {
	r, s, tcp, hdlc := benchRig(t)
	for _, to := range []string{tcp, hdlc} {
		r.ok("dlms get" + to + "1/0.0.42.0.0.255/2").stdout(`"MSL`)
		r.ok("dlms get" + to + "--client 16 --server 1 --auth none --json 1/0.0.43.1.0.255/2").
			stdout(`^\{"attribute":"1/0.0.43.1.0.255/2","value":\{"double-long-unsigned":[1-9][0-9]*\}\}$`)
		r.exits(exitFailed, "dlms get"+to+"7/1.0.99.1.0.255/2").silent().stderr("hint: ")
	}
	s.stop()
}

func TestABenchMeterIsReadWrittenAndWorkedWithKeys(t *testing.T) {
	r, s, tcp, hdlc := benchRig(t)
	r.ok("dlms get" + tcp + "--client 1 --server 1 --auth gmac --keys keys.json 8/0.0.1.0.0.255/2").stdout("^2020-03-01 Sun 02:0")
	r.ok("dlms get" + tcp + "--keys keys.json --client-title " + ours + " --dedicated 3/1.0.1.8.0.255/2 8/0.0.1.0.0.255/2").
		stdout("^3/1.0.1.8.0.255/2 = [0-9]+ Wh$").stdout("^8/0.0.1.0.0.255/2 = 2020")
	r.ok("dlms get" + tcp + "--keys keys.json --dedicated --shared-counter 8/0.0.1.0.0.255/2").stdout("^2020")
	r.ok("dlms get" + hdlc + "--keys keys.json 15/0.0.40.0.0.255/2").stdout(`^64 +0\.0\.43\.0\.0\.255`).stdout(`^7 +1\.0\.99\.1\.0\.255`)
	r.ok("dlms set" + tcp + "--keys keys.json 8/0.0.1.0.0.255/2 datetime:2020-03-01T03:00:00+01:00").stdout("success")
	r.ok("dlms get" + tcp + "--keys keys.json 8/0.0.1.0.0.255/2").stdout("^2020-03-01 Sun 03:00:")
	got := r.ok("dlms action" + hdlc + "--keys keys.json --json 70/0.0.96.3.10.255/1 int8:0").member("result")
	if got != "success" {
		t.Errorf("open the breaker: %v", got)
	}
	r.ok("dlms get" + tcp + "--keys keys.json 70/0.0.96.3.10.255/2").stdout("^disconnected$")
	r.exits(exitFailed, "dlms get"+tcp+"--keys keys.json 3/9.9.9.9.9.255/2").silent().stderr("object-undefined").stderr("hint: ")
	r.exits(exitFailed, "dlms set"+tcp+"--keys keys.json 3/1.0.1.8.0.255/2 uint32:0").silent().stderr("hint: ")
	s.stop()
}

// halfHours are the energies of a day of the household, computed elsewhere.
func halfHours(t *testing.T, day string) (times, wh []string) {
	t.Helper()
	b, err := os.ReadFile("../../internal/meter/loadcurve/testdata/household-halfhours.csv")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(line, ";")
		if !strings.HasPrefix(f[0], day) {
			continue
		}
		start, err := time.Parse(time.RFC3339, f[0])
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, start.Add(30*time.Minute).Format(cellTime))
		wh = append(wh, f[1])
	}
	if len(times) != 48 {
		t.Fatalf("%d half hours of %s", len(times), day)
	}
	return times, wh
}

func TestAProfileIsTheFilesHalfHours(t *testing.T) {
	r, s, tcp, hdlc := benchRig(t)
	times, wh := halfHours(t, "2020-02-29")
	// By a range with both ends, in which a time without a zone is the meter's own.
	o := r.ok("dlms profile" + tcp + "--keys keys.json --from 2020-02-29T00:30:00 --to 2020-03-01T00:00:00+01:00 1.0.99.1.0.255").stderr("48 rows, one every 30m0s")
	lines := strings.Split(strings.TrimSpace(o.out), "\n")
	if len(lines) != 49 {
		t.Fatalf("%d lines, want a head and 48 rows\n%s", len(lines), o.out)
	}
	for i, line := range lines[1:] {
		if !strings.HasPrefix(line, times[i]) || !strings.HasSuffix(line, " "+wh[i]) {
			t.Errorf("row %d is %q, want %s and %s Wh", i+1, line, times[i], wh[i])
		}
	}
	// The newest rows, for machines.
	var p struct {
		PeriodSeconds int                 `json:"period_seconds"`
		Columns       []string            `json:"columns"`
		Rows          [][]json.RawMessage `json:"rows"`
	}
	o = r.ok("dlms profile" + hdlc + "--keys keys.json --json --last 3 7/1.0.99.1.0.255/2")
	if err := json.Unmarshal([]byte(o.out), &p); err != nil || p.PeriodSeconds != 1800 || len(p.Rows) != 3 || len(p.Rows[0]) != len(p.Columns) {
		t.Errorf("%v: %s", err, o.out)
	}
	r.ok("dlms profile" + tcp + "--keys keys.json --from 2019-01-01 --to 2019-01-01 1.0.99.1.0.255").stderr("0 rows")
	r.ok("dlms profile" + tcp + "--keys keys.json --last 1000 1.0.99.1.0.255").stderr("[0-9]{2} rows")
	s.stop()
}

func TestWrongKeysAreRefusedAndNoKeyIsShown(t *testing.T) {
	r, s, tcp, _ := benchRig(t)
	r.write("wrong.json", strings.Replace(benchKeys, "000102030405060708090A0B0C0D0E0F", wrongEK, 1))
	r.write("ak.json", strings.Replace(benchKeys, "D0D1D2", "D1D1D2", 1))
	r.write("other.json", strings.Replace(benchKeys, "4D534C0000000001", "4D534C0000000002", 1))
	r.write("short.json", strings.Replace(benchKeys, "0405060708090A0B0C0D0E0F", "", 1))
	for _, keys := range []string{"wrong.json", "ak.json", "other.json", "short.json", "missing.json"} {
		r.exits(exitFailed, "dlms get"+tcp+"--log-level debug --keys "+keys+" 8/0.0.1.0.0.255/2").silent().stderr("hint: ").
			never(wrongEK).never("000102").never("D1D2D3")
	}
	r.exits(exitUsage, "dlms get"+tcp+"--keys keys.json --client-title 4D534C0000000001 8/0.0.1.0.0.255/2").stderr("own title")
	r.exits(exitFailed, "dlms get"+tcp+"--client 1 --auth none 3/1.0.1.8.0.255/2").silent()
	r.ok("dlms get" + tcp + "--keys keys.json 8/0.0.1.0.0.255/2")
	s.stop()
	if log := strings.ToUpper(s.log.String()); strings.Contains(log, "000102030405") || strings.Contains(log, "D0D1D2D3") {
		t.Error("the meter shows a key")
	}
}

// sent returns up to where the counter of a title has been reserved in keys.json.counters.
func (r *rig) sent(keys, title string) uint64 {
	r.t.Helper()
	var s struct {
		Keys []struct {
			Title   string `json:"system_title"`
			Ceiling uint64 `json:"send_ceiling"`
		} `json:"keys"`
	}
	if err := json.Unmarshal([]byte(r.read(keys+keysfile.Suffix)), &s); err != nil {
		r.t.Fatal(err)
	}
	for _, k := range s.Keys {
		if k.Title == title {
			return k.Ceiling
		}
	}
	r.t.Fatalf("no counter of %s in %s%s", title, keys, keysfile.Suffix)
	return 0
}

func TestCountersRiseOverRestartsOfEitherEnd(t *testing.T) {
	r := newRig(t)
	r.write("keys.json", benchKeys)
	var client, meter uint64
	for i := range 3 {
		s, at := r.serve(benchLine+"keys.json", wrapperAt)
		r.ok("dlms get --connect " + at[0] + " --keys keys.json --client-title " + ours + " 8/0.0.1.0.0.255/2")
		c, m := r.sent("keys.json", ours), r.sent("keys.json", "4D534C0000000001")
		if c <= client || m <= meter {
			t.Errorf("start %d: client %d after %d, meter %d after %d", i+1, c, client, m, meter)
		}
		client, meter = c, m
		s.kill()
	}
	r.private("keys.json" + keysfile.Suffix)
}

func TestAClientThatLostItsCountersAsksTheMeterWhereToBegin(t *testing.T) {
	r, _, tcp, _ := benchRig(t)
	line := "dlms get" + tcp + "--client-title " + ours + " 8/0.0.1.0.0.255/2 --keys "
	r.ok(line + "keys.json --counter 5000")
	was := r.sent("keys.json", ours)
	if was < 5000 {
		t.Errorf("--counter 5000 sent from %d", was)
	}
	r.ok(line + "keys.json --counter 5")
	if now := r.sent("keys.json", ours); now <= was {
		t.Errorf("--counter 5 lowered %d to %d", was, now)
	}
	r.write("lost/keys.json", benchKeys)
	r.ok(line + "lost/keys.json")
	if now := r.sent("lost/keys.json", ours); now < 5000 {
		t.Errorf("began at %d, where the meter had accepted 5000", now)
	}
}

func TestWhereCountersCannotBeKeptNothingIsSealedUnlessKeysAreThrownAway(t *testing.T) {
	r, _, tcp, _ := benchRig(t)
	r.write("sealed/keys.json", benchKeys)
	if err := os.Mkdir(r.path("sealed/keys.json"+keysfile.Suffix), 0o700); err != nil { // nobody can write it, root included
		t.Fatal(err)
	}
	r.exits(exitFailed, "dlms get"+tcp+"--keys sealed/keys.json 8/0.0.1.0.0.255/2").silent().stderr("counters file").stderr("hint: .*--ephemeral-keys")
	r.exits(exitFailed, benchLine+"sealed/keys.json").silent().stderr("counters file").stderr("hint: .*--ephemeral-keys")
	s, at := r.serve(benchLine+"sealed/keys.json --ephemeral-keys", wrapperAt)
	r.ok("dlms get --connect " + at[0] + " --keys sealed/keys.json --ephemeral-keys 8/0.0.1.0.0.255/2").stdout("^20")
	s.stop()
}

func TestDamagedCountersAreNotTakenForNone(t *testing.T) {
	r, s, tcp, _ := benchRig(t)
	s.stop()
	const damaged = `{"format": "meterseal counters 1", "keys": [{"check_`
	r.write("keys.json"+keysfile.Suffix, damaged)
	r.exits(exitFailed, "dlms get"+tcp+"--keys keys.json 8/0.0.1.0.0.255/2").silent().stderr("not a counters file")
	r.exits(exitFailed, benchLine+"keys.json").silent().stderr("not a counters file")
	if r.read("keys.json"+keysfile.Suffix) != damaged {
		t.Error("the damaged file was overwritten")
	}
}
