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

	"golang.org/x/sync/semaphore"

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

// parallelFetches bounds how many bundles are fetched at a time. That is mostly
// waiting, so it is far above the CPU count.
const parallelFetches = 32

// parallelLoads bounds how many bundles' code is loaded at a time when most
// calls of plugin code may be in flight: each load is one of them, and requests
// need places too while the gateway reloads.
func parallelLoads(most int) int64 {
	const fewest, enough = 4, 32
	if most <= 0 {
		return enough
	}
	return int64(min(max(most/4, fewest), enough))
}

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
	// APIs are the API definitions to begin with, when there is no Source.
	APIs []apidef.Loaded
	// Source is read at the start and at each reload; nil: there are only APIs
	// and Policies, and no reload.
	Source Source
	// Definitions are the files that the definition endpoints change; nil
	// answers 501 there.
	Definitions *apidef.Dir
	// Drivers make plugin code callable, by driver name ("python", "grpc").
	// APIs that name another driver are refused.
	Drivers map[string]coprocess.Driver
	// Bundles fetches bundles; nil refuses APIs that name one.
	Bundles Bundles
	// Store keeps outcomes of token checks, and is asked by the health
	// endpoint; nil leaves both out.
	Store store.Store
	// Sessions keeps sessions. Required.
	Sessions Sessions
	// Policies are applied to the sessions that name them, when there is no
	// Source; nil: there are none. See [Gateway.SetPolicies].
	Policies *policy.Set
	// Signals has all gateways that share it reload together; nil: this one is
	// alone.
	Signals store.Signals
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
	bundles  Bundles
	sessions Sessions
	store    store.Store // of token checks; nil: they are not kept
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

	codes  codes
	pools  pools
	places *semaphore.Weighted // of fetches

	policies    atomic.Pointer[policy.Set]
	patterns    patterns // allowed_urls of sessions
	definitions *apidef.Dir

	source    Source // nil: there is none
	reloads   *reloader
	signals   store.Signals // nil: there are none
	listening sync.WaitGroup

	current atomic.Pointer[snapshot]
	loading sync.Mutex    // held by Load: one at a time
	closing chan struct{} // closed with the gateway

	mu     sync.Mutex // guards what follows; held for moments only
	plan   *plan      // what current was made of
	closed bool
	// live counts plans, snapshots, APIs and plugin code until they are freed.
	// It grows under mu until closed is set, else only when it is not 0.
	live sync.WaitGroup
}

// New returns a gateway that serves c.APIs. APIs that can't be served safely
// are refused one by one, logged and shown by [Gateway.APIs]; they are no
// error of New.
func New(ctx context.Context, c Config) (*Gateway, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	g := &Gateway{
		config: c.Config, bundles: c.Bundles, sessions: c.Sessions, store: c.Store,
		limits: c.Limits, events: c.Events, log: c.Logger, version: c.Version, drain: c.Drain,
		webhooks: event.NewHTTPClient(event.DefaultHandlerTimeout),
		buffers:  newBufferPool(), failures: failureRules(), healthAt: c.Config.HealthPath(),
		places: semaphore.NewWeighted(parallelFetches), closing: make(chan struct{}),
		pools: pools{byKey: make(map[poolKey]*pool)},
	}
	g.codes = codes{
		drivers: c.Drivers, places: semaphore.NewWeighted(parallelLoads(c.Config.CoprocessOptions.MaxInFlight)),
		serialise: g.serialise, log: c.Logger, live: &g.live, byKey: make(map[string]*loadedCode),
	}
	g.source, g.reloads, g.signals = c.Source, newReloader(g.reload), c.Signals
	g.admin = g.adminRoutes()
	g.policies.Store(c.Policies)
	g.definitions = c.Definitions
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
	// Before anything is read: a signal that comes meanwhile counts.
	listen, forget := g.subscribe(ctx)
	if err := g.begin(ctx, c.APIs); err != nil {
		forget()
		return nil, err
	}
	listen()
	return g, nil
}

// begin serves for the first time: what the source has, or apis without one.
func (g *Gateway) begin(ctx context.Context, apis []apidef.Loaded) (err error) {
	if g.source != nil {
		if apis, err = g.source.Definitions(ctx); err != nil {
			return err
		}
		policies, err := g.source.Policies(ctx)
		if err != nil {
			g.log.Error("policies cannot be read, requests of sessions that name one are refused", telemetry.KeyError, err.Error())
		}
		g.SetPolicies(policies)
	}
	return g.Load(ctx, apis)
}

// Load serves apis in place of the current ones. What has not changed is kept,
// plugin code with its globals and threads included, and so are connections to
// upstreams. New plugin code is loaded beside the old and waited for within
// LoadWait; when it takes longer or fails, what served before stays in service
// if it protects the same, see [APIStatus].Reason. Requests in flight end on
// the code they began with; code that is not used any more is freed after the
// last of them. Only one Load runs at a time. The error is that of ctx, or
// [ErrClosed]; the current APIs then stay in service.
func (g *Gateway) Load(ctx context.Context, apis []apidef.Loaded) error {
	g.loading.Lock()
	defer g.loading.Unlock()
	next, err := g.newPlan(apis)
	if err != nil {
		return err
	}
	next.await(ctx, g.loadWait, g.closing)
	before, err := g.replace(ctx, next)
	if before != nil {
		g.discard(before)
	}
	return err
}

// replace installs next, unless ctx has ended or the gateway is closed. It
// returns the plan that is not used any more.
func (g *Gateway) replace(ctx context.Context, next *plan) (unused *plan, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return next, ErrClosed
	case ctx.Err() != nil:
		return next, fmt.Errorf("load API definitions: %w", ctx.Err())
	}
	return g.install(next), nil
}

// Close stops answering (503), waits for the requests in flight and closes the
// plugins. When ctx ends first, its error is returned and plugins that are
// still in use are left open.
func (g *Gateway) Close(ctx context.Context) error {
	g.mu.Lock()
	if !g.closed {
		g.closed = true
		close(g.closing)
		g.reloads.close()
		last := g.plan
		g.plan = nil
		g.retire(g.current.Swap(nil), g.events.Configure(nil))
		if last != nil {
			g.discard(last)
		}
	}
	g.mu.Unlock()

	done := make(chan struct{})
	go func() {
		g.listening.Wait()
		g.reloads.ended.Wait()
		g.live.Wait()
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
		if s == nil || s.take() {
			return s
		}
	}
}
