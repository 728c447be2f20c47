package drill

import (
	"context"
	"errors"
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/apdu"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/internal/role"
)

// send sends one APDU over a connection of its own and returns the answer, nil for silence.
func (a *attacker) send(ctx context.Context, sap dlms.SAP, b []byte) ([]byte, error) {
	conn, err := wrapper.Dial(ctx, a.LAN, sap, role.SAPServer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrControl, err)
	}
	defer func() { _ = conn.Close() }() // it carries nothing any more
	return exchange(ctx, conn, b)
}

func exchange(ctx context.Context, conn *wrapper.Conn, b []byte) ([]byte, error) {
	if err := conn.Send(ctx, b); err != nil {
		return nil, fmt.Errorf("drill: %w", err)
	}
	wait, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer, err := conn.Receive(wait)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, nil //nolint:nilerr // silence and a closed connection are refusals
	}
	return answer, nil
}

// refused reports whether an answer is one of the refusals that the standard sends in clear, or silence. Everything
// else, a ciphered error code too, means that the request was taken.
func refused(answer []byte) bool {
	if len(answer) == 0 {
		return true
	}
	switch apdu.Tag(answer[0]) {
	case apdu.TagExceptionResponse, apdu.TagConfirmedServiceError:
		return true
	case apdu.TagAARE:
		e, err := apdu.ParseAARE(answer)
		return err == nil && e.Result != apdu.AssociationAccepted
	}
	return false
}

// answered returns the recorded requests of a client with one of these tags that the meter got, since it answered: a
// frame that never arrived would be no replay. The newest are preferred, in the order of the line.
func (a *attacker) answered(sap dlms.SAP, tags ...apdu.Tag) [][]byte {
	var out [][]byte
	var last []byte
	for _, f := range a.Frames {
		switch {
		case f.Client != sap || f.Server != role.SAPServer || len(f.APDU) == 0:
		case f.ToMeter:
			last = f.APDU
		case last != nil && !refused(f.APDU):
			for _, t := range tags {
				if apdu.Tag(last[0]) == t {
					out = append(out, last)
				}
			}
			last = nil
		}
	}
	return spread(out, maxReplays)
}

// spread picks at most n of list: the oldest, and the newest.
func spread[T any](list []T, n int) []T {
	if len(list) <= n {
		return list
	}
	return append(list[:1:1], list[len(list)-n+1:]...)
}

func lanClients() []dlms.SAP { return []dlms.SAP{role.SAPReadWrite, role.SAPBroadcast, role.SAPIS} }

func (a *attacker) replayAssociations(ctx context.Context) error {
	for _, sap := range lanClients() {
		for i, b := range a.answered(sap, apdu.TagAARQ) {
			if a.late(i) {
				break
			}
			answer, err := a.send(ctx, sap, b)
			if err != nil {
				return err
			}
			if refused(answer) {
				a.result.ReplayedAssociation++
			} else {
				a.accepted("a recorded aarq of client %s", sap)
			}
		}
	}
	return nil
}

func (a *attacker) replayAPDUs(ctx context.Context) error {
	for _, sap := range lanClients() {
		for i, b := range a.answered(sap, apdu.TagDedGetRequest, apdu.TagDedSetRequest, apdu.TagDedActionRequest) {
			if a.late(i) {
				break
			}
			answer, err := a.send(ctx, sap, b)
			if err != nil {
				return err
			}
			if refused(answer) {
				a.result.ReplayedAPDU++
			} else {
				a.accepted("a recorded %s of client %s", apdu.Tag(b[0]), sap)
			}
		}
	}
	return nil
}

// oldKeys tries to associate under every key that is not the one in force: the newest that opens.
func (a *attacker) oldKeys(ctx context.Context) error {
	for _, sap := range a.clients() {
		e, err := a.enter(ctx, sap)
		if err != nil {
			return err
		}
		inForce := e.key
		e.leave(ctx)
		r, _ := roleAt(sap)
		var old []key.Unicast
		for _, k := range a.keys[r] {
			if !k.Equal(inForce) {
				old = append(old, k)
			}
		}
		for _, k := range spread(old, maxOldKeys) {
			e, err := a.open(ctx, sap, k, answerTime)
			switch {
			case err == nil:
				a.accepted("%s as client %s, superseded", a.known[k.Fingerprint()], sap)
				e.leave(ctx)
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case errors.Is(err, ErrControl):
				return err
			default:
				a.result.OldKey++
			}
		}
	}
	return nil
}
