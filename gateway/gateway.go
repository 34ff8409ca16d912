package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/hook"
	"github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/policy"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/telemetry"
)

// ErrClosed says that the gateway was closed.
var ErrClosed = errors.New("gateway is closed")

// defaultLoadWait is Config.LoadWait when it is not set.
const defaultLoadWait = 10 * time.Second

// Bundles fetches and verifies plugin bundles by the name that an API
// definition gives. It must be safe for concurrent use.
type Bundles interface {
	Fetch(ctx context.Context, name string) (*bundle.Bundle, error)
}

// Sessions keeps sessions by id. It must be safe for concurrent use.
type Sessions interface {
	// Get returns the session of id, or an error that is store.ErrNotFound
	// when there is none.
	Get(ctx context.Context, id string) (*coprocesspb.SessionState, error)
	// Put keeps s under id for ttl; 0 or less means no expiry.
	Put(ctx context.Context, id string, s *coprocesspb.SessionState, ttl time.Duration) error
	// Delete removes the session of id; none is no error.
	Delete(ctx context.Context, id string) error
}

// Config is what a gateway is made of. The gateway closes the plugins it
// loads; everything that is passed in stays the caller's to close, after
// [Gateway.Close].
type Config struct {
	// Config is the gateway's configuration, already validated. Required.
	Config *config.Config
	// APIs are the API definitions to begin with.
	APIs []apidef.Loaded
	// Drivers make plugin code callable, by driver name ("python", "grpc").
	// APIs that name another driver are refused.
	Drivers map[string]coprocess.Driver
	// Bundles fetches bundles; nil refuses APIs that name one.
	Bundles Bundles
	// Store is asked by the health endpoint; nil leaves that check out.
	Store store.Store
	// Sessions keeps sessions. Required.
	Sessions Sessions
	// Policies are applied to the sessions that name them; nil: there are
	// none. See [Gateway.SetPolicies].
	Policies *policy.Set
	// Limits counts requests against the rates and quotas of sessions.
	// Required.
	Limits limit.Counter
	// Events receives events; nil drops them.
	Events Events
	// Logger is required.
	Logger *slog.Logger
	// Checks are further health checks.
	Checks []Check
	// Version is shown by the health endpoint.
	Version string
	// LoadWait bounds how long New and Load wait for plugin code; 0 means
	// 10 s. An API that needs longer must not keep the others from being
	// served: it answers 503 until it is ready.
	LoadWait time.Duration
	// Drain bounds how long Serve waits for requests when it stops; 0 means
	// 30 s.
	Drain time.Duration
	// BodyBudget bounds, in bytes, what all bodies that are buffered for hooks
	// take together; requests beyond it are answered with 503. 0 means 256
	// MiB, or more when max_request_body_size would not fit.
	BodyBudget int64
	// BodyIdle bounds how long a request body may go without a byte arriving
	// while it is read; 0 means 60 s. It does not count when read_timeout is
	// configured, which bounds whole requests.
	BodyIdle time.Duration
}

// Validate reports what is missing, all of it together.
func (c *Config) Validate() error {
	var faults []error
	if c.Config == nil {
		faults = append(faults, errors.New("gateway.Config: Config is missing"))
	}
	if c.Sessions == nil {
		faults = append(faults, errors.New("gateway.Config: Sessions is missing"))
	}
	if c.Limits == nil {
		faults = append(faults, errors.New("gateway.Config: Limits is missing"))
	}
	if c.Logger == nil {
		faults = append(faults, errors.New("gateway.Config: Logger is missing"))
	}
	return errors.Join(faults...)
}

// Gateway routes requests to APIs. Its methods are safe for concurrent use.
type Gateway struct {
	config   *config.Config
	drivers  map[string]coprocess.Driver
	bundles  Bundles
	sessions Sessions
	limits   limit.Counter
	events   Events
	log      *slog.Logger
	version  string
	loadWait time.Duration
	drain    time.Duration
	buffers  *bufferPool
	bodies   *hook.Budget
	bodyIdle time.Duration // 0: no limit
	failures []failureRule
	health   health
	active   activity
	healthAt string // path of the health endpoint
	admin    *http.ServeMux
	webhooks *http.Client

	serialPlugins atomic.Int64 // so many were made

	configuring sync.Mutex // held by configureEvents

	policies atomic.Pointer[policy.Set]

	current atomic.Pointer[snapshot]
	loading sync.Mutex     // held by Load and Close: one change at a time
	closed  bool           // guarded by loading
	retired sync.WaitGroup // goroutines that close replaced snapshots
}

