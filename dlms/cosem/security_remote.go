package cosem

import (
	"context"

	"github.com/meterseal/meterseal/dlms"
)

// RemoteSecuritySetup is a Security setup of a meter (BB 4.4.7). It has no attribute with a key in it.
type RemoteSecuritySetup struct{ remote }

// SecuritySetupAt returns the Security setup under a logical name.
func SecuritySetupAt(c Caller, o dlms.OBIS) RemoteSecuritySetup {
	return RemoteSecuritySetup{remote{c, dlms.ClassSecuritySetup, o}}
}

// Policy reads security_policy: in version 0 the enum 0 nothing, 1 authenticated, 2 encrypted, 3 both; in version 1
// a set of bits.
func (r RemoteSecuritySetup) Policy(ctx context.Context) (uint8, error) {
	return readAs(ctx, r.remote, 2, parseEnum[uint8])
}

// Suite reads security_suite.
func (r RemoteSecuritySetup) Suite(ctx context.Context) (uint8, error) {
	return readAs(ctx, r.remote, 3, parseEnum[uint8])
}

// ClientTitle reads client_system_title, zero where the meter has none.
func (r RemoteSecuritySetup) ClientTitle(ctx context.Context) (dlms.SystemTitle, error) {
	return readAs(ctx, r.remote, 4, parseTitle)
}

// ServerTitle reads server_system_title, zero where the meter has none.
func (r RemoteSecuritySetup) ServerTitle(ctx context.Context) (dlms.SystemTitle, error) {
	return readAs(ctx, r.remote, 5, parseTitle)
}

// Activate strengthens the security policy (method security_activate).
func (r RemoteSecuritySetup) Activate(ctx context.Context, policy uint8) error {
	return r.do(ctx, 1, dlms.Enum(policy))
}

// TransferKey hands the meter one wrapped key (method key_transfer). The answer alone says little: a new association
// under the new key is the proof.
func (r RemoteSecuritySetup) TransferKey(ctx context.Context, id uint8, wrapped []byte) error {
	return r.do(ctx, MethodKeyTransfer, KeyTransfer(id, wrapped))
}

// parseTitle takes a system title out of a value; an empty octet-string is none.
func parseTitle(d dlms.Data) (dlms.SystemTitle, error) {
	b, err := d.OctetString()
	if err != nil || len(b) == 0 {
		return dlms.SystemTitle{}, err
	}
	return dlms.SystemTitleFromBytes(b)
}
