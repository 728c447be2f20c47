// Command meterseal is the whole of Meterseal in one binary: the central system, the concentrator, the meter and the
// terminal, each as a process of its own, the laboratory that runs them all, and a client for any DLMS meter.
//
// Standard output carries results, standard error everything else. It exits with 0 when all was done, 1 when something
// failed or was refused, 2 when the command line cannot be understood.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run carries out one command line. A first signal ends it in order, a second one at once.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	return report(errs, root.ExecuteContext(ctx))
}

// report says what went wrong, and what to do next where that is known, and chooses the exit code.
func report(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintf(w, "meterseal: %v\n", err) // there is nobody left to tell
	if hint := hintFor(err); hint != "" {
		_, _ = fmt.Fprintf(w, "  hint: %s\n", hint)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		_, _ = fmt.Fprintf(w, "  see: %s --help\n", usage.command)
		return exitUsage
	}
	return exitFailed
}
