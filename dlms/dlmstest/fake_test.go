package dlmstest_test

import (
	"fmt"
	"strings"
)

// fakeTB records what a helper would have told a test.
type fakeTB struct {
	errors   []string
	cleanups []func()
}

// fatal is what fakeTB.Fatalf panics with, to end the caller as testing does.
type fatal string

func (f *fakeTB) Helper() {}

func (f *fakeTB) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *fakeTB) Fatalf(format string, args ...any) { panic(fatal(fmt.Sprintf(format, args...))) }

func (f *fakeTB) Cleanup(fn func()) { f.cleanups = append(f.cleanups, fn) }

func (f *fakeTB) finish() {
	for _, fn := range f.cleanups {
		fn()
	}
}

func (f *fakeTB) said(part string) bool { return strings.Contains(strings.Join(f.errors, "\n"), part) }

// fatalOf runs fn and returns the text of the Fatalf that ended it, or "".
func fatalOf(fn func(t *fakeTB)) (text string) {
	defer func() {
		if f, ok := recover().(fatal); ok {
			text = string(f)
		}
	}()
	fn(&fakeTB{})
	return ""
}
