package cosem

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// imageSender is one transfer by a client, over as many lines as it takes.
type imageSender struct {
	RemoteImageTransfer
	image Image
	o     ImageOptions
	// resume goes on with what the meter has; set after the first line, on which the transfer may have been begun.
	resume bool
	// attempts counts the lines since the last block that arrived.
	attempts int
	size     uint32 // of a block
	have     ImageBitmap
	done     uint32 // blocks in have
	buffer   []byte
}

// run tries line after line.
func (t *imageSender) run(ctx context.Context) error {
	for {
		err := t.attempt(ctx)
		if err == nil || t.o.Redial == nil || ctx.Err() != nil || !broken(err) {
			return err
		}
		if t.attempts++; t.attempts > imageRedials {
			return err
		}
		next, redial := t.o.Redial(ctx, t.attempts, err)
		if redial != nil {
			return errors.Join(redial, err)
		}
		t.caller = next
	}
}

// broken reports whether a new line may help.
func broken(err error) bool {
	return !refusal(err) && !errors.Is(err, ErrImageRefused) && !errors.Is(err, ErrValue) && !errors.Is(err, errContent)
}

// attempt goes as far as one line carries.
func (t *imageSender) attempt(ctx context.Context) error {
	if err := t.begin(ctx); err != nil {
		return err
	}
	t.progress()
	for range imageRounds {
		if err := t.sendMissing(ctx); err != nil {
			return err
		}
		// What the meter says counts, not what it confirmed.
		if err := t.ask(ctx); err != nil {
			return err
		}
		if t.done == t.have.Blocks() {
			return nil
		}
	}
	return fmt.Errorf("%w: block %d is missing whenever it is sent", ErrImageRefused, t.have.First())
}

// begin initiates the transfer, or finds the one that the meter has begun.
func (t *imageSender) begin(ctx context.Context) error {
	on, err := t.Enabled(ctx)
	if err != nil {
		return err
	}
	if !on {
		return fmt.Errorf("%w: image_transfer_enabled is false", ErrImageRefused)
	}
	if t.size, err = t.BlockSize(ctx); err != nil {
		return err
	}
	if t.size == 0 || t.image.Size == 0 {
		return fmt.Errorf("%w: blocks of %d bytes for an image of %d", ErrImageRefused, t.size, t.image.Size)
	}
	if t.resume {
		if going, err := t.goesOn(ctx); going || err != nil {
			return err
		}
	}
	if err := t.Initiate(ctx, ImageStart{Identifier: t.image.Identifier, Size: t.image.Size}); err != nil {
		return err
	}
	// The transfer is ours from here on, and not before: what a meter has whose confirmation was lost may be another's.
	t.resume = true
	t.know(NewImageBitmap(t.blocks()))
	return nil
}

func (t *imageSender) blocks() uint32 {
	return uint32((uint64(t.image.Size) + uint64(t.size) - 1) / uint64(t.size))
}

// goesOn asks how far a transfer is that the meter has begun. One of another length is not ours.
func (t *imageSender) goesOn(ctx context.Context) (bool, error) {
	s, err := t.Status(ctx)
	if err != nil || s != ImageInitiated {
		return false, err
	}
	m, err := t.Transferred(ctx)
	if err != nil || m.Blocks() != t.blocks() {
		return false, err
	}
	t.know(m)
	return true, nil
}

// ask reads which blocks the meter has.
func (t *imageSender) ask(ctx context.Context) error {
	m, err := t.Transferred(ctx)
	if err != nil {
		return err
	}
	if m.Blocks() != t.blocks() {
		return fmt.Errorf("%w: it has %d blocks, and the image %d", ErrImageRefused, m.Blocks(), t.blocks())
	}
	t.know(m)
	return nil
}

func (t *imageSender) know(m ImageBitmap) { t.have, t.done = m, m.Count() }

func (t *imageSender) sendMissing(ctx context.Context) error {
	for i := t.have.First(); i < t.have.Blocks(); i++ {
		if t.have.Has(i) {
			continue
		}
		if err := t.send(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// errContent is an image that cannot be read, which no new line helps.
var errContent = errors.New("image transfer: read the image")

func (t *imageSender) send(ctx context.Context, i uint32) error {
	at := uint64(i) * uint64(t.size)
	n := int(min(uint64(t.image.Size)-at, uint64(t.size)))
	if cap(t.buffer) < n {
		t.buffer = make([]byte, n)
	}
	b := t.buffer[:n]
	if got, err := t.image.Content.ReadAt(b, int64(at)); got < n {
		return fmt.Errorf("%w: %w", errContent, errors.Join(err, io.ErrUnexpectedEOF))
	}
	if err := t.SendBlock(ctx, ImageBlock{Number: i, Value: b}); err != nil {
		return err
	}
	t.attempts = 0
	t.have.Set(i)
	t.done++
	t.progress()
	return nil
}

func (t *imageSender) progress() {
	if t.o.Progress != nil {
		t.o.Progress(t.done, t.have.Blocks())
	}
}
