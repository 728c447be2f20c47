//go:build pkcs11

package pkcs11

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/key"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/central/vault/vaulttest"
	"github.com/meterseal/meterseal/internal/enrol"
	"github.com/meterseal/meterseal/internal/role"
)

// meddler stands between a vault and its token. At one call it does what a test wants done there; the error it gives is
// the token's answer, nil lets the call go on.
type meddler struct {
	cryptoki
	calls  atomic.Int64
	logins atomic.Int64
	mu     sync.Mutex
	at     func(n int64, call string) error
	write  map[p11.SessionHandle]bool // sessions that may change what stays in the token
}

func (m *meddler) set(at func(n int64, call string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls.Store(0)
	m.at = at
}

func (m *meddler) call(name string) error {
	m.mu.Lock()
	at := m.at
	m.mu.Unlock()
	n := m.calls.Add(1)
	if at == nil {
		return nil
	}
	return at(n, name)
}

func (m *meddler) OpenSession(slot, flags uint) (p11.SessionHandle, error) {
	if err := m.call("OpenSession"); err != nil {
		return 0, err
	}
	s, err := m.cryptoki.OpenSession(slot, flags)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.write == nil {
		m.write = map[p11.SessionHandle]bool{}
	}
	m.write[s] = flags&p11.CKF_RW_SESSION != 0
	return s, err
}

func (m *meddler) DestroyObject(s p11.SessionHandle, o p11.ObjectHandle) error {
	m.mu.Lock()
	stays := m.write[s]
	m.mu.Unlock()
	if stays {
		if err := m.call("DestroyObject"); err != nil {
			return err
		}
	}
	return m.cryptoki.DestroyObject(s, o)
}

func (m *meddler) Login(s p11.SessionHandle, user uint, pin string) error {
	m.logins.Add(1)
	if err := m.call("Login"); err != nil {
		return err
	}
	return m.cryptoki.Login(s, user, pin)
}

func (m *meddler) GenerateKey(s p11.SessionHandle, mech []*p11.Mechanism, a []*p11.Attribute) (p11.ObjectHandle, error) {
	if err := m.call("GenerateKey"); err != nil {
		return 0, err
	}
	return m.cryptoki.GenerateKey(s, mech, a)
}

func (m *meddler) WrapKey(s p11.SessionHandle, mech []*p11.Mechanism, under, k p11.ObjectHandle) ([]byte, error) {
	if err := m.call("WrapKey"); err != nil {
		return nil, err
	}
	return m.cryptoki.WrapKey(s, mech, under, k)
}

func (m *meddler) UnwrapKey(s p11.SessionHandle, mech []*p11.Mechanism, under p11.ObjectHandle, blob []byte, a []*p11.Attribute) (p11.ObjectHandle, error) {
	if err := m.call("UnwrapKey"); err != nil {
		return 0, err
	}
	return m.cryptoki.UnwrapKey(s, mech, under, blob, a)
}

func (m *meddler) SignInit(s p11.SessionHandle, mech []*p11.Mechanism, k p11.ObjectHandle) error {
	if err := m.call("SignInit"); err != nil {
		return err
	}
	return m.cryptoki.SignInit(s, mech, k)
}

func (m *meddler) VerifyInit(s p11.SessionHandle, mech []*p11.Mechanism, k p11.ObjectHandle) error {
	if err := m.call("VerifyInit"); err != nil {
		return err
	}
	return m.cryptoki.VerifyInit(s, mech, k)
}

func (m *meddler) EncryptInit(s p11.SessionHandle, mech []*p11.Mechanism, k p11.ObjectHandle) error {
	if err := m.call("EncryptInit"); err != nil {
		return err
	}
	return m.cryptoki.EncryptInit(s, mech, k)
}

// bench is a vault in a token with a meddler in between, and a meter.
type bench struct {
	t      *testing.T
	h      *hsm
	m      *meddler
	v      *Token
	master key.Master
	ccc    vault.KeyRow
	row    vault.KeyRow
	d      vault.DeviceRow
	id     *enrol.Identity
}

var (
	aMeter        = dlms.SystemTitle{'M', 'S', 'M', 0, 0, 0, 0, 1}
	aConcentrator = dlms.SystemTitle{'M', 'S', 'C', 0, 0, 0, 0, 1}
)

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, h: newHSM(t), m: new(meddler)}
	o := b.h.options()
	o.between = func(c cryptoki) cryptoki { b.m.cryptoki = c; return b.m }
	b.v = b.h.vault(t, o)
	var err error
	b.master, err = key.GenerateMaster(rand.Reader)
	must(t, err)
	b.ccc = vaulttest.Adopt(t, b.v, role.KeyRef{Meter: aMeter, Role: role.CCC, Version: 1}, b.master)
	b.row, err = b.v.NewRow(nil, role.KeyRef{Meter: aMeter, Role: role.CCLAN, Version: 1}, 0)
	must(t, err)
	b.id, err = enrol.NewIdentity(enrol.Concentrator, aConcentrator, rand.Reader)
	must(t, err)
	b.d = vaulttest.Enrol(t, b.v, b.id)
	return b
}

