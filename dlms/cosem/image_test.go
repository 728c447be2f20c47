package cosem_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/cosem"
)

var imageName = dlms.OBIS{0, 0, 44, 0, 0, 255}

// firmware returns n bytes in which every block differs.
func firmware(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func imageOf(b []byte) cosem.Image {
	return cosem.Image{Identifier: []byte("fw-2.0"), Size: uint32(len(b)), Content: bytes.NewReader(b)}
}

// taker is a device that takes images; it accepts the one it expects.
type taker struct {
	store  *cosem.ImageMemory
	expect []byte
	used   []byte
	on     bool
}

func newTaker(expect []byte) *taker {
	d := &taker{expect: expect, on: true}
	d.store = &cosem.ImageMemory{
		Check: func(id, image []byte) ([]cosem.ImageInfo, error) {
			if !bytes.Equal(image, d.expect) {
				return nil, errors.New("the signature is wrong")
			}
			return []cosem.ImageInfo{{Size: uint32(len(image)), Identifier: id, Signature: []byte("signed")}}, nil
		},
		Use: func(_, image []byte) error { d.used = bytes.Clone(image); return nil },
	}
	return d
}

func (d *taker) object(blockSize uint32) cosem.Object {
	return cosem.NewImageTransfer(cosem.ImageTransferConfig{
		Instance: imageName, BlockSize: blockSize, MaxSize: 1 << 20,
		Store:      func(*cosem.Env) (cosem.ImageStore, error) { return d.store, nil },
		Enabled:    func(*cosem.Env) (bool, error) { return d.on, nil },
		SetEnabled: func(_ *cosem.Env, on bool) error { d.on = on; return nil },
	})
}

func TestAnImageIsTransferredVerifiedAndActivated(t *testing.T) {
	fw := firmware(1000)
	d := newTaker(fw)
	r := cosem.ImageTransferAt(reach(t, d.object(64)), imageName)
	if s := got(r.Status(ctx))(t); s != cosem.ImageNotInitiated {
		t.Errorf("at first: %s", s)
	}
	if m := got(r.Transferred(ctx))(t); m.Blocks() != 0 {
		t.Errorf("at first: %d blocks", m.Blocks())
	}
	var told []uint32
	must(t, r.Transfer(ctx, imageOf(fw), cosem.ImageOptions{Progress: func(done, total uint32) {
		if total != 16 {
			t.Fatalf("total: %d", total)
		}
		told = append(told, done)
	}}))
	if len(told) != 17 || told[0] != 0 || told[16] != 16 {
		t.Errorf("progress: %v", told)
	}
	if n := got(r.FirstMissing(ctx))(t); n != 16 {
		t.Errorf("first missing: %d", n)
	}
	if l := got(r.Ready(ctx))(t); len(l) != 0 {
		t.Errorf("ready before it was verified: %v", l)
	}
	must(t, r.Verify(ctx, cosem.ImageOptions{}))
	want := []cosem.ImageInfo{{Size: 1000, Identifier: []byte("fw-2.0"), Signature: []byte("signed")}}
	if diff := cmp.Diff(want, got(r.Ready(ctx))(t)); diff != "" {
		t.Error(diff)
	}
	must(t, r.Verify(ctx, cosem.ImageOptions{})) // its answer was lost
	must(t, r.Activate(ctx, cosem.ImageOptions{}))
	must(t, r.Activate(ctx, cosem.ImageOptions{}))
	if s := got(r.Status(ctx))(t); s != cosem.ImageActivated || !bytes.Equal(d.used, fw) {
		t.Errorf("at the end: %s", s)
	}
}

// The line breaks before each request in turn; a new line goes on where the meter is, and never sends a block that the
// meter has confirmed.
func TestAnImageTransferGoesOnOverANewLine(t *testing.T) {
	fw := firmware(500)
	for cut := 1; cut <= 14; cut++ {
		d := newTaker(fw)
		first := reach(t, d.object(64))
		first.cut = cut
		var lines []*near
		attempts := 0
		r := cosem.ImageTransferAt(first, imageName)
		must(t, r.Transfer(ctx, imageOf(fw), cosem.ImageOptions{
			Redial: func(_ context.Context, attempt int, why error) (cosem.Caller, error) {
				attempts += attempt
				if !errors.Is(why, errLine) {
					t.Errorf("why: %v", why)
				}
				lines = append(lines, reach(t, d.object(64)))
				return lines[len(lines)-1], nil
			},
		}))
		// Without a cut: enabled, block size, initiate, 8 blocks, bitmap.
		wanted := 1
		if cut > 12 {
			wanted = 0
		}
		if len(lines) != wanted || attempts != wanted {
			t.Fatalf("cut before request %d: %d new lines, %d attempts", cut, len(lines), attempts)
		}
		if wanted == 1 && cut > 3 && lines[0].calls > 4+(8-(cut-4))+1 {
			t.Errorf("cut before request %d: the new line took %d requests", cut, lines[0].calls)
		}
		again := cosem.ImageTransferAt(reach(t, d.object(64)), imageName)
		must(t, again.Verify(ctx, cosem.ImageOptions{}))
	}
}

func TestAnImageTransferIsResumedByAnotherClient(t *testing.T) {
	fw := firmware(500)
	d := newTaker(fw)
	line := reach(t, d.object(64))
	line.cut = 3 + 5 + 1
	r := cosem.ImageTransferAt(line, imageName)
	refused(t, r.Transfer(ctx, imageOf(fw), cosem.ImageOptions{}), errLine)
	line = reach(t, d.object(64))
	r = cosem.ImageTransferAt(line, imageName)
	first := uint32(0)
	must(t, r.Transfer(ctx, imageOf(fw), cosem.ImageOptions{Resume: true, Progress: func(done, _ uint32) {
		if first == 0 {
			first = done
		}
	}}))
	if first != 5 || line.calls != 4+3+1 {
		t.Errorf("began at block %d and took %d requests", first, line.calls)
	}
	must(t, r.Verify(ctx, cosem.ImageOptions{}))
}

// A transfer of another length is not gone on with, and one that was verified neither.
func TestAResumeOfAnotherImageBeginsAnew(t *testing.T) {
	d := newTaker(firmware(500))
	r := cosem.ImageTransferAt(reach(t, d.object(64)), imageName)
	must(t, r.Initiate(ctx, cosem.ImageStart{Identifier: []byte("fw-1.0"), Size: 1000}))
	must(t, r.SendBlock(ctx, cosem.ImageBlock{Number: 3, Value: make([]byte, 64)}))
	must(t, r.Transfer(ctx, imageOf(firmware(500)), cosem.ImageOptions{Resume: true}))
	must(t, r.Verify(ctx, cosem.ImageOptions{}))
	// The same length, and half of it another's: the verification finds out.
	must(t, r.Initiate(ctx, cosem.ImageStart{Identifier: []byte("fw-1.0"), Size: 500}))
	must(t, r.SendBlock(ctx, cosem.ImageBlock{Number: 3, Value: make([]byte, 64)}))
	must(t, r.Transfer(ctx, imageOf(firmware(500)), cosem.ImageOptions{Resume: true}))
	refused(t, r.Verify(ctx, cosem.ImageOptions{}), cosem.ErrImageVerification)
	refused(t, r.Activate(ctx, cosem.ImageOptions{Polls: 1, Wait: noWait}), cosem.ErrImageActivation)
	if d.used != nil {
		t.Error("an image was used that was not verified")
	}
	must(t, r.Transfer(ctx, imageOf(firmware(500)), cosem.ImageOptions{}))
	must(t, r.Verify(ctx, cosem.ImageOptions{}))
}

func noWait(context.Context, time.Duration) error { return nil }

func TestAMeterTakesBlocksInAnyOrderAndEachOnce(t *testing.T) {
	fw := firmware(500)
	d := newTaker(fw)
	r := cosem.ImageTransferAt(reach(t, d.object(64)), imageName)
	refused(t, r.SendBlock(ctx, cosem.ImageBlock{Value: fw[:64]}), dlms.ActionTemporaryFailure) // nothing was initiated
	must(t, r.Initiate(ctx, cosem.ImageStart{Identifier: []byte("fw"), Size: 500}))
	for _, i := range []uint32{7, 0, 3, 1} {
		must(t, r.SendBlock(ctx, cosem.ImageBlock{Number: i, Value: fw[i*64 : min((i+1)*64, 500)]}))
	}
	must(t, r.SendBlock(ctx, cosem.ImageBlock{Number: 0, Value: make([]byte, 64)})) // confirmed again, and not taken
	if m := got(r.Transferred(ctx))(t); m.Data().String() != dlms.BitString([]byte{0xD1}, 8).String() || m.Count() != 4 {
		t.Errorf("transferred: %s", m.Data())
	}
	if n := got(r.FirstMissing(ctx))(t); n != 2 {
		t.Errorf("first missing: %d", n)
	}
	refused(t, r.Verify(ctx, cosem.ImageOptions{Polls: 1, Wait: noWait}), cosem.ErrImageVerification)
	for name, b := range map[string]cosem.ImageBlock{
		"behind the end":   {Number: 8, Value: fw[:64]},
		"far behind":       {Number: 1<<32 - 1, Value: fw[:64]},
		"too long":         {Number: 2, Value: fw[:65]},
		"too short":        {Number: 2, Value: fw[:63]},
		"empty":            {Number: 2},
		"last, too long":   {Number: 7, Value: fw[:64]},
		"again, too short": {Number: 0, Value: fw[:1]},
	} {
		if err := r.SendBlock(ctx, b); !errors.Is(err, dlms.ActionScopeViolated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, i := range []uint32{2, 4, 5, 6} {
		must(t, r.SendBlock(ctx, cosem.ImageBlock{Number: i, Value: fw[i*64 : (i+1)*64]}))
	}
	must(t, r.Verify(ctx, cosem.ImageOptions{}))
	refused(t, r.SendBlock(ctx, cosem.ImageBlock{Number: 0, Value: fw[:64]}), dlms.ActionTemporaryFailure)
}

func TestAMeterBoundsTheImagesItTakes(t *testing.T) {
	d := newTaker(nil)
	o := d.object(64)
	r := cosem.ImageTransferAt(reach(t, o), imageName)
	for name, s := range map[string]cosem.ImageStart{
		"empty": {}, "too large": {Size: 1<<20 + 1}, "largest number": {Size: 1<<32 - 1},
		"long name": {Size: 1, Identifier: make([]byte, 129)},
	} {
		if err := r.Initiate(ctx, s); !errors.Is(err, dlms.ActionScopeViolated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tiny := cosem.NewImageTransfer(cosem.ImageTransferConfig{
		Instance: imageName, BlockSize: 1, MaxSize: 1 << 31,
		Store: func(*cosem.Env) (cosem.ImageStore, error) { return d.store, nil },
	})
	_, err := tiny.Invoke(&cosem.Env{}, cosem.MethodImageInitiate, cosem.ImageStart{Size: 1<<20 + 1}.Data())
	refused(t, err, dlms.ActionScopeViolated)
	for m := cosem.MethodImageInitiate; m <= cosem.MethodImageBlock; m++ {
		_, err := o.Invoke(&cosem.Env{}, m, dlms.Int8(0))
		refused(t, err, dlms.ActionTypeUnmatched)
	}
	must(t, r.SetEnabled(ctx, false))
	refused(t, r.Initiate(ctx, cosem.ImageStart{Size: 10}), dlms.ActionReadWriteDenied)
	refused(t, r.Transfer(ctx, imageOf(firmware(10)), cosem.ImageOptions{}), cosem.ErrImageRefused)
}

func TestAVerificationThatTakesLongIsWaitedFor(t *testing.T) {
	fw := firmware(100)
	d := newTaker(fw)
	d.store.Check = func([]byte, []byte) ([]cosem.ImageInfo, error) { return nil, cosem.ErrImagePending }
	r := cosem.ImageTransferAt(reach(t, d.object(64)), imageName)
	must(t, r.Transfer(ctx, imageOf(fw), cosem.ImageOptions{}))
	waits := 0
	wait := func(_ context.Context, pause time.Duration) error {
		if waits++; waits == 3 {
			return d.store.SetStatus(cosem.ImageVerified, nil)
		}
		if s := got(r.Status(ctx))(t); s != cosem.ImageVerificationStarted {
			t.Errorf("status: %s", s)
		}
		return nil
	}
	must(t, r.Verify(ctx, cosem.ImageOptions{Wait: wait}))
	if waits != 3 {
		t.Errorf("waited %d times", waits)
	}
	d.store.Use = func([]byte, []byte) error { return cosem.ErrImagePending }
	err := r.Activate(ctx, cosem.ImageOptions{Wait: func(context.Context, time.Duration) error {
		return d.store.SetStatus(cosem.ImageActivationFailed, nil)
	}})
	refused(t, err, cosem.ErrImageActivation)
	refused(t, r.Activate(ctx, cosem.ImageOptions{Polls: 3, Wait: noWait}), cosem.ErrImageActivation)
	// While the device moves into the image, nobody begins another one.
	refused(t, r.Initiate(ctx, cosem.ImageStart{Size: 10}), dlms.ActionTemporaryFailure)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	refused(t, r.Activate(cancelled, cosem.ImageOptions{}), context.Canceled)
}

func TestAnActivationVerifiesWhatNobodyVerified(t *testing.T) {
	fw := firmware(100)
	d := newTaker(fw)
	r := cosem.ImageTransferAt(reach(t, d.object(64)), imageName)
	must(t, r.Transfer(ctx, imageOf(fw), cosem.ImageOptions{}))
	must(t, r.Activate(ctx, cosem.ImageOptions{}))
	if !bytes.Equal(d.used, fw) {
		t.Error("not used")
	}
	d.used = nil
	other := firmware(101)
	must(t, r.Transfer(ctx, imageOf(other), cosem.ImageOptions{}))
	refused(t, r.Activate(ctx, cosem.ImageOptions{}), cosem.ErrImageActivation)
	if d.used != nil {
		t.Error("an image was used that was not verified")
	}
}

// A meter that confirms blocks and does not keep them is given up.
func TestAMeterThatLosesBlocksIsGivenUp(t *testing.T) {
	d := newTaker(nil)
	line := reach(t, forgetful{d.object(64)})
	r := cosem.ImageTransferAt(line, imageName)
	refused(t, r.Transfer(ctx, imageOf(firmware(200)), cosem.ImageOptions{Redial: noRedial(t)}), cosem.ErrImageRefused)
	// An image that cannot be read is no broken line.
	short := imageOf(firmware(10))
	short.Size = 200
	good := cosem.ImageTransferAt(reach(t, d.object(64)), imageName)
	refused(t, good.Transfer(ctx, short, cosem.ImageOptions{Redial: noRedial(t)}), io.ErrUnexpectedEOF)
	dead := reach(t, d.object(64))
	dead.cut = 1
	gone := errors.New("no line")
	err := cosem.ImageTransferAt(dead, imageName).Transfer(ctx, imageOf(firmware(10)), cosem.ImageOptions{
		Redial: func(context.Context, int, error) (cosem.Caller, error) { return nil, gone },
	})
	refused(t, err, gone)
	refused(t, err, errLine)
}

// A caller that redials for ever is stopped.
func TestLinesThatCarryNothingAreGivenUp(t *testing.T) {
	redials := 0
	dead := func() *near {
		l := reach(t, newTaker(nil).object(64))
		l.cut = 1
		return l
	}
	err := cosem.ImageTransferAt(dead(), imageName).Transfer(ctx, imageOf(firmware(10)), cosem.ImageOptions{
		Redial: func(context.Context, int, error) (cosem.Caller, error) { redials++; return dead(), nil },
	})
	refused(t, err, errLine)
	if redials != 100 {
		t.Errorf("%d redials", redials)
	}
}

func noRedial(t testing.TB) func(context.Context, int, error) (cosem.Caller, error) {
	return func(_ context.Context, _ int, why error) (cosem.Caller, error) {
		t.Errorf("redialled for %v", why)
		return nil, why
	}
}

// forgetful confirms block 2 and loses it.
type forgetful struct{ cosem.Object }

func (f forgetful) Invoke(env *cosem.Env, method int8, d dlms.Data) (dlms.Data, error) {
	if b, err := cosem.ParseImageBlock(d); err == nil && method == cosem.MethodImageBlock && b.Number == 2 {
		return dlms.Null(), nil
	}
	return f.Object.Invoke(env, method, d)
}

// Whatever is sent in whatever order, the bitmap says what is there, and a whole image is what was sent.
func TestTheBitmapSaysWhichBlocksAreThere(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fw := firmware(rapid.IntRange(1, 2000).Draw(rt, "size"))
		size := uint32(rapid.IntRange(1, 100).Draw(rt, "block"))
		d := newTaker(fw)
		r := cosem.ImageTransferAt(reach(t, d.object(size)), imageName)
		must(t, r.Initiate(ctx, cosem.ImageStart{Size: uint32(len(fw))}))
		blocks := (uint32(len(fw)) + size - 1) / size
		sent := map[uint32]bool{}
		for range rapid.IntRange(0, 40).Draw(rt, "sends") {
			i := rapid.Uint32Range(0, blocks-1).Draw(rt, "i")
			must(t, r.SendBlock(ctx, cosem.ImageBlock{Number: i, Value: fw[i*size : min((i+1)*size, uint32(len(fw)))]}))
			sent[i] = true
		}
		m, err := r.Transferred(ctx)
		if err != nil || m.Blocks() != blocks || m.Count() != uint32(len(sent)) {
			rt.Fatalf("%d of %d blocks: %v", m.Count(), m.Blocks(), err)
		}
		for i := range blocks {
			if m.Has(i) != sent[i] {
				rt.Fatalf("block %d", i)
			}
		}
		first, err := r.FirstMissing(ctx)
		if err != nil || first != m.First() || sent[first] || first > 0 && !sent[first-1] {
			rt.Fatalf("first missing: %d, %v", first, err)
		}
		must(t, r.Transfer(ctx, imageOf(fw), cosem.ImageOptions{Resume: true}))
		must(t, r.Activate(ctx, cosem.ImageOptions{}))
		if !bytes.Equal(d.used, fw) {
			rt.Fatal("another image")
		}
	})
}

func TestTheValuesOfAnImageTransferReadBackAsWritten(t *testing.T) {
	travels(t, rapid.Custom(func(t *rapid.T) cosem.ImageInfo {
		return cosem.ImageInfo{Size: rapid.Uint32().Draw(t, "size"), Identifier: anyOctets.Draw(t, "id"), Signature: anyOctets.Draw(t, "signature")}
	}), cosem.ParseImageInfo)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.ImageStart {
		return cosem.ImageStart{Size: rapid.Uint32().Draw(t, "size"), Identifier: anyOctets.Draw(t, "id")}
	}), cosem.ParseImageStart)
	travels(t, rapid.Custom(func(t *rapid.T) cosem.ImageBlock {
		return cosem.ImageBlock{Number: rapid.Uint32().Draw(t, "number"), Value: anyOctets.Draw(t, "value")}
	}), cosem.ParseImageBlock)
	for s := range cosem.ImageActivationFailed + 2 {
		if s.String() == "" || s > 7 && s.String() != fmt.Sprintf("image transfer status %d", s) {
			t.Errorf("status %d is %q", s, s)
		}
	}
}

func FuzzImageTransfer(f *testing.F) {
	m := cosem.NewImageBitmap(11)
	m.Set(3)
	fuzz(f, []value{cosem.ImageInfo{Size: 1}, cosem.ImageStart{Size: 1}, cosem.ImageBlock{Number: 1}, m},
		parses(cosem.ParseImageInfo), parses(cosem.ParseImageStart), parses(cosem.ParseImageBlock), parses(cosem.ParseImageBitmap))
}
