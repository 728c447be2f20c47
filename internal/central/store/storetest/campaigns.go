package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/lease"
	"github.com/meterseal/meterseal/internal/central/rotation"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/role"
)

// campaigner is a world with campaigns on it.
type campaigner struct {
	*world
	*rotation.Campaigns
	now time.Time
}

// campaigns has n meters under each of two concentrators, with a CC_LAN each that came into force one after the other.
func (w *world) campaigns(n int) (*campaigner, []dlms.SystemTitle, [2]dlms.SystemTitle) {
	w.t.Helper()
	meters, dc := w.enrol(2 * n)
	other := w.second()
	w.move(other, meters[n:]...)
	w.update(func(ctx context.Context) error {
		var keys []vault.KeyRow
		for i, m := range meters {
			k := lanKey(m, 1, vault.Active)
			k.ActiveAt = at.Add(-time.Duration(i+1) * time.Hour)
			keys = append(keys, k)
		}
		return w.AddKeys(ctx, keys)
	})
	c := &campaigner{world: w, now: at}
	c.Campaigns = rotation.NewCampaigns(rotation.CampaignsConfig{Store: w.Store.Campaigns(), Now: func() time.Time { return c.now }})
	return c, meters, [2]dlms.SystemTitle{dc, other}
}

func (c *campaigner) start(k rotation.Campaign) rotation.Campaign {
	c.t.Helper()
	k.Reason, k.Roles = "test", []role.Role{role.CCLAN}
	k, err := c.Start(c.t.Context(), k)
	c.must(err)
	return k
}

// beat is one beat; it returns the campaign after it.
func (c *campaigner) beat(id int64) rotation.Progress {
	c.t.Helper()
	_, err := c.Beat(c.t.Context())
	c.must(err)
	return c.progress(id)
}

func (c *campaigner) progress(id int64) rotation.Progress {
	c.t.Helper()
	k, err := c.Store.Campaigns().Campaign(c.t.Context(), id)
	c.must(err)
	p, err := c.Progress(c.t.Context(), k)
	c.must(err)
	return p
}

// finish ends open changes of a campaign, at most n, as the reconciler would.
func (c *campaigner) finish(k rotation.Campaign, n int) (meters []dlms.SystemTitle) {
	c.t.Helper()
	all, err := c.Changes().ByReason(c.t.Context(), k.ChangeReason())
	c.must(err)
	for _, ch := range all {
		if ch.Step != rotation.StepDone && len(meters) < n {
			ch.Step, ch.DoneAt = rotation.StepDone, c.now
			c.must(c.Changes().Save(c.t.Context(), []rotation.Change{ch}))
			meters = append(meters, ch.Meter)
		}
	}
	return meters
}

// begin sends the first open change of a campaign that is merely wanted, as the reconciler would, and returns it and another one.
func (c *campaigner) begin(k rotation.Campaign) (begun, other rotation.Change) {
	c.t.Helper()
	all, err := c.Changes().ByReason(c.t.Context(), k.ChangeReason())
	c.must(err)
	all = slices.DeleteFunc(all, func(ch rotation.Change) bool { return ch.Step != rotation.StepWanted })
	if len(all) < 2 {
		c.t.Fatalf("want two changes that were not begun, got %+v", all)
	}
	begun = all[0]
	begun.Step, begun.To = rotation.StepSent, 2
	c.must(c.Changes().Save(c.t.Context(), []rotation.Change{begun}))
	return begun, all[1]
}

