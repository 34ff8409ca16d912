package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/policy"
	"github.com/krait-gateway/krait/telemetry"
)

// ErrNoSource says that a gateway without [Config].Source was asked to reload.
var ErrNoSource = errors.New("this gateway has no source to reload from")

// Source is where a gateway reads what it serves: at its start and at each
// reload. It must be safe for concurrent use.
type Source interface {
	// Definitions reads all API definitions. The error is for what keeps all of
	// them from being read; it ends the start of a gateway, and a reload
	// changes nothing then.
	Definitions(ctx context.Context) ([]apidef.Loaded, error)
	// Policies reads all policies. The set comes with an error when it could
	// not be read as a whole: it then refuses every policy. A start uses it all
	// the same, a reload keeps the policies that are there.
	Policies(ctx context.Context) (*policy.Set, error)
}

// reload is one reload, and what came of it for everybody who waits for it.
type reload struct {
	sources []string // who asked for it
	done    chan struct{}
	err     error // set before done is closed
}

// reloader runs one reload at a time. What is asked for meanwhile becomes one
// more, which begins when the running one has ended: so each asker gets a reload
// that began after it asked. It is safe for concurrent use.
type reloader struct {
	run func(ctx context.Context) error
	// ctx is that of all reloads; stop ends it.
	ctx  context.Context //nolint:containedctx // of the reloads, not of a call
	stop context.CancelFunc

	mu      sync.Mutex
	next    *reload // nil: nobody waits for one
	running bool
	closed  bool
	ended   sync.WaitGroup
}

func newReloader(run func(context.Context) error) *reloader {
	r := &reloader{run: run}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// ask asks for a reload and does not wait for it.
func (r *reloader) ask(source string) (*reload, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, ErrClosed
	}
	if r.next == nil {
		r.next = &reload{done: make(chan struct{})}
	}
	asked := r.next
	if !slices.Contains(asked.sources, source) {
		asked.sources = append(asked.sources, source)
	}
	if !r.running {
		r.running = true
		r.ended.Go(r.work)
	}
	return asked, nil
}

// work runs reloads until nobody asks for more.
func (r *reloader) work() {
	for {
		r.mu.Lock()
		now := r.next
		r.next = nil
		r.running = now != nil
		r.mu.Unlock()
		if now == nil {
			return
		}
		if now.err = r.ctx.Err(); now.err == nil {
			now.err = r.run(context.WithValue(r.ctx, sourcesKey{}, now.sources))
		}
		close(now.done)
	}
}

// close takes no more requests and ends the running reload; ended waits for it.
func (r *reloader) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.stop()
}

type sourcesKey struct{}

// RequestReload asks for a reload and returns at once: definitions, policies and
// bundles are read anew, see [Gateway.Load]. source says who asks, for the log.
// Requests that come while one runs share one more. The error is [ErrClosed] or
// [ErrNoSource].
func (g *Gateway) RequestReload(source string) error {
	if g.source == nil {
		return ErrNoSource
	}
	_, err := g.reloads.ask(source)
	return err
}

// Reload is [Gateway.RequestReload], but waits for a reload that began after the
// call, or for ctx. It returns why that one changed nothing; what is wrong with
// single APIs is no error, see [Gateway.APIs].
func (g *Gateway) Reload(ctx context.Context, source string) error {
	if g.source == nil {
		return ErrNoSource
	}
	asked, err := g.reloads.ask(source)
	if err != nil {
		return err
	}
	select {
	case <-asked.done:
		return asked.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the reload: %w", ctx.Err())
	}
}

// reload reads everything anew and serves it. A failure leaves what is served as
// it is.
func (g *Gateway) reload(ctx context.Context) error {
	began := time.Now()
	sources, _ := ctx.Value(sourcesKey{}).([]string)
	from := strings.Join(sources, ", ")
	err := guarded(g.log, func() error {
		apis, err := g.source.Definitions(ctx)
		if err != nil {
			return err
		}
		policies, policyErr := g.source.Policies(ctx)
		if err := g.Load(ctx, apis); err != nil {
			return err
		}
		if policyErr == nil {
			g.SetPolicies(policies)
		} else {
			g.log.Error("policies cannot be read, those before stay in force", telemetry.KeyError, policyErr.Error())
		}
		return nil
	})
	if err != nil {
		if ctx.Err() == nil {
			g.log.Error("reload failed, everything stays as it is", telemetry.KeySource, from, telemetry.KeyError, err.Error())
		}
		return fmt.Errorf("reload: %w", err)
	}
	g.log.Info("reloaded", telemetry.KeySource, from, telemetry.KeyDuration, time.Since(began).Round(time.Millisecond))
	return nil
}

// serveReload answers GET /tyk/reload: at once, or with block=true when the
// reload has ended.
func (g *Gateway) serveReload(w http.ResponseWriter, r *http.Request) {
	var err error
	if r.URL.Query().Get("block") == "true" {
		err = g.Reload(r.Context(), r.URL.Path)
	} else {
		err = g.RequestReload(r.URL.Path)
	}
	g.answerReload(w, r, err)
}

func (g *Gateway) answerReload(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case err == nil:
		writeJSON(w, r, http.StatusOK, adminAnswer{Status: "ok"})
	case errors.Is(err, ErrNoSource):
		adminError(w, r, http.StatusNotImplemented, err.Error())
	case errors.Is(err, ErrClosed):
		adminError(w, r, http.StatusServiceUnavailable, msgStopping)
	default:
		adminError(w, r, http.StatusInternalServerError, err.Error())
	}
}
