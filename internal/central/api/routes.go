package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/meterseal/meterseal/dlms"
	"github.com/meterseal/meterseal/internal/central/access"
	"github.com/meterseal/meterseal/internal/central/rotation"
)

// endpoint is one address of the API, and the operations that a request to it may be.
type endpoint struct {
	pattern string
	ops     []access.Op
}

// router sends requests through the gate to the backend.
type router struct {
	mux       *http.ServeMux
	gate      *access.Gate
	endpoints []endpoint
	err       error
}

// Handler routes the API to a backend, for callers that the gate lets through. It is an error if an operation has no row in
// the table of roles.
func Handler(b Backend, g *access.Gate) (http.Handler, error) {
	r := routes(b, g)
	return r.mux, r.err
}

// routes is the API. Each line names the operation, whose row in package access says who may do it.
func routes(b Backend, g *access.Gate) *router {
	r := &router{mux: http.NewServeMux(), gate: g}
	r.handle("POST /v1/shipments", []access.Op{access.OpImportShipment}, r.stream(access.OpImportShipment, func(w http.ResponseWriter, q *http.Request) {
		report, err := b.ImportShipment(q.Context(), http.MaxBytesReader(w, q.Body, maxBody))
		if pending := (*access.PendingError)(nil); errors.As(err, &pending) || errors.Is(err, access.ErrStopped) {
			fail(w, err)
			return
		}
		answer(w, map[string]any{"report": report, "error": text(err)}, nil)
	}))
	r.handle("GET /v1/audit", []access.Op{access.OpExportAudit}, r.stream(access.OpExportAudit, func(w http.ResponseWriter, q *http.Request) {
		if err := b.ExportAudit(q.Context(), w); err != nil {
			panic(http.ErrAbortHandler) // the reader sees a cut answer, not a short one
		}
	}))
	route(r, access.OpStatus, "GET /v1/status", func(ctx context.Context, _ none) (Status, error) { return b.Status(ctx) })
	route(r, access.OpStatus, "POST /v1/meters", b.Meters)
	route(r, access.OpAddMaker, "POST /v1/makers", func(ctx context.Context, q MakerRequest) (none, error) { return none{}, b.AddMaker(ctx, q) })
	route(r, access.OpMakers, "GET /v1/makers", func(ctx context.Context, _ none) (any, error) { return b.Makers(ctx) })
	route(r, access.OpRevokeMaker, "POST /v1/makers/revoke", func(ctx context.Context, q MakerRevocation) (none, error) { return none{}, b.RevokeMaker(ctx, q) })
	routeBy(r, []access.Op{access.OpEnrolDC, access.OpEnrolTerminal}, "POST /v1/devices", Enrolment.op,
		func(ctx context.Context, e Enrolment) (none, error) { return none{}, b.Enrol(ctx, e) })
	route(r, access.OpAssign, "POST /v1/assign", func(ctx context.Context, a Assignment) (none, error) { return none{}, b.Assign(ctx, a) })
	route(r, access.OpEvict, "POST /v1/evict", b.Evict)
	route(r, access.OpProvision, "POST /v1/provision", titled(b.Provision))
	route(r, access.OpAssociate, "POST /v1/associate", titled(b.Associate))
	route(r, access.OpCollect, "POST /v1/collect", func(ctx context.Context, q dayOf) (Collected, error) { return b.Collect(ctx, q.Day) })
	route(r, access.OpReadings, "POST /v1/readings", func(ctx context.Context, q dayOf) (any, error) { return b.Readings(ctx, q.Title, q.Day) })
	route(r, access.OpRotate, "POST /v1/rotate", b.Rotate)
	routeBy(r, []access.Op{access.OpCampaignStart, access.OpEmergencyRekey}, "POST /v1/campaigns", CampaignRequest.op, b.StartCampaign)
	route(r, access.OpCampaigns, "GET /v1/campaigns", func(ctx context.Context, _ none) (any, error) { return b.Campaigns(ctx) })
	route(r, access.OpCampaigns, "POST /v1/campaigns/show", func(ctx context.Context, q numbered) (any, error) { return b.Campaign(ctx, q.ID) })
	routeBy(r, []access.Op{access.OpCampaignSteer, access.OpCampaignAbort}, "POST /v1/campaigns/steer", CampaignSteering.op, b.SteerCampaign)
	route(r, access.OpExposure, "POST /v1/exposure", b.Exposure)
	route(r, access.OpRevokeTerminal, "POST /v1/terminals/revoke", b.RevokeTerminal)
	route(r, access.OpChanges, "POST /v1/changes", func(ctx context.Context, q named) (any, error) { return b.Changes(ctx, q.Name) })
	route(r, access.OpBreaker, "POST /v1/breaker", func(ctx context.Context, q Breaker) (none, error) { return none{}, b.Breaker(ctx, q) })
	route(r, access.OpBreakerStatus, "POST /v1/breaker/status", titled(b.BreakerStatus))
	route(r, access.OpClock, "POST /v1/clock", func(ctx context.Context, q title) (none, error) { return none{}, b.SetClock(ctx, q.Title) })
	route(r, access.OpBroadcast, "POST /v1/clock/broadcast", titled(b.BroadcastClock))
	route(r, access.OpSightings, "GET /v1/sightings", func(ctx context.Context, _ none) (any, error) { return b.Sightings(ctx) })
	route(r, access.OpGrant, "POST /v1/grants", b.Grant)
	route(r, access.OpEndGrant, "POST /v1/grants/end", func(ctx context.Context, q named) (Asked, error) { return b.EndGrant(ctx, q.Name) })
	route(r, access.OpRollCall, "POST /v1/rollcall", func(ctx context.Context, _ none) (RollCall, error) { return b.RollCall(ctx) })
	route(r, access.OpKeys, "POST /v1/keys", titled(b.Keys))
	route(r, access.OpKeys, "POST /v1/keys/life", titled(b.KeyLife))
	route(r, access.OpTerminalLog, "POST /v1/terminals/log", b.TakeTerminalLog)
	route(r, access.OpRoot, "GET /v1/vault/root", func(ctx context.Context, _ none) (Root, error) { return b.Root(ctx) })
	route(r, access.OpRotateRoot, "POST /v1/vault/root/rotate", b.RotateRoot)
	route(r, access.OpRetireTerm, "POST /v1/vault/root/retire", b.RetireTerm)
	route(r, access.OpMissing, "GET /v1/vault/missing", func(ctx context.Context, _ none) (Missing, error) { return b.Missing(ctx) })
	route(r, access.OpExportMeters, "POST /v1/vault/export", b.ExportMeters)
	route(r, access.OpImportMeters, "POST /v1/vault/import", b.ImportMeters)
	route(r, access.OpBackup, "POST /v1/backup", func(ctx context.Context, q named) (Backup, error) { return b.Backup(ctx, q.Name) })
	peopleRoutes(r, b)
	return r
}