func campaignLimits(t *testing.T, w *world) {
	c, meters, dcs := w.campaigns(5)
	k := c.start(rotation.Campaign{PerConcentrator: 2, Budget: 0})
	p := c.beat(k.ID)
	if p.Total != 10 || p.Asked != 4 || p.Waiting != 6 || !p.Selected || p.State != rotation.CampaignRunning || !p.ETA.IsZero() {
		t.Fatalf("want 2 of 10 under way at each concentrator and no ETA, got %+v", p)
	}
	if again := c.beat(k.ID); again.Asked != 4 {
		t.Errorf("asked for more than there is room for: %+v", again)
	}
	for range 6 {
		c.now = c.now.Add(time.Minute)
		c.finish(k, 2)
		p = c.beat(k.ID)
		under := map[dlms.SystemTitle]int{}
		ways, err := w.Store.Campaigns().KeysUnderWay(t.Context(), p.Campaign)
		w.must(err)
		for _, x := range ways {
			under[x.Concentrator] = x.Keys
		}
		if under[dcs[0]] > 2 || under[dcs[1]] > 2 {
			t.Fatalf("more than 2 under way at a concentrator: %v", under)
		}
		if p.Done == 8 && (p.PerMinute != 2 || !p.ETA.Equal(c.now.Add(time.Minute).Truncate(time.Second))) {
			t.Errorf("8 of 10 done in 4 minutes: want 2 a minute and the end in one, got %g and %s after %s", p.PerMinute, p.ETA, c.now)
		}
	}
	if p.State != rotation.CampaignDone || p.Done != 10 || p.Waiting+p.Asked != 0 || !p.EndedAt.Equal(at.Add(5*time.Minute)) || !p.ETA.IsZero() {
		t.Errorf("want all done, got %+v", p)
	}
	all, err := w.Changes().ByReason(t.Context(), k.ChangeReason())
	w.must(err)
	if len(all) != 10 || all[0].Meter != meters[9] || all[0].From != 1 || all[0].Concentrator != dcs[1] {
		t.Errorf("want each key changed once and the oldest first, got %+v", all)
	}
}

// campaignLate: meters that cannot be reached hold no others up, and no estimate counts with them.
func campaignLate(t *testing.T, w *world) {
	c, meters, _ := w.campaigns(20)
	k := c.start(rotation.Campaign{PerConcentrator: 2, InFlight: 4, Budget: -1})
	c.beat(k.ID)
	late := 0
	dead := func() { // of what is under way two are done, and the others are tried in vain
		all, err := w.Changes().ByReason(t.Context(), k.ChangeReason())
		w.must(err)
		all = slices.DeleteFunc(all, func(ch rotation.Change) bool { return ch.Step != rotation.StepWanted })
		for i := range all {
			if all[i].Step, all[i].To, all[i].DoneAt = rotation.StepDone, 2, c.now; i > 1 {
				all[i].Step, all[i].DoneAt, all[i].Attempts, all[i].LastError = rotation.StepSent, time.Time{}, rotation.LateAttempts, "no answer"
				late++
			}
		}
		w.must(w.Changes().Save(t.Context(), all))
		if len(all) < 4 {
			t.Fatalf("want keys under way all the time, got %d", len(all))
		}
	}
	var p rotation.Progress
	for range 4 {
		c.now = c.now.Add(time.Minute)
		dead()
		if p = c.beat(k.ID); p.Late != late || p.Stuck != 0 || p.Asked-p.Late != 4 {
			t.Fatalf("want %d late and 4 others under way, got %+v", late, p)
		}
	}
	if left := len(meters) - p.Done - p.Late; p.PerMinute != 2 || !p.ETA.Equal(c.now.Add(time.Duration(left)*time.Minute/2).Truncate(time.Second)) {
		t.Errorf("want the end of the %d that are not late told, got %g a minute, %s after %s", left, p.PerMinute, p.ETA, c.now)
	}
	for range 9 { // until nobody answers at all: then so many wait, and no more
		c.now = c.now.Add(time.Minute)
		all, err := w.Changes().ByReason(t.Context(), k.ChangeReason())
		w.must(err)
		for _, ch := range all {
			if ch.Step != rotation.StepDone {
				ch.Step, ch.Attempts, ch.LastError = rotation.StepSent, 9, "no answer"
				w.must(w.Changes().Save(t.Context(), []rotation.Change{ch}))
			}
		}
		p = c.beat(k.ID)
	}
	if p.Asked > 20 || p.State != rotation.CampaignRunning || !p.ETA.IsZero() {
		t.Errorf("want at most five times the limits under way where nobody answers, and no end told, got %+v", p)
	}
}

