package meter

import (
	"fmt"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/meter/nvm"
)

// Kind makes meters of one profile in memories that the caller keeps, without sockets: [Meter.Server] serves them.
type Kind struct{ kind *kind }

// NewKind returns the kind of a profile.
func NewKind(profile string, o Options) (*Kind, error) {
	p, err := profileOf(profile)
	if err != nil {
		return nil, err
	}
	k, err := newKind(p, o)
	if err != nil {
		return nil, err
	}
	return &Kind{k}, nil
}

// Bear installs a new meter whose memory is empty.
func (k *Kind) Bear(b Birth, memory nvm.Memory) (*Meter, error) { return bear(k.kind, b, memory) }

// Restore starts a meter from its memory, as after a power cut. An empty memory is ErrMemoryGone.
func (k *Kind) Restore(title dlms.SystemTitle, memory nvm.Memory) (*Meter, error) {
	m, err := restore(k.kind, title, memory)
	if err == nil && m == nil {
		err = fmt.Errorf("meter %s: %w", title, ErrMemoryGone)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}
