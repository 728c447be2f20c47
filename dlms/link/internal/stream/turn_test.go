package stream

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestATurnIsOnesAtATimeAndNobodyWaitsForEver(t *testing.T) {
	var turn Turn
	var group sync.WaitGroup
	n := 0
	for i := range 8 {
		group.Go(func() {
			for j := range 500 {
				ctx, cancel := context.WithCancel(context.Background())
				if (i+j)%7 == 0 {
					go cancel()
				}
				if turn.Take(ctx) == nil {
					n++ // the race detector watches
					turn.Give()
				}
				cancel()
			}
		})
	}
	group.Wait()
	if err := turn.Take(context.Background()); err != nil || n < 1000 {
		t.Errorf("%d turns, %v", n, err)
	}
}

func TestTheEndOfAContextEndsTheWaitForATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn Turn
		if err := turn.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := turn.Take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := turn.Take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after its end: %v", err)
		}
		var order []int
		var group sync.WaitGroup
		for i := range 3 {
			group.Go(func() {
				if err := turn.Take(t.Context()); err != nil {
					t.Error(err)
				}
				order = append(order, i)
				turn.Give()
			})
			synctest.Wait()
		}
		turn.Give()
		group.Wait()
		if len(order) != 3 || order[0] != 0 || order[2] != 2 {
			t.Errorf("the order was %v", order)
		}
	})
}
