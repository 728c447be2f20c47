package access

import (
	"fmt"
	"slices"
	"strings"
)

// Role is what somebody is to the central system.
type Role string

// The roles.
const (
	// Operator runs the system: meters, concentrators, readings, breakers, campaigns.
	Operator Role = "operator"
	// Custodian looks after keys: backups, roots, and who is let in.
	Custodian Role = "key-custodian"
	// Auditor reads what was done, and does nothing.
	Auditor Role = "auditor"
	// FieldManager gives portable terminals their rights and takes them.
	FieldManager Role = "field-manager"
	// Maker delivers meters.
	Maker Role = "maker"
)

// Roles lists them all.
func Roles() []Role { return []Role{Operator, Custodian, Auditor, FieldManager, Maker} }

// ParseRole reads a role by its name, in any case.
func ParseRole(s string) (Role, error) {
	r := Role(strings.ToLower(s))
	if !slices.Contains(Roles(), r) {
		return "", fmt.Errorf("role: want %s, got %q", Names(Roles(), "or"), s)
	}
	return r, nil
}

// Names lists roles in words: "operator, auditor or maker".
func Names(roles []Role, last string) string {
	names := make([]string, len(roles))
	for i, r := range roles {
		names[i] = string(r)
	}
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " " + last + " " + names[n-1]
	}
	return strings.Join(names, "")
}

// anyOf reports whether somebody with these roles has one of those wanted.
func anyOf(have, want []Role) bool {
	return slices.ContainsFunc(have, func(r Role) bool { return slices.Contains(want, r) })
}
