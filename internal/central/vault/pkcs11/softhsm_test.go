//go:build pkcs11

package pkcs11

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/meterseal/meterseal/internal/central/vault"
	"github.com/meterseal/meterseal/internal/central/vault/vaulttest"
)

const (
	userPIN    = "20261103"
	officerPIN = "officer-1"
)

// The tests of this package share one SoftHSM, as Cryptoki is initialized once in a process. Each has tokens of its own.
var (
	tokenDir string
	numbered atomic.Int64
)

func TestMain(m *testing.M) {
	if os.Getenv(otherDir) != "" { // another process of a test: its tokens are there
		os.Exit(m.Run())
	}
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() { // SoftHSM syncs its files a lot, and so do the stores
		_ = os.Setenv("TMPDIR", "/dev/shm")
	}
	dir, err := os.MkdirTemp("", "meterseal-softhsm-*")
	if err == nil {
		err = configure(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func configure(dir string) error {
	tokenDir = filepath.Join(dir, "tokens")
	conf := filepath.Join(dir, "softhsm2.conf")
	text := "directories.tokendir = " + tokenDir + "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = true\n"
	if err := os.Mkdir(tokenDir, 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Setenv("SOFTHSM2_CONF", conf)
}

// modulePath finds SoftHSM where Debian and others put it.
func modulePath(t testing.TB) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("no SoftHSM on this machine: apt-get install softhsm2 (make setup says so too)")
	return ""
}

// hsm is a token of SoftHSM and its files.
type hsm struct {
	place vault.TokenPlace
	files string // directory of the token
	dir   string // of the vault
	slot  uint
	ctx   *p11.Ctx
}

func newHSM(t testing.TB) *hsm {
	t.Helper()
	module := modulePath(t)
	ctx := p11.New(module)
	if ctx == nil {
		t.Fatalf("%s does not load", module)
	}
	if err := ctx.Initialize(); err != nil && !is(err, p11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		t.Fatal(err)
	}
	h := &hsm{place: vault.TokenPlace{Module: module, Label: fmt.Sprintf("vault %d", numbered.Add(1))}, dir: t.TempDir(), ctx: ctx}
	before := tokens(t)
	h.init(t)
	for name := range tokens(t) {
		if !before[name] {
			h.files = filepath.Join(tokenDir, name)
		}
	}
	return h
}

func tokens(t testing.TB) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(tokenDir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, e := range entries {
		out[e.Name()] = true
	}
	return out
}

// init does what a security officer does: a label, and a PIN for the user.
func (h *hsm) init(t testing.TB) {
	t.Helper()
	slots, err := h.ctx.GetSlotList(false)
	must(t, err)
	must(t, h.ctx.InitToken(slots[len(slots)-1], officerPIN, h.place.Label))
	slots, err = h.ctx.GetSlotList(true)
	must(t, err)
	for _, s := range slots {
		if info, err := h.ctx.GetTokenInfo(s); err == nil && info.Label == h.place.Label {
			h.slot = s
		}
	}
	h.officer(t, func(s p11.SessionHandle) { must(t, h.ctx.InitPIN(s, userPIN)) })
}

// officer runs fn logged in as the security officer.
func (h *hsm) officer(t testing.TB, fn func(s p11.SessionHandle)) {
	t.Helper()
	s, err := h.ctx.OpenSession(h.slot, p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION)
	must(t, err)
	must(t, h.ctx.Login(s, p11.CKU_SO, officerPIN))
	fn(s)
	must(t, h.ctx.Logout(s))
	must(t, h.ctx.CloseSession(s))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func pinOf(pin string) func() (string, error) { return func() (string, error) { return pin, nil } }

func (h *hsm) options() Options { return Options{PIN: pinOf(userPIN), Rand: rand.Reader} }

// vault makes one in the token.
func (h *hsm) vault(t testing.TB, o Options) *Token {
	t.Helper()
	v, err := Init(h.dir, initOptions(), h.place, o)
	must(t, err)
	t.Cleanup(func() { must(t, v.Close()) })
	return v
}

func initOptions() vault.InitOptions {
	return vault.InitOptions{Rand: rand.Reader, Ceremony: vault.TokenCeremony("owner", vault.Token{Module: "m", Label: "l", PINFile: "p"}), By: "owner"}
}

// again opens the vault once more, as another process would.
func (h *hsm) again(t testing.TB, o Options) (*Token, error) {
	t.Helper()
	hold, err := vault.UnsealHold(h.dir, nil, func(root *vault.TokenRoot) (vault.Hold, error) { return Open(root, o) })
	if err != nil {
		return nil, err
	}
	v := hold.(*Token)
	t.Cleanup(func() { must(t, v.Close()) })
	return v, nil
}

// kit runs the suite of all vaults on tokens.
func kit(change func(o *Options)) vaulttest.Kit {
	made := map[string]*hsm{}
	options := func(h *hsm) Options {
		o := h.options()
		change(&o)
		return o
	}
	return vaulttest.Kit{
		New: func(t testing.TB) vault.Hold {
			h := newHSM(t)
			v := h.vault(t, options(h))
			made[v.ID()] = h
			return v
		},
		Again: func(t testing.TB, hold vault.Hold) vault.Hold {
			h := made[hold.ID()]
			v, err := h.again(t, options(h))
			must(t, err)
			return v
		},
	}
}

func TestATokenIsAVault(t *testing.T) {
	vaulttest.Run(t, kit(func(*Options) {}))
}

func TestATokenWithoutGCMIsAVault(t *testing.T) {
	vaulttest.Run(t, kit(func(o *Options) { o.GCMInProcess = true }))
}

func TestATokenWithOneSessionIsAVault(t *testing.T) {
	vaulttest.Run(t, kit(func(o *Options) { o.Sessions = 1 }))
}

func TestDescribeTellsOfTheToken(t *testing.T) {
	h := newHSM(t)
	v := h.vault(t, h.options())
	d := v.Describe()
	if d.Token != h.place.Label || d.Associations != vault.InToken || !strings.Contains(d.Model, "SoftHSM") || len(d.Mechanisms) != 5 {
		t.Errorf("got %+v", d)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, x := range []any{v, v.opts, *v.TokenRoot} {
			if s := fmt.Sprintf(verb, x); strings.Contains(s, userPIN) || strings.Contains(s, fmt.Sprintf("%x", userPIN)) {
				t.Errorf("%s of %T shows the PIN", verb, x)
			}
		}
	}
}
