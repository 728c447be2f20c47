package lab

import (
	"fmt"
	"text/tabwriter"
)

// table tells what was done, and who holds which key at the end.
func (w *world) table() error {
	r, t := w.report, tabwriter.NewWriter(w.cfg.Out, 0, 0, 2, ' ', 0)
	row := func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				_, _ = fmt.Fprint(t, "\t")
			}
			_, _ = fmt.Fprint(t, c)
		}
		_, _ = fmt.Fprintln(t)
	}
	row()
	row("profile", r.Profile, "", "meters", r.Meters)
	row("associations", r.Associated, "", "load curve values", r.LoadCurveValues)
	row("CC_LAN changed", r.Rotated.CCLAN, "", "CC_LOCALE changed", r.Rotated.CCLOCALE)
	row("CC_IS changed", r.Rotated.CCIS, "", "shipment rows and files refused", r.RowsRefused)
	row("breaker operations", r.BreakerOperations, "", "clocks set", r.ClocksSet)
	row("LAN bytes", r.LANBytes, "", "WAN bytes", r.WANBytes)
	row("meters lost", r.Lost, "", "nonces repeated", r.NoncesRepeated)
	row()
	row("refused", "tries")
	f := r.Refused
	row("  old key", f.OldKey)
	row("  replayed association", f.ReplayedAssociation)
	row("  replayed APDU", f.ReplayedAPDU)
	row("  replayed wrapped key", f.ReplayedKey)
	row("  key presented sideways", f.KeySideways)
	row("  traffic under an association key", f.TrafficUnderAssociationKey)
	row("  key read", f.KeyRead)
	row("  terminal without a grant", f.TerminalWithoutGrant)
	row("  terminal with an expired grant", f.TerminalExpired)
	breaker := fmt.Sprint(f.ConcentratorBreaker)
	if r.Profile == "linky" {
		breaker = "0: the published architecture lets the concentrator"
	}
	row("  breaker by the concentrator", breaker)
	row()
	row("step", "seconds")
	for _, s := range w.took {
		row("  "+s.name, fmt.Sprintf("%.1f", s.took.Seconds()))
	}
	row()
	row("key", "holders")
	row("  CCC", "meter, vault of the IS, the maker's sealed file")
	row("  CC_LAN", "meter, vault of the IS, the meter's own concentrator")
	row("  CC_LOCALE", "meter, vault of the IS, the terminal with a live grant")
	if r.Profile == "hardened" {
		row("  CC_IS", "meter, vault of the IS")
	}
	row("  session keys", "the two ends of the association, in memory")
	return t.Flush()
}
