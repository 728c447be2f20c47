package vault

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ErrTokenURI is returned for a text that does not name a token.
var ErrTokenURI = errors.New("vault: want pkcs11:token=LABEL?module-path=MODULE&pin-source=FILE")

// TokenURI names a token as other programs do (RFC 7512): which one, by which module, and where its PIN is. A PIN itself
// (pin-value) is refused: what is in a configuration or on a command line is read by many.
type TokenURI struct {
	Place TokenPlace
	// PINSource is the file with the PIN, readable by its owner alone; empty where the PIN comes from elsewhere.
	PINSource string
}

// ParseTokenURI reads one. What it does not know it refuses: it could be what tells two tokens apart.
func ParseTokenURI(text string) (u TokenURI, err error) {
	rest, ok := strings.CutPrefix(text, "pkcs11:")
	if !ok || len(text) > 4096 {
		return u, ErrTokenURI
	}
	path, query, _ := strings.Cut(rest, "?")
	into := map[string]*string{
		"token": &u.Place.Label, "serial": &u.Place.Serial, "module-path": &u.Place.Module, "pin-source": &u.PINSource,
	}
	for _, part := range append(split(path, ";"), split(query, "&")...) {
		name, value, _ := strings.Cut(part, "=")
		to := into[name]
		switch {
		case name == "pin-value":
			return TokenURI{}, fmt.Errorf("%w: a PIN does not stand here; put it into a file, and name that with pin-source", ErrTokenURI)
		case to == nil:
			return TokenURI{}, fmt.Errorf("%w: attribute %q is not known", ErrTokenURI, name)
		case *to != "":
			return TokenURI{}, fmt.Errorf("%w: attribute %q stands twice", ErrTokenURI, name)
		}
		if *to, err = url.PathUnescape(value); err != nil || *to == "" {
			return TokenURI{}, fmt.Errorf("%w: attribute %q", ErrTokenURI, name)
		}
	}
	u.PINSource = strings.TrimPrefix(u.PINSource, "file:")
	if u.Place.Label == "" || u.Place.Module == "" {
		return TokenURI{}, ErrTokenURI
	}
	return u, nil
}

func split(s, by string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, by)
}

// String writes what ParseTokenURI reads.
func (u TokenURI) String() string {
	out := "pkcs11:token=" + url.PathEscape(u.Place.Label)
	if u.Place.Serial != "" {
		out += ";serial=" + url.PathEscape(u.Place.Serial)
	}
	out += "?module-path=" + escapeQuery(u.Place.Module)
	if u.PINSource != "" {
		out += "&pin-source=" + escapeQuery(u.PINSource)
	}
	return out
}

// escapeQuery leaves slashes as they are, as people read them.
func escapeQuery(s string) string {
	return strings.NewReplacer("%2F", "/", "&", "%26").Replace(url.PathEscape(s))
}
