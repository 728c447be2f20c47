package loadcurve

import (
	"bytes"
	"testing"
)

// FuzzParse holds that any input gives a curve that can be trusted or an error.
func FuzzParse(f *testing.F) {
	// Small seeds: the engine spends its time on shrinking large ones.
	const household = uciHeader + "1/1/2023;00:00:00;6.000;1\n1/1/2023;00:01:00;?;1\n3/1/2023;00:01:00;1.000;1\n"
	f.Add([]byte(household))
	f.Add(zipped(f, household))
	f.Add([]byte("\ufeffhorodate;valeur\r\n2023-10-29T02:30:00+02:00;100\r\n2023-10-29T03:00:00+02:00;\r\n"))
	f.Add([]byte("x;Unite;Pas en minutes\nx;W;30\n\"horodate\",valeur,pas\n2023-01-01T00:30:00+01:00,\"1\",PT10M\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(bytes.NewReader(b))
		if err != nil {
			if c != nil {
				t.Error("a curve beside an error")
			}
			return
		}
		if c.span <= 0 || c.span > maxSpan || c.loop <= 0 || c.loop > c.span || len(c.segments) == 0 {
			t.Fatalf("span %d, loop %d, %d segments", c.span, c.loop, len(c.segments))
		}
		total := c.inside(c.span)
		if total != c.total || total.joules < 0 || total.missing < 0 || total.missing > c.span {
			t.Errorf("sums %+v, total %+v", total, c.total)
		}
		l := c.Copy(Unscaled, 0)
		if l.Wh(c.End()) != c.Wh(c.End()) || l.Wh(c.End().AddDate(1, 0, 0)) < l.Wh(c.End()) {
			t.Errorf("register %d at the end, %d a year later", l.Wh(c.End()), l.Wh(c.End().AddDate(1, 0, 0)))
		}
	})
}