func campaignSelections(t *testing.T, w *world) {
	c, meters, dcs := w.campaigns(3)
	w.update(func(ctx context.Context) error {
		return w.AddHandouts(ctx, []vault.Handout{
			handout(dcs[0], lanKey(meters[0], 1, ""), 1), handout(dcs[0], lanKey(meters[4], 1, ""), 7), handout(dcs[0], lanKey(meters[5], 1, ""), 3),
		})
	})
	for name, s := range map[string]struct {
		selection rotation.Selection
		want      []dlms.SystemTitle
	}{
		"all":                 {rotation.Selection{}, []dlms.SystemTitle{meters[5], meters[4], meters[3], meters[2], meters[1], meters[0]}},
		"a concentrator":      {rotation.Selection{Concentrator: dcs[0]}, []dlms.SystemTitle{meters[2], meters[1], meters[0]}},
		"by name":             {rotation.Selection{Meters: []dlms.SystemTitle{meters[1], meters[4], meters[1], title('X', 1)}}, []dlms.SystemTitle{meters[4], meters[1]}},
		"of a maker":          {rotation.Selection{Maker: "MSL", Concentrator: dcs[1]}, []dlms.SystemTitle{meters[5], meters[4], meters[3]}},
		"of another maker":    {rotation.Selection{Maker: "XYZ"}, nil},
		"older than":          {rotation.Selection{Before: at.Add(-4 * time.Hour)}, []dlms.SystemTitle{meters[5], meters[4]}},
		"exposed":             {rotation.Selection{Exposed: true}, []dlms.SystemTitle{meters[4], meters[5]}},
		"what a device holds": {rotation.Selection{Holder: dcs[0]}, []dlms.SystemTitle{meters[4], meters[5], meters[0]}},
		"what is held at all": {rotation.Selection{Held: true, Meters: meters[:2]}, []dlms.SystemTitle{meters[0]}},
	} {
		k := c.start(rotation.Campaign{Selection: s.selection, Budget: -1})
		w.update(func(ctx context.Context) error {
			for i := 0; !k.Selected; i++ { // in parts of two meters
				if err := w.Store.Campaigns().SelectKeys(ctx, &k, 2, at); err != nil || i > 9 {
					return fmt.Errorf("%s: part %d: %w", name, i, err)
				}
			}
			return w.Store.Campaigns().SaveCampaign(ctx, k)
		})
		keys, err := w.Store.Campaigns().NextKeys(t.Context(), k.ID, dlms.SystemTitle{}, 99)
		w.must(err)
		var got []dlms.SystemTitle
		for _, x := range keys {
			got = append(got, x.Meter)
		}
		if !slices.Equal(got, s.want) || k.Total != len(s.want) {
			t.Errorf("%s: want %v, got %v (%d)", name, s.want, got, k.Total)
		}
		w.must(c.Steer(t.Context(), k.ID, rotation.Abort, nil))
	}
}

