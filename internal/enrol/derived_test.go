package enrol

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/role"
)

var lastDay = dlms.DayOf(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC))

func derivedHead() SealedKey {
	return SealedKey{
		Meter: meter, Role: role.CCLOCALE, Version: 3, Recipient: tsp, FirstCounter: 1, LastCounter: 1 << 20, LastDay: lastDay,
	}
}

func TestADerivedKeyComesOutAsOneAndAKeyAsAKey(t *testing.T) {
	id, k := identity(t, Terminal, tsp), unicast(t)
	d, err := k.Derive(tsp, lastDay)
	if err != nil {
		t.Fatal(err)
	}
	s, err := SealDerived(derivedHead(), id.KEK(), id.MAC(), d)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var came SealedKey
	if err := json.Unmarshal(b, &came); err != nil || came.LastDay != lastDay {
		t.Fatalf("got %s, %v", came.LastDay, err)
	}
	if got, err := id.OpenDerived(came); err != nil || !got.Equal(d) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := id.Open(came); !errors.Is(err, ErrSealed) {
		t.Errorf("a derived key as CC_LOCALE: got %v, %v", got, err)
	}
	whole := sealedTo(t, id, role.CCLOCALE, k)
	if got, err := id.OpenDerived(whole); !errors.Is(err, ErrSealed) {
		t.Errorf("CC_LOCALE as a derived key: got %v, %v", got, err)
	}
	whole.LastDay = lastDay
	if got, err := id.OpenDerived(whole); !errors.Is(err, ErrSealed) {
		t.Errorf("CC_LOCALE with a last day written onto it: got %v, %v", got, err)
	}
}

func TestADerivedKeyIsRefusedWithAnotherLastDayAndInAnotherPlace(t *testing.T) {
	id := identity(t, Terminal, tsp)
	d, err := unicast(t).Derive(tsp, lastDay)
	if err != nil {
		t.Fatal(err)
	}
	s, err := SealDerived(derivedHead(), id.KEK(), id.MAC(), d)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*SealedKey){
		"a later day":       func(s *SealedKey) { s.LastDay = dlms.DayOf(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)) },
		"no day":            func(s *SealedKey) { s.LastDay = dlms.Day{} },
		"another meter":     func(s *SealedKey) { s.Meter = other },
		"another role":      func(s *SealedKey) { s.Role = role.CCLAN },
		"another version":   func(s *SealedKey) { s.Version++ },
		"another recipient": func(s *SealedKey) { s.Recipient = other },
		"a longer range":    func(s *SealedKey) { s.LastCounter++ },
		"an altered blob":   func(s *SealedKey) { s.Blob = append([]byte{s.Blob[0] ^ 1}, s.Blob[1:]...) },
	} {
		bad := s
		change(&bad)
		if _, err := id.OpenDerived(bad); !errors.Is(err, ErrSealed) {
			t.Errorf("%s: want ErrSealed, got %v", name, err)
		}
		if _, err := id.Open(bad); !errors.Is(err, ErrSealed) {
			t.Errorf("%s, as a key: want ErrSealed, got %v", name, err)
		}
	}
	if _, err := identity(t, Terminal, other).OpenDerived(s); !errors.Is(err, ErrSealed) {
		t.Errorf("another terminal: got %v", err)
	}
}

func TestADerivedKeyIsSealedForALastDayAndForNoOtherRole(t *testing.T) {
	id, k := identity(t, Terminal, tsp), unicast(t)
	d, err := k.Derive(tsp, lastDay)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*SealedKey){
		"no day": func(s *SealedKey) { s.LastDay = dlms.Day{} }, "CC_LAN": func(s *SealedKey) { s.Role = role.CCLAN },
		"CC_IS": func(s *SealedKey) { s.Role = role.CCIS }, "nobody": func(s *SealedKey) { s.Recipient = dlms.SystemTitle{} },
	} {
		head := derivedHead()
		change(&head)
		if s, err := SealDerived(head, id.KEK(), id.MAC(), d); err == nil {
			t.Errorf("%s: sealed as %+v", name, s.Ref())
		}
	}
	if _, err := Seal(derivedHead(), id.KEK(), id.MAC(), k); err == nil {
		t.Error("CC_LOCALE itself was sealed with a last day")
	}
}