// operations are what a vault does with a token, each checked.
func (b *bench) operations() map[string]func() error {
	head := enrol.SealedKey{Meter: aMeter, Role: role.CCLAN, Version: 1, Recipient: aConcentrator, FirstCounter: 1, LastCounter: 9}
	return map[string]func() error{
		"wrap": func() error {
			blob, err := b.v.WrapRow(b.ccc, b.row)
			if err != nil {
				return err
			}
			k, err := b.master.UnwrapUnicast(blob)
			return errors.Join(err, named2(k.Fingerprint(), b.row.Fingerprint))
		},
		"new": func() error {
			row, err := b.v.NewRow(nil, role.KeyRef{Meter: aMeter, Role: role.CCIS, Version: 2}, 0)
			if err != nil {
				return err
			}
			return b.v.CheckRow(row)
		},
		"seal": func() error {
			s, err := b.v.SealRow(b.d, head, b.row)
			if err != nil {
				return err
			}
			k, err := b.id.Open(s)
			return errors.Join(err, named2(k.Fingerprint(), b.row.Fingerprint))
		},
		"associate": func() error {
			a, err := b.v.RowAEAD(b.row)
			if err != nil {
				return err
			}
			c, err := security.NewCipher(a, key.Authentication{})
			if err != nil {
				return err
			}
			ctl := security.Authenticated | security.Encrypted
			apdu, err := c.Seal(nil, ctl, aMeter, 1, []byte("text"))
			if err != nil {
				return err
			}
			_, err = c.Open(nil, ctl, aMeter, 1, apdu)
			return err
		},
		"import": func() error {
			env, out, err := b.v.NewConsignment(nil, b.v.Transport())
			if err != nil {
				return err
			}
			blob, err := out.Release(b.row)
			if err = errors.Join(err, out.Close()); err != nil {
				return err
			}
			in, err := b.v.OpenConsignment(env.Key)
			if err != nil {
				return err
			}
			row, err := in.Adopt(b.row.Ref, 0, blob)
			if err = errors.Join(err, in.Close()); err != nil {
				return err
			}
			return named2(row.Fingerprint, b.row.Fingerprint)
		},
	}
}

func named2(got, want key.Fingerprint) error {
	if got != want {
		return errors.New("another key")
	}
	return nil
}

// leftovers counts the session objects that are in the token: what an operation left behind.
func (b *bench) leftovers() int {
	b.t.Helper()
	n := 0
	must(b.t, b.v.do("count", func(s *session) error {
		if err := b.v.ck.FindObjectsInit(s.h, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, false)}); err != nil {
			return err
		}
		got, _, err := b.v.ck.FindObjects(s.h, 100)
		n = len(got)
		return errors.Join(err, b.v.ck.FindObjectsFinal(s.h))
	}))
	return n
}

// logout ends the login of the whole process, as a security officer does who locks a token.
func (b *bench) logout() {
	s, err := b.h.ctx.OpenSession(b.h.slot, p11.CKF_SERIAL_SESSION)
	must(b.t, err)
	must(b.t, b.h.ctx.Logout(s))
	must(b.t, b.h.ctx.CloseSession(s))
}

func TestALogoutInTheMiddleLosesNothing(t *testing.T) {
	b := newBench(t)
	for name, op := range b.operations() {
		b.m.set(nil)
		must(t, op())
		for at := int64(1); at <= b.m.calls.Load() && at < 12; at++ {
			done := false
			b.m.set(func(n int64, _ string) error {
				if n == at && !done {
					done = true
					b.logout()
				}
				return nil
			})
			if err := op(); err != nil || !done {
				t.Errorf("%s, logged out at call %d (%v): %v", name, at, done, err)
			}
			b.m.set(nil)
		}
	}
	if n := b.leftovers(); n != 0 {
		t.Errorf("%d objects are left in the token", n)
	}
}

func TestAFullTokenSaysSoAndKeepsNothingOfWhatWasBegun(t *testing.T) {
	b := newBench(t)
	for name, op := range b.operations() {
		b.m.set(nil)
		must(t, op())
		for at := int64(1); at <= b.m.calls.Load(); at++ {
			hit := false
			b.m.set(func(n int64, call string) error {
				if n < at || call != "UnwrapKey" && call != "GenerateKey" {
					return nil
				}
				hit = true
				return p11.Error(p11.CKR_DEVICE_MEMORY)
			})
			err := op()
			b.m.set(nil)
			if hit && !errors.Is(err, vault.ErrToken) && !errors.Is(err, security.ErrSeal) && !errors.Is(err, security.ErrTag) {
				t.Errorf("%s, full from call %d on: want ErrToken, got %v", name, at, err)
			}
			if err := op(); err != nil {
				t.Errorf("%s, after there was room again: %v", name, err)
			}
		}
	}
	if n := b.leftovers(); n != 0 {
		t.Errorf("%d objects are left in the token", n)
	}
}

