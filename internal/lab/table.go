package lab

import (
	"fmt"
	"strings"
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
	row("local port bytes", r.LocalBytes, "", "terminal reads", r.TerminalReads)
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
	holders, err := w.holders()
	if err != nil {
		return err
	}
	row("key of meter "+w.rows[meterGranted].Title.String(), "check value", "holders, as the vault has handed it out")
	for _, h := range holders {
		row(h...)
	}
	return t.Flush()
}

// holders tells, for one meter, who holds each key in force: the meter and the vault by what they are, everybody else
// by what the vault's own record says it was given.
func (w *world) holders() ([][]any, error) {
	keys, err := w.api.Keys(w.ctx, w.rows[meterGranted].Title)
	if err != nil {
		return nil, err
	}
	var rows [][]any
	for _, k := range keys {
		if k.State != "active" {
			continue
		}
		who := append([]string{"meter", "vault"}, k.Holders...)
		if k.Version == 1 {
			who = append(who, "the maker's sealed file")
		}
		rows = append(rows, []any{fmt.Sprintf("  %s v%d", k.Role, k.Version), k.CheckValue, strings.Join(who, ", ")})
	}
	return rows, nil
}
