package vault_test

import (
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/internal/central/vault"
)

func TestParseTokenURIReadsWhatOthersWrite(t *testing.T) {
	u, err := vault.ParseTokenURI("pkcs11:token=My%20HSM;serial=4711?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin")
	want := vault.TokenURI{Place: vault.TokenPlace{Module: "/usr/lib/softhsm/libsofthsm2.so", Label: "My HSM", Serial: "4711"}, PINSource: "/etc/pin"}
	if err != nil || u != want {
		t.Errorf("got %+v, %v", u, err)
	}
	for _, bad := range []string{
		"", "pkcs11:", "token=a?module-path=b", "pkcs11:token=a", "pkcs11:?module-path=b", "pkcs11:token=?module-path=b",
		"pkcs11:token=a;token=b?module-path=c", "pkcs11:token=a;slot-id=3?module-path=c", "pkcs11:token=%zz?module-path=c",
		"pkcs11:token=a?module-path=" + strings.Repeat("x", 5000),
	} {
		if u, err := vault.ParseTokenURI(bad); !errors.Is(err, vault.ErrTokenURI) || u != (vault.TokenURI{}) {
			t.Errorf("%.40q: got %+v, %v", bad, u, err)
		}
	}
	_, err = vault.ParseTokenURI("pkcs11:token=a?module-path=b&pin-value=20261103")
	if !errors.Is(err, vault.ErrTokenURI) || strings.Contains(err.Error(), "20261103") {
		t.Errorf("a PIN: got %v", err)
	}
}

func TestATokenURIComesBackAsItWas(t *testing.T) {
	text := rapid.StringMatching(`[ -~é]{1,20}`)
	rapid.Check(t, func(t *rapid.T) {
		u := vault.TokenURI{
			Place:     vault.TokenPlace{Module: text.Draw(t, "module"), Label: text.Draw(t, "label"), Serial: rapid.SampledFrom([]string{"", "1;2&3"}).Draw(t, "serial")},
			PINSource: "/" + text.Draw(t, "pin"),
		}
		got, err := vault.ParseTokenURI(u.String())
		if err != nil || got != u {
			t.Fatalf("%s: got %+v, %v", u, got, err)
		}
	})
}