// New returns a gateway that serves c.APIs. APIs that can't be served safely
// are refused one by one, logged and shown by [Gateway.APIs]; they are no
// error of New.
func New(ctx context.Context, c Config) (*Gateway, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	g := &Gateway{
		config: c.Config, drivers: c.Drivers, bundles: c.Bundles, sessions: c.Sessions,
		limits: c.Limits, events: c.Events, log: c.Logger, version: c.Version, drain: c.Drain,
		webhooks: event.NewHTTPClient(event.DefaultHandlerTimeout),
		buffers:  newBufferPool(), failures: failureRules(), healthAt: c.Config.HealthPath(),
	}
	g.admin = g.adminRoutes()
	g.policies.Store(c.Policies)
	if g.version == "" {
		g.version = unknownVersion
	}
	if g.loadWait = c.LoadWait; g.loadWait <= 0 {
		g.loadWait = defaultLoadWait
	}
	if g.drain <= 0 {
		g.drain = defaultDrain
	}
	if c.BodyBudget <= 0 {
		c.BodyBudget = max(defaultBodyBudget, c.Config.HTTPServerOptions.MaxRequestBodySize+responseLimit)
	}
	if c.Config.HTTPServerOptions.ReadTimeout == 0 {
		if g.bodyIdle = c.BodyIdle; g.bodyIdle <= 0 {
			g.bodyIdle = defaultBodyIdle
		}
	}
	g.bodies = hook.NewBudget(c.BodyBudget, bodyBudgetWait)
	if g.events == nil {
		g.events = noEvents{}
	}
	if c.Store != nil {
		g.health.checks = append(g.health.checks, storeCheck(c.Config, c.Store))
	}
	g.health.checks = append(g.health.checks, c.Checks...)
	if err := g.Load(ctx, c.APIs); err != nil {
		return nil, err
	}
	return g, nil
}

// Load builds all of apis, waits for their plugin code within LoadWait, then serves them in place of the current ones.
// Requests in flight end on the APIs they began with; plugins of the replaced
// APIs are closed after the last such request. The error is that of ctx, or
// [ErrClosed]; the current APIs then stay in service.
func (g *Gateway) Load(ctx context.Context, apis []apidef.Loaded) error {
	g.loading.Lock()
	defer g.loading.Unlock()
	if g.closed {
		return ErrClosed
	}
	next := g.build(ctx, apis)
	next.await(ctx, g.loadWait)
	if err := ctx.Err(); err != nil {
		return errors.Join(fmt.Errorf("load API definitions: %w", err), next.close())
	}
	old := g.current.Swap(next)
	g.configureEvents()
	g.retire(old)
	return nil
}

// retire closes s when its last request has ended.
func (g *Gateway) retire(s *snapshot) {
	if s == nil {
		return
	}
	s.release()
	g.retired.Go(func() {
		<-s.idle
		if err := s.close(); err != nil {
			g.log.Warn("cannot close plugins", telemetry.KeyError, err.Error())
		}
	})
}

// Close stops answering (503), waits for the requests in flight and closes the
// plugins. When ctx ends first, its error is returned and plugins that are
// still in use are left open.
func (g *Gateway) Close(ctx context.Context) error {
	g.loading.Lock()
	g.closed = true
	old := g.current.Swap(nil)
	g.configureEvents()
	g.retire(old)
	g.loading.Unlock()

	done := make(chan struct{})
	go func() {
		g.retired.Wait()
		g.webhooks.CloseIdleConnections()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close gateway: requests are still running: %w", ctx.Err())
	}
}

// Handler returns the gateway as an http.Handler.
func (g *Gateway) Handler() http.Handler { return g }

// use returns the current snapshot, counted; the caller releases it. It is nil
// once the gateway is closed.
func (g *Gateway) use() *snapshot {
	for {
		s := g.current.Load()
		if s == nil || s.acquire() {
			return s
		}
	}
}
