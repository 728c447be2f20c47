package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/meterseal/meterseal/dlms"
)

// SocketName is the name of the socket in the data directory.
const SocketName = "admin.sock"

// maxBody bounds a request: a shipment file of a million meters is the largest thing that comes.
const maxBody = 1 << 30

// failure is how an error travels.
type failure struct {
	Error string `json:"error"`
}

// Serve answers on the Unix socket at path until ctx ends. Who can open the socket can work the IS, so it is the
// owner's alone.
func Serve(ctx context.Context, path string, b Backend, log *slog.Logger) error {
	l, err := listen(path)
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	srv := &http.Server{
		Handler: Handler(b), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if srv.Shutdown(end) != nil {
			_ = srv.Close() // what is still open after that ends with the process
		}
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin socket: %w", err)
	}
	return nil
}

// listen makes the socket. The data directory is locked by this process, so a socket that is there is a dead one's.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Handler routes the API to a backend.
func Handler(b Backend) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/shipments", func(w http.ResponseWriter, r *http.Request) {
		report, err := b.ImportShipment(r.Context(), http.MaxBytesReader(w, r.Body, maxBody))
		answer(w, map[string]any{"report": report, "error": text(err)}, nil)
	})
	mux.HandleFunc("GET /v1/audit", func(w http.ResponseWriter, r *http.Request) {
		if err := b.ExportAudit(r.Context(), w); err != nil {
			panic(http.ErrAbortHandler) // the reader sees a cut answer, not a short one
		}
	})
	route(mux, "GET /v1/status", func(ctx context.Context, _ none) (Status, error) { return b.Status(ctx) })
	route(mux, "POST /v1/devices", func(ctx context.Context, e Enrolment) (none, error) { return none{}, b.Enrol(ctx, e) })
	route(mux, "POST /v1/assign", func(ctx context.Context, a Assignment) (none, error) { return none{}, b.Assign(ctx, a) })
	route(mux, "POST /v1/evict", b.Evict)
	route(mux, "POST /v1/provision", titled(b.Provision))
	route(mux, "POST /v1/associate", titled(b.Associate))
	route(mux, "POST /v1/collect", func(ctx context.Context, q dayOf) (Collected, error) { return b.Collect(ctx, q.Day) })
	route(mux, "POST /v1/readings", func(ctx context.Context, q dayOf) (any, error) { return b.Readings(ctx, q.Title, q.Day) })
	route(mux, "POST /v1/rotate", b.Rotate)
	route(mux, "POST /v1/campaigns", b.StartCampaign)
	route(mux, "GET /v1/campaigns", func(ctx context.Context, _ none) (any, error) { return b.Campaigns(ctx) })
	route(mux, "POST /v1/campaigns/show", func(ctx context.Context, q numbered) (any, error) { return b.Campaign(ctx, q.ID) })
	route(mux, "POST /v1/campaigns/steer", b.SteerCampaign)
	route(mux, "POST /v1/exposure", b.Exposure)
	route(mux, "POST /v1/terminals/revoke", b.RevokeTerminal)
	route(mux, "POST /v1/changes", func(ctx context.Context, q named) (any, error) { return b.Changes(ctx, q.Name) })
	route(mux, "POST /v1/breaker", func(ctx context.Context, q Breaker) (none, error) { return none{}, b.Breaker(ctx, q) })
	route(mux, "POST /v1/breaker/status", titled(b.BreakerStatus))
	route(mux, "POST /v1/clock", func(ctx context.Context, q title) (none, error) { return none{}, b.SetClock(ctx, q.Title) })
	route(mux, "POST /v1/clock/broadcast", titled(b.BroadcastClock))
	route(mux, "GET /v1/sightings", func(ctx context.Context, _ none) (any, error) { return b.Sightings(ctx) })
	route(mux, "POST /v1/grants", b.Grant)
	route(mux, "POST /v1/grants/end", func(ctx context.Context, q named) (Asked, error) { return b.EndGrant(ctx, q.Name) })
	route(mux, "POST /v1/rollcall", func(ctx context.Context, _ none) (RollCall, error) { return b.RollCall(ctx) })
	route(mux, "POST /v1/keys", titled(b.Keys))
	route(mux, "GET /v1/vault/missing", func(ctx context.Context, _ none) (Missing, error) { return b.Missing(ctx) })
	route(mux, "POST /v1/backup", func(ctx context.Context, q named) (Backup, error) { return b.Backup(ctx, q.Name) })
	return mux
}

// none is an empty request or answer, title, named, numbered and dayOf are the small ones.
type (
	none  struct{}
	title struct {
		Title dlms.SystemTitle `json:"title"`
	}
	named struct {
		Name string `json:"name"`
	}
	numbered struct {
		ID int64 `json:"id"`
	}
	dayOf struct {
		Title dlms.SystemTitle `json:"title,omitzero"`
		Day   string           `json:"day"`
	}
)

func titled[A any](f func(context.Context, dlms.SystemTitle) (A, error)) func(context.Context, title) (A, error) {
	return func(ctx context.Context, q title) (A, error) { return f(ctx, q.Title) }
}

// route decodes strictly, calls and answers.
func route[Q, A any](mux *http.ServeMux, pattern string, f func(context.Context, Q) (A, error)) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var q Q
		if r.Method == http.MethodPost {
			d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
			d.DisallowUnknownFields()
			if err := d.Decode(&q); err != nil && !errors.Is(err, io.EOF) {
				answer(w, failure{"request: " + err.Error()}, errBad)
				return
			}
		}
		a, err := f(r.Context(), q)
		if err != nil {
			answer(w, failure{err.Error()}, err)
			return
		}
		answer(w, a, nil)
	})
}

var errBad = errors.New("bad request")

func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case errors.Is(err, errBad):
		w.WriteHeader(http.StatusBadRequest)
	case err != nil:
		w.WriteHeader(http.StatusConflict)
	}
	// A client that has gone away is no matter of ours.
	_ = json.NewEncoder(w).Encode(v)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
