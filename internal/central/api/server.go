package api

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/meterseal/meterseal/internal/central/access"
)

// SocketName is the name of the socket in the data directory.
const SocketName = "admin.sock"

// maxBody bounds a request: a shipment file of a million meters is the largest thing that comes.
const maxBody = 1 << 30

// failure is how an error travels.
type failure struct {
	Error string `json:"error"`
	// Pending is set where the operation wants a second person.
	Pending *access.PendingError `json:"pending,omitempty"`
}

// ServeConfig says where and to whom the API answers.
type ServeConfig struct {
	// Socket is the path of a Unix socket, Listen a TCP address; either may be empty.
	Socket, Listen string
	// TLS asks every caller for a certificate: access.ServerTLS.
	TLS *tls.Config
	// Gate lets callers through.
	Gate *access.Gate
	Log  *slog.Logger
	// Listening, if not nil, is told where Listen came to be.
	Listening func(net.Addr)
}

// Serve answers until ctx ends. There is one way in: a certificate, over the socket too.
func Serve(ctx context.Context, c ServeConfig, b Backend) error {
	h, err := Handler(b, c.Gate)
	if err != nil {
		return err
	}
	return serve(ctx, c, h)
}

func serve(ctx context.Context, c ServeConfig, h http.Handler) error {
	listeners, err := c.listen(ctx)
	if err != nil {
		return fmt.Errorf("api: %w", err)
	}
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(c.Log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(end) != nil {
			_ = srv.Close() // what is still open after that ends with the process
		}
	})
	defer stop()
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { ended <- srv.Serve(tls.NewListener(l, c.TLS)) }()
	}
	var errs []error
	for range listeners {
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, fmt.Errorf("api: %w", err), srv.Close())
		}
	}
	return errors.Join(errs...)
}

func (c ServeConfig) listen(ctx context.Context) (out []net.Listener, err error) {
	if c.Socket != "" {
		l, err := listen(ctx, c.Socket)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	if c.Listen != "" {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.Listen)
		if err != nil {
			for _, open := range out {
				err = errors.Join(err, open.Close())
			}
			return nil, err
		}
		if c.Listening != nil {
			c.Listening(l.Addr())
		}
		out = append(out, l)
	}
	return out, nil
}

// listen makes the socket. The data directory is locked by this process, so a socket that is there is a dead one's.
func listen(ctx context.Context, path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
