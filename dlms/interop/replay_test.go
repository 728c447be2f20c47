package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"testing"
	"time"
)

// patience bounds the replay of one recording.
const patience = 20 * time.Second

// replay plays the foreign end on c: it says its turns as recorded, and compares what ours says with the recording.
func replay(c net.Conn, r *recording) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for i, t := range r.Exchange {
		want, err := t.bytes()
		if err != nil {
			return fmt.Errorf("turn %d: %w", i, err)
		}
		if t.From == r.Peer.Is {
			if _, err := c.Write(want); err != nil {
				return fmt.Errorf("turn %d: our end takes no more: %w", i, err)
			}
			continue
		}
		got := make([]byte, len(want))
		n, err := io.ReadFull(c, got)
		if !bytes.Equal(got[:n], want) {
			return fmt.Errorf("turn %d: our end says\n% x\nwant\n% x", i, got[:n], want)
		}
		if err != nil {
			return fmt.Errorf("turn %d: %w", i, err)
		}
	}
	return nil
}

// play runs our end on a pipe against the recording, and returns what each says of it.
func play(t *testing.T, r *recording, ours func(context.Context, net.Conn) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	near, far := net.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- ours(ctx, near)
		near.Close()
	}()
	err := replay(far, r)
	rest, more := io.Copy(io.Discard, readFor(far, r))
	far.Close()
	if rest > 0 {
		more = fmt.Errorf("our end says %d bytes more: %w", rest, more)
	}
	if rest == 0 {
		more = nil // the other end closes
	}
	return errors.Join(err, more, <-done)
}

// readFor is c for as long as our end may still say something: a client until it closes, a server a moment.
func readFor(c net.Conn, r *recording) io.Reader {
	if r.Peer.Is == fromClient {
		_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // a pipe takes every deadline
	}
	return c
}

func TestOurServerAnswersForeignClientsAsItDidWhenTheyWereRecorded(t *testing.T) {
	all, err := load("testdata", fromClient)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := all[name]
			s, err := newMeter(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := play(t, r, func(ctx context.Context, c net.Conn) error { return ended(serve(ctx, r.Link, c, s)) }); err != nil {
				t.Error(err)
			}
		})
	}
}

// ended makes the end of a connection by the other end no error.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func TestOurClientSaysAndConcludesWhatItDidWhenForeignServersWereRecorded(t *testing.T) {
	all, err := load("testdata", fromServer)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := all[name]
			var results []string
			err := play(t, r, func(ctx context.Context, c net.Conn) (err error) {
				results, err = perform(ctx, r, c)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			for i := range max(len(results), len(r.Results)) {
				got, want := at(results, i), at(r.Results, i)
				if got != want {
					t.Errorf("result %d: got\n%s\nwant\n%s", i, got, want)
				}
			}
		})
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "nothing"
}

func TestALoaderOfNothingFails(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "testdata/none"} {
		if _, err := load(dir, fromClient); err == nil {
			t.Errorf("%s: want an error", dir)
		}
	}
	if _, err := load("testdata", "neither"); err == nil {
		t.Error("want an error where no recording is of that end")
	}
}
