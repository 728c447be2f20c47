package api

import (
	"context"
	"time"

	"github.com/meterseal/meterseal/dlms/key"
)

// RootRotation asks for a new term of the root of the vault, under which everything is sealed anew.
type RootRotation struct {
	Reason string `json:"reason"`
	// Without are nodes that are gone, by their system titles: their root files are not waited for.
	Without []string `json:"without,omitempty"`
}

// Retirement asks for the end of a term of the root, and of those before it.
type Retirement struct {
	Term uint32 `json:"term"`
	// Backup is the directory, on the machine of the IS, of a backup that was made after the rotation.
	Backup string `json:"backup,omitempty"`
	// BackedUpAt is when a database that is backed up with its own tools was, in place of Backup.
	BackedUpAt time.Time `json:"backed_up_at,omitzero"`
}

// Root is how the root of the vault stands.
type Root struct {
	Vault string     `json:"vault"`
	Terms []RootTerm `json:"terms"`
	// Term is the one that the newest rotation brings in, 0 if there never was one.
	Term     uint32    `json:"term"`
	By       string    `json:"by,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	StagedAt time.Time `json:"staged_at,omitzero"`
	// Finished: every row is under the term, since DoneAt.
	Finished bool      `json:"finished"`
	DoneAt   time.Time `json:"done_at,omitzero"`
	// Done of All rows were sealed anew; Failed of them do not open, and Refused says why.
	Done    int      `json:"done"`
	All     int      `json:"all"`
	Failed  int      `json:"failed"`
	Refused []string `json:"refused,omitempty"`
	// Waiting are the nodes whose root file does not have the term yet, or that do not seal under it yet.
	Waiting []string `json:"waiting,omitempty"`
}

// RootTerm is one term of the root, as this node has it.
type RootTerm struct {
	Term      uint32    `json:"term"`
	State     string    `json:"state"`
	MadeAt    time.Time `json:"made_at,omitzero"`
	RetiredAt time.Time `json:"retired_at,omitzero"`
	// The fingerprints of its two keys, zero for one that is retired.
	Wrap key.Fingerprint `json:"wrap_fingerprint,omitzero"`
	MAC  key.Fingerprint `json:"mac_fingerprint,omitzero"`
}

// RotateRoot implements Backend.
func (c *Client) RotateRoot(ctx context.Context, r RootRotation) (Root, error) {
	return ask[Root](ctx, c, "/v1/vault/root/rotate", r)
}

// Root implements Backend.
func (c *Client) Root(ctx context.Context) (Root, error) { return get[Root](ctx, c, "/v1/vault/root") }

// RetireTerm implements Backend.
func (c *Client) RetireTerm(ctx context.Context, r Retirement) (Root, error) {
	return ask[Root](ctx, c, "/v1/vault/root/retire", r)
}