func campaignBudget(t *testing.T, w *world) {
	c, meters, _ := w.campaigns(3)
	k := c.start(rotation.Campaign{PerConcentrator: 2, Budget: 1, BudgetTries: 3})
	c.beat(k.ID)
	all, err := w.Changes().ByReason(t.Context(), k.ChangeReason())
	w.must(err)
	all[0].Step, all[0].LastError = rotation.StepSearching, "searched 2 versions"
	all[1].Tried, all[1].LastError = 3, "v4 was not taken"
	w.must(w.Changes().Save(t.Context(), all[:1]))
	if p := c.beat(k.ID); p.State != rotation.CampaignRunning || p.Stuck != 1 {
		t.Fatalf("one is stuck and one may be: got %+v", p)
	}
	w.must(w.Changes().Save(t.Context(), all[1:2]))
	p := c.beat(k.ID)
	if p.State != rotation.CampaignStopped || p.Why != "2 keys are stuck, the budget is 1" || len(p.Hardest) != 2 || p.Hardest[0].ID != all[1].ID {
		t.Fatalf("want it stopped and the reason told, got %+v", p)
	}
	c.finish(k, 9)
	if p = c.beat(k.ID); p.Done != 2 || p.Asked != 0 || p.Waiting != 4 || p.State != rotation.CampaignStopped {
		t.Errorf("what was begun is brought to its end, the rest withdrawn and nothing more asked for: got %+v", p)
	}
	five := 5
	w.must(c.Steer(t.Context(), k.ID, rotation.Resume, &five))
	if p = c.beat(k.ID); p.State != rotation.CampaignRunning || p.Asked != 3 || p.Budget != 5 {
		t.Errorf("resumed: got %+v", p)
	}
	_, stale := c.begin(k) // the other one was just read by a pass: it may not begin what is withdrawn
	w.must(c.Steer(t.Context(), k.ID, rotation.Pause, nil))
	if p = c.beat(k.ID); p.State != rotation.CampaignPaused || p.Asked != 1 || p.Waiting != 3 {
		t.Errorf("paused: want what was begun under way and the rest waiting, got %+v", p)
	}
	if open, _, err := w.Changes().Open(t.Context()); err != nil || open != 1 {
		t.Errorf("want one change open, got %d, %v", open, err)
	}
	if err := w.Changes().Save(t.Context(), []rotation.Change{stale}); !errors.Is(err, rotation.ErrMoved) {
		t.Errorf("a change that was withdrawn: want ErrMoved, got %v", err)
	}
	w.must(c.Steer(t.Context(), k.ID, rotation.Resume, nil))
	if p = c.beat(k.ID); p.Asked != 3 || p.Waiting != 1 {
		t.Errorf("resumed: want as many under way as before, got %+v", p)
	}
	w.must(c.Steer(t.Context(), k.ID, rotation.Abort, nil))
	c.finish(k, 9)
	if p = c.beat(k.ID); p.State != rotation.CampaignAborted || p.Done != 3 || p.Asked != 0 {
		t.Errorf("aborted: want what was begun brought to its end and no more, got %+v", p)
	}
	for _, how := range []rotation.Steering{rotation.Resume, rotation.Pause, "other"} {
		if err := c.Steer(t.Context(), k.ID, how, nil); !errors.Is(err, rotation.ErrCampaign) {
			t.Errorf("%s after its end: want ErrCampaign, got %v", how, err)
		}
	}
	if err := c.Steer(t.Context(), 999, rotation.Pause, nil); !errors.Is(err, rotation.ErrNoCampaign) {
		t.Errorf("want ErrNoCampaign, got %v", err)
	}
	_ = meters
}

// campaignBefore: a change that was under way before the campaign may bring in the very key that has to go.
func campaignBefore(t *testing.T, w *world) {
	c, meters, dcs := w.campaigns(1)
	w.ask(dcs[0], []role.Role{role.CCLAN}, meters[0])
	c.now = at.Add(time.Minute)
	k := c.start(rotation.Campaign{Budget: -1})
	if p := c.beat(k.ID); p.Asked != 2 {
		t.Fatalf("want both under way, got %+v", p)
	}
	old, err := w.Changes().Last(t.Context(), rotation.MeterRole{Meter: meters[0], Role: role.CCLAN})
	w.must(err)
	old.Step, old.DoneAt = rotation.StepDone, c.now
	w.must(w.Changes().Save(t.Context(), []rotation.Change{old}))
	c.finish(k, 9)
	if p := c.beat(k.ID); p.Done != 1 || p.Asked != 1 || p.State != rotation.CampaignRunning {
		t.Errorf("want the earlier change followed by another one, got %+v", p)
	}
	// A meter that is moved in the meantime is counted where it is.
	w.move(dcs[1], meters[0])
	w.update(func(ctx context.Context) error { _, err := w.Changes().Move(ctx, dcs[1], meters[:1]); return err })
	ways, err := w.Store.Campaigns().KeysUnderWay(t.Context(), k)
	if w.must(err); len(ways) != 1 || ways[0].Concentrator != dcs[1] {
		t.Errorf("a moved meter: got %+v", ways)
	}
	c.finish(k, 9)
	if p := c.beat(k.ID); p.State != rotation.CampaignDone || p.Done != 2 {
		t.Errorf("want it done, got %+v", p)
	}
}

