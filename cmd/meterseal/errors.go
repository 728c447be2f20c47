package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/dlms/client"
	"github.com/meterseal/meterseal/dlms/security"
	"github.com/meterseal/meterseal/internal/keysfile"
	"github.com/meterseal/meterseal/internal/shipment"
	"github.com/meterseal/meterseal/internal/transport"
)

// usageError is a command line that cannot be understood.
type usageError struct {
	command string
	err     error
}

func usage(c *cobra.Command, format string, args ...any) error {
	return &usageError{c.CommandPath(), fmt.Errorf(format, args...)}
}

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// hintError is an error with what to do next.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }

func (e *hintError) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// hintFor says what to do next about an error, or nothing.
func hintFor(err error) string {
	var own *hintError
	if errors.As(err, &own) {
		return own.hint
	}
	if h := linkHint(err); h != "" {
		return h
	}
	if h := protocolHint(err); h != "" {
		return h
	}
	for _, h := range []struct {
		is   error
		hint string
	}{
		{keysfile.ErrBusy, "wait for the other process to end, or give each its own keys file"},
		{keysfile.ErrCounters, "make the counters file beside the keys file writable; only for keys that are thrown away afterwards: --ephemeral-keys"},
		{keysfile.ErrKeys, `the file is {"system_title": 16 hex digits, "ek": 32, "kek": 32, "ak": 32}; ak only where one is in use`},
		{transport.ErrNotForUs, "it has to be sealed to this central system's transport key: see vault.pub in its data directory"},
		{shipment.ErrFactory, "a factory reads the file of --factory-out of meterseal maker shipment, with the secret of --factory-identity"},
		{age.ErrIncorrectIdentity, "the file was encrypted to somebody else"},
		{syscall.ECONNREFUSED, "nobody listens there: check the address, and that the other side is running"},
		{syscall.EADDRINUSE, "another process listens there: stop it, or take another port"},
		{fs.ErrPermission, "check who owns the file and what its mode lets you do"},
		{context.Canceled, "it was stopped by a signal; what it had finished is kept"},
	} {
		if errors.Is(err, h.is) {
			return h.hint
		}
	}
	return ""
}

// protocolHint is hintFor of what a meter said or did not say.
func protocolHint(err error) string {
	var (
		reject    *client.RejectError
		exception *client.ExceptionError
	)
	switch {
	case errors.As(err, &exception) && isCounter(exception):
		return "the meter has seen a higher counter under this key: check --client-title, or raise ours with --counter"
	case errors.Is(err, client.ErrAuthentication), errors.Is(err, security.ErrTag):
		return "the two ends do not hold the same keys: compare ek and ak in the keys file with the meter's"
	case errors.Is(err, security.ErrTitle):
		return "another meter answered than the one of the keys file, or it knows us by another title: check --connect and system_title"
	case errors.As(err, &reject), errors.As(err, &exception):
		return "the meter refused: check --auth, --client, --server and the keys file"
	case errors.Is(err, security.ErrRaise):
		return "the meter asks for a counter far above ours; if you believe it, give it with --counter"
	case errors.Is(err, client.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return "no answer: check --client and --server, whether the meter speaks HDLC (--hdlc HOST:PORT), or wait longer with --timeout"
	case errors.Is(err, dlms.DataAccessObjectUndefined), errors.Is(err, dlms.ActionObjectUndefined):
		return "this client sees no such object; meterseal dlms browse lists what there is"
	case errors.Is(err, dlms.DataAccessReadWriteDenied), errors.Is(err, dlms.ActionReadWriteDenied):
		return "this client has no right to do that; another --client or --auth may have"
	}
	return ""
}

func isCounter(e *client.ExceptionError) bool {
	_, ok := e.Expected()
	return ok
}