// op tells what is enrolled.
func (e Enrolment) op() access.Op {
	if e.File.Kind == "concentrator" {
		return access.OpEnrolDC
	}
	return access.OpEnrolTerminal
}

// op tells a campaign that changes what somebody holds from others.
func (q CampaignRequest) op() access.Op {
	if q.Selection.ByExposure() {
		return access.OpEmergencyRekey
	}
	return access.OpCampaignStart
}

func (s CampaignSteering) op() access.Op {
	if s.How == rotation.Abort {
		return access.OpCampaignAbort
	}
	return access.OpCampaignSteer
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

// handle enters an address.
func (r *router) handle(pattern string, ops []access.Op, h http.HandlerFunc) {
	for _, op := range ops {
		if rule, ok := access.RuleOf(op); !ok || rule.AtRest {
			r.err = errors.Join(r.err, fmt.Errorf("api: %s: operation %q has no row in the table of roles", pattern, op))
		}
	}
	r.endpoints = append(r.endpoints, endpoint{pattern, ops})
	r.mux.HandleFunc(pattern, h)
}

// caller tells who calls, and refuses who may do none of the operations before anything of the request is read.
func (r *router) caller(w http.ResponseWriter, q *http.Request, ops ...access.Op) (c access.Caller, ok bool) {
	if q.TLS == nil || len(q.TLS.VerifiedChains) == 0 || len(q.TLS.VerifiedChains[0]) == 0 {
		fail(w, fmt.Errorf("%w: none was shown", access.ErrCertificate))
		return c, false
	}
	c, err := r.gate.Identify(q.Context(), q.TLS.VerifiedChains[0][0])
	if err != nil {
		fail(w, err)
		return c, false
	}
	if err := r.gate.May(q.Context(), c, ops...); err != nil {
		fail(w, err)
		return c, false
	}
	return c, true
}

// stream is for an operation whose request or answer is no JSON.
func (r *router) stream(op access.Op, h http.HandlerFunc) http.HandlerFunc {
	if rule, _ := access.RuleOf(op); rule.Dual {
		r.err = errors.Join(r.err, fmt.Errorf("api: operation %q takes two people, and an approval could not be bound to what is streamed", op))
	}
	return func(w http.ResponseWriter, q *http.Request) {
		c, ok := r.caller(w, q, op)
		if !ok {
			return
		}
		ctx, err := r.gate.Enter(q.Context(), access.Call{Caller: c, Op: op})
		if err != nil {
			fail(w, err)
			return
		}
		h(w, q.WithContext(ctx))
	}
}

// route is for a request that is one operation.
func route[Q, A any](r *router, op access.Op, pattern string, f func(context.Context, Q) (A, error)) {
	routeBy(r, []access.Op{op}, pattern, func(Q) access.Op { return op }, f)
}

// routeBy is for a request that is one of some operations, as what it asks for says. It decodes strictly, passes the gate,
// calls and answers.
func routeBy[Q, A any](r *router, ops []access.Op, pattern string, by func(Q) access.Op, f func(context.Context, Q) (A, error)) {
	r.handle(pattern, ops, func(w http.ResponseWriter, req *http.Request) {
		c, ok := r.caller(w, req, ops...)
		if !ok {
			return
		}
		var q Q
		if req.Method == http.MethodPost {
			d := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxBody))
			d.DisallowUnknownFields()
			if err := d.Decode(&q); err != nil && !errors.Is(err, io.EOF) {
				fail(w, fmt.Errorf("%w: %w", errBad, err))
				return
			}
		}
		params, err := json.Marshal(q) // in one form, whatever the request looked like
		if err != nil {
			fail(w, err)
			return
		}
		ctx, err := r.gate.Enter(req.Context(), access.Call{Caller: c, Op: by(q), Params: params})
		if err != nil {
			fail(w, err)
			return
		}
		a, err := f(ctx, q)
		if err != nil {
			fail(w, err)
			return
		}
		answer(w, a, nil)
	})
}

var errBad = errors.New("bad request")

// fail answers with what went wrong.
func fail(w http.ResponseWriter, err error) {
	f := failure{Error: err.Error()}
	_ = errors.As(err, &f.Pending) // it is, or it is not
	answer(w, f, err)
}

func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	var pending *access.PendingError
	switch {
	case errors.Is(err, errBad):
		w.WriteHeader(http.StatusBadRequest)
	case errors.Is(err, access.ErrCertificate):
		w.WriteHeader(http.StatusUnauthorized)
	case errors.Is(err, access.ErrDenied), errors.Is(err, access.ErrStopped), errors.As(err, &pending):
		w.WriteHeader(http.StatusForbidden)
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
