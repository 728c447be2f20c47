package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/meterseal/meterseal/dlms/apdu"
)

// maxDropped is how many notifications and late answers are passed over in one exchange.
const maxDropped = 64

// graceShare is the share of the timeout that an answer has to overrule a refusal in clear.
const graceShare = 4

// waiting is the wait for one answer.
type waiting struct {
	*Association
	refusals, drops int
	refused         error           // the last refusal
	clear           []byte          // the last refusal by the meter that proves nothing
	grace           context.Context // runs from the first of them; it lives as long as the wait
	cancel          context.CancelFunc
}

func (w *waiting) stop() {
	if w.cancel != nil {
		w.cancel()
	}
}

func (w *waiting) context(ctx context.Context) context.Context {
	if w.grace != nil {
		return w.grace
	}
	if w.clear == nil {
		return ctx
	}
	w.grace, w.cancel = context.WithTimeoutCause(ctx, w.cfg.Timeout/graceShare, ErrTimeout)
	return w.grace
}

// take gives an answer to the machine. ok is false when the wait goes on.
func (w *waiting) take(b []byte) (got answer, ok bool, err error) {
	if w.forgeable(b) {
		w.clear = slices.Clone(b)
		return answer{}, false, nil
	}
	next, done, err := w.machine.Receive(b)
	switch {
	case done || err == nil && next != nil:
		return answer{next: next, done: done, err: err}, true, nil
	case err == nil:
		w.drops++
	default:
		w.refused = err
		w.refusals++
	}
	if w.refusals > w.cfg.Tolerate {
		return answer{}, false, w.refused
	}
	if w.drops > maxDropped {
		return answer{}, false, fmt.Errorf("%w: %d notifications and late answers, and none to the request", ErrAnswer, w.drops)
	}
	return answer{}, false, nil
}

// forgeable reports whether b is a refusal in clear on a link where a stranger can speak. It is put aside for a
// while: an answer that verifies overrules it.
func (w *waiting) forgeable(b []byte) bool {
	if w.cfg.Tolerate == 0 || !w.cfg.ciphered() {
		return false
	}
	tag, err := apdu.TagOf(b)
	return err == nil && (tag == apdu.TagExceptionResponse || tag == apdu.TagConfirmedServiceError)
}

// over ends a wait without an answer: with the refusal that was put aside, if there is one.
func (w *waiting) over(ctx context.Context, err error) (answer, error) {
	if w.clear != nil && ctx.Err() == nil && w.grace != nil && w.grace.Err() != nil {
		next, done, merr := w.machine.Receive(w.clear)
		if done {
			return answer{next: next, done: done, err: merr}, nil
		}
		err = merr
	}
	return answer{}, cause(ctx, err, w.refused)
}

// cause says why waiting ended. A link may report a deadline in words of its own; and what was refused meanwhile is
// the best hint at what is wrong.
func cause(ctx context.Context, err, refused error) error {
	if why := context.Cause(ctx); why != nil && !errors.Is(err, why) {
		err = fmt.Errorf("%w: %w", why, err)
	}
	if refused != nil {
		return fmt.Errorf("%w, after an answer was refused: %w", err, refused)
	}
	return err
}
