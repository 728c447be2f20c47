package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows how far a long job is: a bar on a terminal, a line for each step elsewhere.
type progress struct {
	out   io.Writer
	what  string
	note  atomic.Value // string, shown behind the bar
	pool  *mpb.Progress
	bar   *mpb.Bar
	shown string
}

func newProgress(out io.Writer, what string) *progress {
	p := &progress{out: out, what: what}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.pool = mpb.New(mpb.WithOutput(out))
		p.bar = p.pool.AddBar(0, mpb.PrependDecorators(decor.Name(what+" ")), mpb.AppendDecorators(decor.CountersNoUnit("%d/%d"), decor.Any(p.noted)))
	}
	return p
}

// say shows a text behind the bar.
func (p *progress) say(text string) { p.note.Store(text) }

func (p *progress) noted(decor.Statistics) string {
	if text, ok := p.note.Load().(string); ok && text != "" {
		return "  " + text
	}
	return ""
}

func (p *progress) set(done, all int) {
	if p.bar != nil {
		p.bar.SetTotal(int64(all), false)
		p.bar.SetCurrent(int64(done))
		return
	}
	if text := fmt.Sprintf("%s: %d of %d", p.what, done, all); text != p.shown {
		p.shown = text
		_, _ = fmt.Fprintln(p.out, text) // nobody left to tell
	}
}

// close leaves the bar as it stands.
func (p *progress) close() {
	if p.bar == nil {
		return
	}
	p.bar.Abort(false)
	p.pool.Wait()
	p.bar = nil
}
