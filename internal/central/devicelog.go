package central

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/bus"
	"github.com/meterseal/meterseal/internal/central/api"
	"github.com/meterseal/meterseal/internal/central/audit"
	"github.com/meterseal/meterseal/internal/central/life"
	"github.com/meterseal/meterseal/internal/central/store"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/keylog"
)

// actionLogJoined is on the record for every stretch of a device's own log that the audit log has taken in.
const actionLogJoined audit.Action = "device.log.joined"

// takeLog joins what a concentrator tells of its own use of keys into the audit log, so that it is signed with it. Where
// the beginning is missing it is asked for that: the database may have been taken back.
func (is *IS) takeLog(ctx context.Context, from dlms.SystemTitle, entries []keylog.Entry) error {
	_, err := is.joinLog(ctx, actorIS, from, entries)
	var gap *store.LogGapError
	switch {
	case err == nil:
		is.gaps.Delete(from)
		return nil
	case errors.As(err, &gap):
		if known, asked := is.gaps.Swap(from, gap.Known); asked && known == gap.Known {
			is.alarm(ctx, from, actionLogGap, err) // it was asked for what is missing, and did not tell it
		}
		return errors.Join(err, &bus.Fault{Code: bus.FaultLogGap, Text: "entries before these are missing", From: gap.Known + 1})
	case errors.Is(err, keylog.ErrChain):
		is.alarm(ctx, from, actionLogGap, err)
	}
	return err
}

func (is *IS) joinLog(ctx context.Context, by audit.Actor, from dlms.SystemTitle, entries []keylog.Entry) (n int, err error) {
	err = is.store.Update(ctx, func(ctx context.Context) error {
		fresh, err := is.store.AppendDeviceLog(ctx, from, entries)
		if err != nil {
			return err
		}
		n = len(fresh)
		if err := is.store.SetDeviceTold(ctx, from, is.deps.Now()); err != nil {
			return err
		}
		records, err := joined(by, from, fresh)
		if err != nil {
			return err
		}
		return is.audit.Append(ctx, records...)
	})
	return n, err
}

// joinedBytes bounds the entries of one record, in bytes: a record has at most audit.MaxEntry.
const joinedBytes = audit.MaxEntry / 2

// joined makes records of a device's entries, a few of them in each.
func joined(by audit.Actor, from dlms.SystemTitle, entries []keylog.Entry) (out []audit.Entry, err error) {
	size := joinedBytes
	for _, e := range entries {
		b, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("log of %s: %w", from, err)
		}
		if size += len(b); size > joinedBytes {
			out = append(out, audit.Entry{Actor: by, Action: actionLogJoined, Phase: audit.Done, Subject: audit.Subject{Device: from}})
			size = len(b)
		}
		last := &out[len(out)-1]
		last.Log = append(last.Log, e)
	}
	return out, nil
}

// TakeTerminalLog implements api.Backend: the log that a terminal kept while it was away.
func (is *IS) TakeTerminalLog(ctx context.Context, f enrol.LogFile) (t api.LogTaken, err error) {
	if err := is.vault.VerifyLog(ctx, f); err != nil {
		return t, err
	}
	t = api.LogTaken{Terminal: f.Terminal}
	if t.Taken, err = is.joinLog(ctx, who(ctx), f.Terminal, f.Entries); errors.Is(err, keylog.ErrChain) {
		is.alarm(ctx, f.Terminal, actionLogGap, err)
	}
	if err != nil {
		return t, err
	}
	last, err := is.store.LastDeviceLog(ctx, f.Terminal)
	t.Last = last.Sequence
	return t, err
}

// KeyLife implements api.Backend.
func (is *IS) KeyLife(ctx context.Context, meter dlms.SystemTitle) (l life.Life, err error) {
	if _, err := is.fleet.Find(ctx, meter); err != nil {
		return l, err
	}
	b := life.New(meter)
	for f := (audit.Filter{Meter: meter, Limit: pageOfRecords}); ; {
		rows, err := is.audit.List(ctx, f)
		if err != nil {
			return l, err
		}
		for _, r := range rows {
			var e audit.Entry
			if err := json.Unmarshal(r.Body, &e); err != nil {
				return l, fmt.Errorf("audit record %d: %w", r.ID, err)
			}
			b.Add(e)
			f.After = r.ID
		}
		if len(rows) < f.Limit {
			break
		}
	}
	for after := (store.DeviceUse{}); ; {
		uses, err := is.store.DeviceUses(ctx, meter, after, pageOfRecords)
		if err != nil {
			return l, err
		}
		for _, u := range uses {
			b.Told(u.Device, u.Entry)
			after = u
		}
		if len(uses) < pageOfRecords {
			return b.Life(), nil
		}
	}
}

// pageOfRecords is how many records are read at a time.
const pageOfRecords = 1000

// deviceLogs tells how far the logs of devices are known. A terminal's is missed from the end of its last grant on.
func (is *IS) deviceLogs(ctx context.Context) ([]api.DeviceLog, error) {
	told, err := is.store.DevicesTold(ctx)
	out := make([]api.DeviceLog, len(told))
	for i, t := range told {
		out[i] = api.DeviceLog{Device: t.Device, Kind: t.Kind, Last: t.Last, At: t.At}
		if t.Told.Before(t.Ended) {
			out[i].Due = t.Ended
		}
	}
	return out, err
}

// alarmsShown is how many alarms of each kind are shown.
const alarmsShown = 20

// alarmed lists the newest alarms on the record.
func (is *IS) alarmed(ctx context.Context) (out []api.Alarm, err error) {
	for _, a := range []audit.Action{actionRewound, actionLogGap, actionUnknownVersion, actionBurnt} {
		rows, err := is.audit.List(ctx, audit.Filter{Action: a, Newest: true, Limit: alarmsShown})
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			var e audit.Entry
			if err := json.Unmarshal(r.Body, &e); err != nil {
				return nil, fmt.Errorf("audit record %d: %w", r.ID, err)
			}
			out = append(out, api.Alarm{At: e.At, Action: string(a), Device: e.Subject.Device, Meter: e.Subject.Meter, Cause: e.Detail["cause"]})
		}
	}
	slices.SortStableFunc(out, func(a, b api.Alarm) int { return b.At.Compare(a.At) })
	return out, nil
}
