package drill

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/link/wrapper"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/role"
	"github.com/meterseal/meterseal/internal/shipment"
)

// Target is a meter and what the insider knows of it.
type Target struct {
	Row shipment.Meter
	// LAN is the meter's own address, HOST:PORT.
	LAN string
	// Profile is shipment.ProfileHardened or shipment.ProfileLinky.
	Profile string
	// Frames is the recording of the line.
	Frames []Frame
}

// Deps is what an attack is given. The attacker's own seals are not watched by a nonce oracle.
type Deps struct {
	Rand io.Reader
	Now  func() time.Time
}

// Result counts what the meter refused. A count of 0 means that there was nothing to try.
type Result struct {
	OldKey, ReplayedAssociation, ReplayedAPDU, ReplayedKey int
	KeySideways, TrafficUnderAssociationKey, KeyRead       int
	// Accepted are the attacks that the meter did not refuse, in words, without a byte of a key.
	Accepted []string
}

// Bounds of an attack.
const (
	// answerTime is how long silence has to last to be a refusal: the meter bounds its answers to what does not verify.
	answerTime = 500 * time.Millisecond
	// openTime is how long an answer to a request of an open association may take.
	openTime = 3 * time.Second
	// budget is after how long no further replay of a kind is begun once one was tried.
	budget = 8 * time.Second
	// maxReplays is how many recorded APDUs of a kind and client are sent again.
	maxReplays = 6
	// maxOldKeys is how many superseded keys of a role are tried, the newest first and the maker's own always.
	maxOldKeys = 4
	// maxBlobs is how many recorded wrapped keys are presented again, the newest.
	maxBlobs = 24
)

// ErrControl is returned when the attacker cannot do what it may: then a refusal would prove nothing.
var ErrControl = errors.New("drill: a request that is allowed fails")

// attacker is one run.
type attacker struct {
	Target
	deps   Deps
	title  dlms.SystemTitle
	until  time.Time
	keys   map[role.Role][]key.Unicast
	blobs  []Blob
	halves map[key.Fingerprint]security.LongTerm
	known  map[key.Fingerprint]string // every key by its fingerprint, and what it is
	result Result
}

// Attack derives what it can from the recording and attacks the meter. What the meter did not refuse is in
// Result.Accepted; an error means that the attack could not be made.
func Attack(ctx context.Context, target Target, deps Deps) (Result, error) {
	a, err := newAttacker(target, deps)
	if err != nil {
		return Result{}, err
	}
	// The honest associations are still there when the replays come, as on a live line.
	for _, step := range []func(context.Context) error{
		a.replayAssociations, a.replayAPDUs, a.oldKeys, a.transfers, a.traffic, a.reads,
	} {
		if err := ctx.Err(); err != nil {
			return a.result, context.Cause(ctx)
		}
		if err := step(ctx); err != nil {
			if len(a.result.Accepted) > 0 { // what was accepted may well have changed the keys
				return a.result, nil
			}
			return a.result, err
		}
	}
	return a.result, nil
}

func newAttacker(target Target, deps Deps) (*attacker, error) {
	if deps.Now == nil || deps.Rand == nil {
		return nil, errors.New("drill: want a clock and a source of randomness")
	}
	if target.Profile != shipment.ProfileHardened && target.Profile != shipment.ProfileLinky {
		return nil, fmt.Errorf("drill: want profile %s or %s, got %q",
			shipment.ProfileHardened, shipment.ProfileLinky, target.Profile)
	}
	a := &attacker{Target: target, deps: deps, until: deps.Now().Add(budget), halves: map[key.Fingerprint]security.LongTerm{}}
	if _, err := io.ReadFull(deps.Rand, a.title[:]); err != nil {
		return nil, fmt.Errorf("drill: system title: %w", err)
	}
	var err error
	if a.keys, a.blobs, err = Derive(target.Row, target.Frames); err != nil {
		return nil, err
	}
	a.known = map[key.Fingerprint]string{target.Row.CCC.Fingerprint(): role.CCC.String()}
	for r, list := range a.keys {
		for i, k := range list {
			a.known[k.Fingerprint()] = fmt.Sprintf("%s (number %d of %d)", r, i+1, len(list))
		}
	}
	return a, nil
}

func (a *attacker) accepted(format string, args ...any) {
	a.result.Accepted = append(a.result.Accepted, fmt.Sprintf(format, args...))
}