func TestATokenThatIsAwayIsToldAndServesAgainWhenItIsBack(t *testing.T) {
	b := newBench(t)
	for _, code := range []p11.Error{p11.CKR_DEVICE_REMOVED, p11.CKR_TOKEN_NOT_PRESENT, p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_DEVICE_ERROR} {
		for name, op := range b.operations() {
			b.m.set(func(int64, string) error { return code })
			if err := op(); !errors.Is(err, vault.ErrToken) {
				t.Errorf("%s, %s: want ErrToken, got %v", name, code, err)
			}
			b.m.set(nil)
			if err := op(); err != nil {
				t.Errorf("%s, back after %s: %v", name, code, err)
			}
		}
	}
}

// TestATokenWhoseFilesAreGoneIsTold removes a token of SoftHSM for real. It is not seen again by this process; another one,
// for which it is back, finds every key as it was.
func TestATokenWhoseFilesAreGoneIsTold(t *testing.T) {
	b := newBench(t)
	away := b.h.files + ".away"
	must(t, os.Rename(b.h.files, away))
	b.logout()
	for name, op := range b.operations() {
		if err := op(); !errors.Is(err, vault.ErrToken) {
			t.Errorf("%s without a token: want ErrToken, got %v", name, err)
		}
	}
	must(t, os.Rename(away, b.h.files))
	row, err := json.Marshal(b.row)
	must(t, err)
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOpensInAnotherProcess$", "-test.v")
	again.Env = append(os.Environ(), otherDir+"="+b.h.dir, otherRow+"="+string(row))
	out, err := again.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "opened in another process") {
		t.Errorf("another process: %v\n%s", err, out)
	}
}

// What TestOpensInAnotherProcess opens, where it is one.
const (
	otherDir = "METERSEAL_TEST_VAULT"
	otherRow = "METERSEAL_TEST_ROW"
)

// TestOpensInAnotherProcess opens the vault that it is told of, or makes one and opens it again.
func TestOpensInAnotherProcess(t *testing.T) {
	dir, text := os.Getenv(otherDir), os.Getenv(otherRow)
	if dir == "" {
		b := newBench(t)
		row, err := json.Marshal(b.row)
		must(t, err)
		dir, text = b.h.dir, string(row)
	}
	var row vault.KeyRow
	must(t, json.Unmarshal([]byte(text), &row))
	h := &hsm{dir: dir}
	v, err := h.again(t, h.options())
	must(t, err)
	must(t, v.CheckRow(row))
	t.Log("opened in another process")
}

func TestAPINThatIsRefusedIsTriedOnce(t *testing.T) {
	for name, code := range map[string]p11.Error{"wrong": p11.CKR_PIN_INCORRECT, "locked": p11.CKR_PIN_LOCKED, "expired": p11.CKR_PIN_EXPIRED} {
		b := newBench(t)
		b.m.set(func(_ int64, call string) error {
			if call == "Login" {
				return code
			}
			return nil
		})
		b.logout()
		before := b.m.logins.Load()
		for range 3 {
			err := b.v.CheckRow(b.row)
			if !errors.Is(err, vault.ErrToken) || !strings.Contains(err.Error(), "PIN") || strings.Contains(err.Error(), userPIN) {
				t.Errorf("%s: want ErrToken, got %v", name, err)
			}
		}
		if n := b.m.logins.Load() - before; n != 1 {
			t.Errorf("%s: tried %d times", name, n)
		}
	}
}

func TestTheTokenRefusesAWrongPINWhenItIsOpened(t *testing.T) {
	b := newBench(t)
	must(t, b.v.Close())
	o := b.h.options()
	o.PIN = pinOf("00000000")
	_, err := b.h.again(t, o)
	if !errors.Is(err, vault.ErrToken) || !strings.Contains(err.Error(), "refuses the PIN") {
		t.Errorf("got %v", err)
	}
	must(t, func() error { _, err := b.h.again(t, b.h.options()); return err }())
}