// campaignNodes: of two processes one runs the campaigns, and after its death the other.
func campaignNodes(t *testing.T, w *world) {
	c, _, _ := w.campaigns(2)
	k := c.start(rotation.Campaign{Budget: -1})
	runner := func(s interface {
		lease.Store
	}, cs rotation.CampaignStore, owner string,
	) *rotation.Campaigns {
		m := lease.New(s, owner, lease.Options{Now: func() time.Time { return c.now }, TTL: time.Minute})
		return rotation.NewCampaigns(rotation.CampaignsConfig{
			Store: cs, Now: func() time.Time { return c.now }, Turn: m.Standing(lease.Campaigns()).Turn,
		})
	}
	one, two := runner(w, w.Store.Campaigns(), "one"), runner(w.other, w.other.Campaigns(), "two")
	for i, want := range []int{4, 0} {
		if n, err := []*rotation.Campaigns{one, two}[i].Beat(t.Context()); err != nil || n != want {
			t.Errorf("runner %d: want %d asked for, got %d, %v", i+1, want, n, err)
		}
	}
	c.finish(k, 9)
	if _, err := two.Beat(t.Context()); err != nil || c.progress(k.ID).Done != 0 {
		t.Errorf("the second one worked under the first one's lease: %v", err)
	}
	c.now = c.now.Add(2 * time.Minute)
	if _, err := two.Beat(t.Context()); err != nil || c.progress(k.ID).State != rotation.CampaignDone {
		t.Errorf("the first one is dead: want the second to go on, got %+v, %v", c.progress(k.ID), err)
	}
}

func spent(t *testing.T, w *world) {
	meters, dc := w.enrol(3)
	w.update(func(ctx context.Context) error {
		var err error
		for i, m := range meters {
			old, now := lanKey(m, 1, vault.Superseded), lanKey(m, 2, vault.Active)
			err = errors.Join(err, w.AddKeys(ctx, []vault.KeyRow{old, now}),
				w.RaiseSendCounters(ctx, []vault.CounterRow{{Ref: old.Ref, Title: dc, Ceiling: 1<<32 - 1}}), // of a key that is not in force
				w.RaiseSendCounters(ctx, []vault.CounterRow{{Ref: now.Ref, Title: dc, Ceiling: 1<<31 - 1 + uint32(i%2)}}))
		}
		_, errF := w.RaiseReceiveFloors(ctx, []vault.FloorRow{{Ref: keyRow(meters[2], 1, "").Ref, Title: meters[2], Last: 1 << 31}})
		return errors.Join(err, errF)
	})
	want := []rotation.MeterRole{{Meter: meters[1], Role: role.CCLAN}, {Meter: meters[2], Role: role.CCIS}}
	got, err := w.Spent(t.Context(), 10)
	if w.must(err); !slices.Equal(got, want) {
		t.Errorf("want %v, got %v", want, got)
	}
	w.ask(dc, []role.Role{role.CCLAN}, meters[1])
	if got, err = w.Spent(t.Context(), 10); err != nil || !slices.Equal(got, want[1:]) {
		t.Errorf("want those without a change under way, got %v, %v", got, err)
	}
}
