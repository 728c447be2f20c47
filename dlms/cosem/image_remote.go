package cosem

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// Errors of an image transfer as the client sees it.
var (
	// ErrImageRefused is returned for a meter that does not let an image be transferred, or that tells nonsense about
	// the transfer.
	ErrImageRefused = errors.New("image transfer: the meter does not take images")
	// ErrImageVerification is returned when the meter found the image not good. Transfer it anew, without Resume.
	ErrImageVerification = errors.New("image transfer: the meter refused the image")
	// ErrImageActivation is returned when the activation failed.
	ErrImageActivation = errors.New("image transfer: the meter did not activate the image")
)

// Defaults of ImageOptions.
const (
	defaultImagePolls = 60
	defaultImagePause = 5 * time.Second
	// imageRounds bounds how often missing blocks are sent again, imageRedials how many lines in a row may break before a
	// block arrives.
	imageRounds  = 5
	imageRedials = 100
)

// Image is what a client transfers.
type Image struct {
	// Identifier names it to the meter.
	Identifier []byte
	// Size is in bytes.
	Size uint32
	// Content has Size bytes.
	Content io.ReaderAt
}

// ImageOptions say how an image is transferred. The zero value begins anew, and does without progress.
type ImageOptions struct {
	// Resume goes on with a transfer that the meter has begun, where its block size, size and number of blocks fit.
	// The meter does not tell which image that was: its verification does, see ErrImageVerification. Resume where
	// nobody else may have begun another one.
	Resume bool
	// Progress is called with the blocks that the meter has, first of all and after every block.
	Progress func(done, total uint32)
	// Redial opens the line anew after it broke; attempt counts from 1 since the last block that arrived, why is what
	// broke it. The transfer then goes on with the blocks that the meter lacks. An error ends the transfer, and so
	// does the hundredth line in a row on which no block arrives. nil does not redial.
	Redial func(ctx context.Context, attempt int, why error) (Caller, error)
	// Wait pauses before the meter is asked again whether a verification or an activation has ended; nil waits on a
	// timer. Pause is for how long (0 means 5 s), Polls how often (0 means 60).
	Wait  func(ctx context.Context, d time.Duration) error
	Pause time.Duration
	Polls int
}

// RemoteImageTransfer is an Image transfer of a meter (BB 4.4.6).
type RemoteImageTransfer struct{ remote }

// ImageTransferAt returns the Image transfer under a logical name, 0.0.44.0.0.255 by the standard.
func ImageTransferAt(c Caller, o dlms.OBIS) RemoteImageTransfer {
	return RemoteImageTransfer{remote{c, dlms.ClassImageTransfer, o}}
}

// BlockSize reads the size of a block in bytes.
func (r RemoteImageTransfer) BlockSize(ctx context.Context) (uint32, error) {
	return readAs(ctx, r.remote, 2, parseUint32)
}

// Transferred reads which blocks the meter has.
func (r RemoteImageTransfer) Transferred(ctx context.Context) (ImageBitmap, error) {
	return readAs(ctx, r.remote, 3, ParseImageBitmap)
}

// FirstMissing reads the number of the first block that the meter lacks.
func (r RemoteImageTransfer) FirstMissing(ctx context.Context) (uint32, error) {
	return readAs(ctx, r.remote, 4, parseUint32)
}

// Enabled reads whether the meter takes images.
func (r RemoteImageTransfer) Enabled(ctx context.Context) (bool, error) {
	return readAs(ctx, r.remote, 5, dlms.Data.Bool)
}

// SetEnabled writes whether the meter takes images.
func (r RemoteImageTransfer) SetEnabled(ctx context.Context, on bool) error {
	return r.set(ctx, 5, dlms.Bool(on))
}

// Status reads how far the transfer is.
func (r RemoteImageTransfer) Status(ctx context.Context) (ImageStatus, error) {
	return readAs(ctx, r.remote, 6, parseEnum[ImageStatus])
}

// Ready reads what a verification found in the image.
func (r RemoteImageTransfer) Ready(ctx context.Context) ([]ImageInfo, error) {
	return readAs(ctx, r.remote, 7, listOf("image to activate", ParseImageInfo))
}

// Initiate begins a transfer and makes the meter forget the one before.
func (r RemoteImageTransfer) Initiate(ctx context.Context, s ImageStart) error {
	return r.do(ctx, MethodImageInitiate, s.Data())
}

// SendBlock transfers one block.
func (r RemoteImageTransfer) SendBlock(ctx context.Context, b ImageBlock) error {
	return r.do(ctx, MethodImageBlock, b.Data())
}

// Transfer takes an image to the meter, block by block, until the meter has them all. It does not verify it. A
// refusal ends it; a broken line is opened anew where o says how.
func (r RemoteImageTransfer) Transfer(ctx context.Context, image Image, o ImageOptions) error {
	t := &imageSender{RemoteImageTransfer: r, image: image, o: o, resume: o.Resume}
	return t.run(ctx)
}

// Verify has the meter check the image, and waits for the end of it.
func (r RemoteImageTransfer) Verify(ctx context.Context, o ImageOptions) error {
	return r.finish(ctx, o, MethodImageVerify, ImageVerified, ImageVerificationFailed, ErrImageVerification)
}

// Activate has the meter use the image, and waits for the end of it. Many meters start anew and drop the association:
// a broken line is then no failure, and the firmware identifier of a new association tells.
func (r RemoteImageTransfer) Activate(ctx context.Context, o ImageOptions) error {
	return r.finish(ctx, o, MethodImageActivate, ImageActivated, ImageActivationFailed, ErrImageActivation)
}

// finish calls a method that may go on after its answer, and reads the status until it has ended.
func (r RemoteImageTransfer) finish(
	ctx context.Context, o ImageOptions, method int8, good, bad ImageStatus, failed error,
) error {
	o.complete()
	err := r.trigger(ctx, method)
	if err == nil {
		return nil
	}
	var why dlms.ActionResult
	if !errors.As(err, &why) {
		return err
	}
	if why != dlms.ActionTemporaryFailure {
		return fmt.Errorf("%w: %w", failed, err)
	}
	for range o.Polls {
		s, err := r.Status(ctx)
		switch {
		case err != nil:
			return err
		case s == good:
			return nil
		case s == bad:
			return fmt.Errorf("%w: %s", failed, s)
		}
		if s != ImageVerificationStarted && s != ImageActivationStarted {
			// The meter was busy with something else.
			if err := r.trigger(ctx, method); err == nil {
				return nil
			}
		}
		if err := o.Wait(ctx, o.Pause); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: it did not end", failed)
}

func (o *ImageOptions) complete() {
	if o.Wait == nil {
		o.Wait = pause
	}
	if o.Pause <= 0 {
		o.Pause = defaultImagePause
	}
	if o.Polls <= 0 {
		o.Polls = defaultImagePolls
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// refusal reports whether the meter said no, so that the line is whole.
func refusal(err error) bool {
	var d dlms.DataAccessResult
	var a dlms.ActionResult
	return errors.As(err, &d) || errors.As(err, &a)
}