func TestATokenWithFewSessionsServesManyAtOnce(t *testing.T) {
	b := newBench(t)
	open := 0
	b.m.set(func(_ int64, call string) error {
		if call != "OpenSession" {
			return nil
		}
		if open++; open > 1 {
			return p11.Error(p11.CKR_SESSION_COUNT)
		}
		return nil
	})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := b.v.CheckRow(b.row); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestATermThatIsHalfMadeIsMadeWholeTheNextTime(t *testing.T) {
	b := newBench(t)
	made := 0
	b.m.set(func(_ int64, call string) error {
		if call == "GenerateKey" {
			if made++; made == 2 {
				return p11.Error(p11.CKR_DEVICE_MEMORY)
			}
		}
		return nil
	})
	if _, err := b.v.StageTerm(nil, time.Now()); !errors.Is(err, vault.ErrToken) {
		t.Errorf("want ErrToken, got %v", err)
	}
	if got := b.v.Terms(); len(got) != 1 {
		t.Errorf("terms after what failed: %v", got)
	}
	b.m.set(nil)
	next, err := b.v.StageTerm(nil, time.Now())
	must(t, err)
	must(t, b.v.SealUnder(next))
	row, err := b.v.ReSealRow(b.row)
	must(t, err)
	must(t, b.v.CheckRow(row))
}

func TestAMakingThatFailsLeavesNothing(t *testing.T) {
	h := newHSM(t)
	for _, fails := range []string{"GenerateKey", "SignInit", "UnwrapKey"} {
		m := new(meddler)
		m.set(func(_ int64, call string) error {
			if call == fails {
				return p11.Error(p11.CKR_DEVICE_MEMORY)
			}
			return nil
		})
		o := h.options()
		o.between = func(c cryptoki) cryptoki { m.cryptoki = c; return m }
		if _, err := Init(h.dir, initOptions(), h.place, o); !errors.Is(err, vault.ErrToken) {
			t.Errorf("%s: want ErrToken, got %v", fails, err)
		}
		if _, err := os.Stat(filepath.Join(h.dir, vault.RootFile)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a root file is there", fails)
		}
		if n := h.objects(t); n != 0 {
			t.Errorf("%s: %d objects are left in the token", fails, n)
		}
	}
	h.vault(t, h.options())
}

// objects counts what is in the token.
func (h *hsm) objects(t testing.TB) int {
	t.Helper()
	s, err := h.ctx.OpenSession(h.slot, p11.CKF_SERIAL_SESSION)
	must(t, err)
	must(t, h.ctx.Login(s, p11.CKU_USER, userPIN))
	must(t, h.ctx.FindObjectsInit(s, nil))
	got, _, err := h.ctx.FindObjects(s, 100)
	must(t, errors.Join(err, h.ctx.FindObjectsFinal(s), h.ctx.CloseSession(s)))
	return len(got)
}

func TestAnotherTokenIsNotTaken(t *testing.T) {
	b, other := newBench(t), newHSM(t)
	must(t, b.v.Close())
	h := *b.h
	h.place = other.place
	text, err := os.ReadFile(filepath.Join(h.dir, vault.RootFile))
	must(t, err)
	moved := strings.Replace(string(text), b.h.place.Label, other.place.Label, 1)
	must(t, os.WriteFile(filepath.Join(h.dir, vault.RootFile), []byte(moved), 0o600))
	if _, err := h.again(t, h.options()); !errors.Is(err, vault.ErrRoot) {
		t.Errorf("another vault's token: got %v", err)
	}
	gone := strings.Replace(string(text), b.h.place.Label, "nowhere", 1)
	must(t, os.WriteFile(filepath.Join(h.dir, vault.RootFile), []byte(gone), 0o600))
	if _, err := h.again(t, h.options()); !errors.Is(err, vault.ErrToken) || !strings.Contains(err.Error(), "nowhere") {
		t.Errorf("no such token: got %v", err)
	}
}

func TestAKeyThatCouldBeReadIsNotTakenForTheRoot(t *testing.T) {
	b := newBench(t)
	must(t, b.v.writing("forge", func(s *session) error {
		forged := useRootMAC
		forged.extract = true
		_, err := b.v.ck.GenerateKey(s.h, mechKeyGen, forged.generated(true, p11.NewAttribute(p11.CKA_LABEL, b.v.label("mac", 2))))
		return err
	}))
	if _, err := b.v.StageTerm(nil, time.Now()); !errors.Is(err, vault.ErrRoot) {
		t.Errorf("want ErrRoot, got %v", err)
	}
	must(t, b.v.writing("forge", func(s *session) error {
		_, err := b.v.ck.GenerateKey(s.h, mechKeyGen, useRootMAC.generated(true, p11.NewAttribute(p11.CKA_LABEL, b.v.label("mac", 1))))
		return err
	}))
	must(t, b.v.Close())
	if _, err := b.h.again(t, b.h.options()); !errors.Is(err, vault.ErrRoot) {
		t.Errorf("two keys of one name: want ErrRoot, got %v", err)
	}
}
