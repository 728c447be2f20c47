package vault

import (
	"context"
	"maps"
	"slices"

	"github.com/meterseal/meterseal/dlms"
)

// RootNode is what a node says of its own root file.
type RootNode struct {
	Node string `json:"node"`
	// Has is the newest term in its root file, Seals the one that it seals under.
	Has   uint32 `json:"has"`
	Seals uint32 `json:"seals"`
	MAC   []byte `json:"mac"`
}

// announce says what this node has, if that has changed.
func (v *Software) announce(ctx context.Context) (err error) {
	n := RootNode{Node: v.node, Has: v.newest(), Seals: v.keys.Term()}
	if n.MAC, err = v.attested(n.Has, stateRootNode, n); err != nil {
		return err
	}
	old, err := readState[RootNode](ctx, v.store, stateRootNode+v.node)
	if err != nil || old != nil && old.Has == n.Has && old.Seals == n.Seals && string(old.MAC) == string(n.MAC) {
		return err
	}
	return v.store.Durable(ctx, func(ctx context.Context) error { return writeState(ctx, v.store, stateRootNode+v.node, n) })
}

// rootNodes lists the nodes that a rotation waits for, and what each has said: nothing, where that does not verify.
func (v *Software) rootNodes(ctx context.Context, r RootRotation) (out []RootNode, err error) {
	names := []string{v.node}
	if !v.alone {
		places, err := v.store.JournalPlaces(ctx)
		if err != nil {
			return nil, err
		}
		names = append(names, slices.Collect(maps.Keys(places))...)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		n := &RootNode{}
		switch {
		case name == v.node:
			n = &RootNode{Has: v.newest(), Seals: v.keys.Term()}
		case slices.Contains(r.Without, name) || v.retiredNode(name):
			continue
		default:
			if n, err = v.said(ctx, name); err != nil {
				return nil, err
			}
		}
		n.Node = name
		out = append(out, *n)
	}
	return out, nil
}

func (v *Software) retiredNode(name string) bool {
	return v.space != nil && slices.ContainsFunc(v.space.Retired, func(t dlms.SystemTitle) bool { return t.String() == name })
}

// said is what another node has said, if it verifies.
func (v *Software) said(ctx context.Context, name string) (*RootNode, error) {
	n, err := readState[RootNode](ctx, v.store, stateRootNode+name)
	if err != nil || n == nil {
		return &RootNode{}, err
	}
	plain := *n
	plain.MAC = nil
	if n.Node != name || v.verified(n.Has, stateRootNode, plain, n.MAC) != nil {
		return &RootNode{}, nil
	}
	return n, nil
}
