package server_test

import (
	"sync"
	"testing"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/server"
)

// Links call at the same time; so may whoever closes a generation. Run with -race.
func TestClientsOnSeveralLinksAreServedAtTheSameTime(t *testing.T) {
	b := newBench(t)
	peers := []*peer{b.concentrator().open(), b.is().open(), b.tester().open()}
	var all [][][]byte
	for _, p := range peers { // sealed beforehand: the peers of the tests share the clock and the device
		var list [][]byte
		for range 300 {
			list = append(list, p.sealDedicated(p.energyRequest()))
		}
		all = append(all, list)
	}
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			for _, g := range all[i] {
				if answer := p.send(g); len(answer) == 0 || answer[0] != 0xD4 {
					t.Errorf("%s: got % x", p.title, answer)
					return
				}
			}
		})
	}
	wg.Go(func() {
		for range 300 {
			b.srv.CloseGeneration(setupLAN, 99)
			b.srv.Sweep()
			b.srv.Associations()
		}
	})
	wg.Wait()
}

func TestNoAPDUIsServedAfterCloseGenerationReturned(t *testing.T) {
	for range 50 {
		b := newBench(t)
		p, is := b.concentrator().open(), b.is().open()
		busy := is.sealDedicated(is.getRequest(dlms.ClassProfileGeneric, obisCurve, 2))
		late := p.sealDedicated(p.energyRequest())
		var wg sync.WaitGroup
		wg.Go(func() { is.send(busy) })
		b.srv.CloseGeneration(setupLAN, 1)
		wantAnswer(t, notAllowed, p.send(late))
		wg.Wait()
	}
}

func TestAnEventMayCloseAGeneration(t *testing.T) {
	b := newBench(t)
	closing := &closer{device: b.dev}
	m, err := server.NewModel(server.ModelConfig{Objects: objects()[:2], Clients: clients()[:1]})
	if err != nil {
		t.Fatal(err)
	}
	b.srv = server.New(m, closing, nil)
	closing.srv = b.srv
	b.public()
	if open, _ := b.srv.Associations(); open != 1 || !closing.called {
		t.Errorf("%d open, called %t", open, closing.called)
	}
}

// closer calls back into the server from an event.
type closer struct {
	*device
	srv    *server.Server
	called bool
}

func (c *closer) Event(server.Event) {
	c.called = true
	c.srv.CloseGeneration(setupLAN, 1)
}