// late reports that the time for more of the same is over.
func (a *attacker) late(tried int) bool { return tried > 0 && a.deps.Now().After(a.until) }

// half is the attacker's half of a key, with counters of its own title that go on over associations.
func (a *attacker) half(k key.Unicast) (security.LongTerm, error) {
	fp := k.Fingerprint()
	if lt, ok := a.halves[fp]; ok {
		return lt, nil
	}
	aead, err := k.AEAD()
	if err != nil {
		return security.LongTerm{}, err
	}
	c, err := security.NewCipher(aead, key.Authentication{})
	if err != nil {
		return security.LongTerm{}, err
	}
	lt := security.LongTerm{
		Cipher: c, Send: security.NewMemoryCounter(), Floor: security.NewMemoryFloor(a.Row.Title, 0),
	}
	a.halves[fp] = lt
	return lt, nil
}

// entry is an open association of the attacker, over a connection of its own.
type entry struct {
	*client.Association
	conn *wrapper.Conn
	sap  dlms.SAP
	key  key.Unicast // zero for the public client
}

func (e *entry) close() { _ = e.conn.Close() } // the connection carries nothing any more

// leave releases the association, so that the honest end finds its place free.
func (e *entry) leave(ctx context.Context) {
	_ = e.Release(ctx) // where it fails, the next association of the honest end replaces it
	e.close()
}

// open associates as the client sap under a key, in time for one answer.
func (a *attacker) open(ctx context.Context, sap dlms.SAP, k key.Unicast, timeout time.Duration) (*entry, error) {
	cfg := client.Config{}
	if !k.IsZero() {
		lt, err := a.half(k)
		if err != nil {
			return nil, err
		}
		cfg = client.Linky(a.title, a.Row.Title, lt, a.deps.Rand)
		cfg.WrapAEAD = func(aead cipher.AEAD, fp key.Fingerprint) cipher.AEAD {
			a.known[fp] = "its session key"
			return aead
		}
	}
	cfg.Timeout = timeout
	conn, err := wrapper.Dial(ctx, a.LAN, sap, role.SAPServer)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrControl, err) // no refusal: the meter was not even asked
	}
	as, err := client.Open(ctx, conn, cfg)
	if err != nil {
		_ = conn.Close() // nothing was opened on it
		return nil, err
	}
	return &entry{as, conn, sap, k}, nil
}

// enter opens an association that the attacker's knowledge allows: under the newest key that the meter takes.
func (a *attacker) enter(ctx context.Context, sap dlms.SAP) (*entry, error) {
	if sap == dlms.SAPPublic {
		return controlled(a.open(ctx, sap, key.Unicast{}, openTime))
	}
	r, _ := roleAt(sap)
	err := fmt.Errorf("no %s", r)
	for i := len(a.keys[r]) - 1; i >= 0; i-- {
		var e *entry
		if e, err = a.open(ctx, sap, a.keys[r][i], openTime); err == nil {
			return e, nil
		}
	}
	return controlled(nil, fmt.Errorf("client %s: %w", sap, err))
}

func controlled(e *entry, err error) (*entry, error) {
	if err != nil {
		return nil, fmt.Errorf("%w: associate: %w", ErrControl, err)
	}
	return e, nil
}

// again opens the association anew, for one that somebody replaced or that broke. The entry that is given back may be
// left in any case.
func (a *attacker) again(ctx context.Context, old *entry) (*entry, error) {
	old.close()
	e, err := a.enter(ctx, old.sap)
	if err != nil {
		return old, err
	}
	return e, nil
}

// clients are the confirmed clients of the LAN with a key.
func (a *attacker) clients() []dlms.SAP {
	if a.Profile == shipment.ProfileLinky {
		return []dlms.SAP{role.SAPReadWrite}
	}
	return []dlms.SAP{role.SAPReadWrite, role.SAPIS}
}

// sender is the client that may transfer keys.
func (a *attacker) sender() dlms.SAP {
	if a.Profile == shipment.ProfileLinky {
		return role.SAPReadWrite
	}
	return role.SAPIS
}

// roles are those whose keys the meter has at a security setup.
func (a *attacker) roles() []role.Role {
	var out []role.Role
	for _, r := range role.Associations() {
		if len(a.keys[r]) > 0 {
			out = append(out, r)
		}
	}
	return out
}
