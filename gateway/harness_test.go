package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/gateway"
	counting "github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/policy"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait of the tests.
const limit = 20 * time.Second

// hookFunc is plugin code: it changes the message in place.
type hookFunc func(ctx context.Context, obj *coprocesspb.Object) error

// driver is a coprocess.Driver over Go functions.
type driver struct {
	hooks map[string]hookFunc
	// onLoad, when set, runs before Load answers.
	onLoad func(ctx context.Context, code coprocess.Code) error
	// onEvent, when set, runs before an event is kept.
	onEvent func()

	mu     sync.Mutex
	loaded []coprocess.Code
	closed int
	events [][]byte
}

func (d *driver) Load(ctx context.Context, code coprocess.Code) (coprocess.Plugin, error) {
	if d.onLoad != nil {
		if err := d.onLoad(ctx, code); err != nil {
			return nil, err
		}
	}
	for _, name := range code.Hooks {
		if d.hooks[name] == nil {
			return nil, fmt.Errorf("hook %q: %w", name, coprocess.ErrHookNotFound)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loaded = append(d.loaded, code)
	return &plugin{driver: d, code: code}, nil
}

func (d *driver) counts() (loaded, closed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.loaded), d.closed
}

type plugin struct {
	driver *driver
	code   coprocess.Code
}

type codeKey struct{}

// directoryOf says which version of a bundle a hook runs in.
func directoryOf(ctx context.Context) string {
	code, _ := ctx.Value(codeKey{}).(coprocess.Code)
	return code.Dir
}

func (p *plugin) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	out := obj.CloneVT()
	ctx = context.WithValue(ctx, codeKey{}, p.code)
	if err := p.driver.hooks[obj.GetHookName()](ctx, out); err != nil {
		return nil, err
	}
	return out, nil
}

func (p *plugin) DispatchEvent(_ context.Context, event []byte) error {
	if p.driver.onEvent != nil {
		p.driver.onEvent()
	}
	p.driver.mu.Lock()
	defer p.driver.mu.Unlock()
	p.driver.events = append(p.driver.events, event)
	return nil
}

func (p *plugin) Close() error {
	p.driver.mu.Lock()
	defer p.driver.mu.Unlock()
	p.driver.closed++
	return nil
}

// bundles is a gateway.Bundles over manifests: the value is a
// custom_middleware object, or an error to return. "NAME stale" may hold an
// error, "NAME serial" true, and "NAME version" a text that tells versions apart.
type bundles map[string]any

func (b bundles) Fetch(_ context.Context, name string) (*bundle.Bundle, error) {
	switch v := b[name].(type) {
	case nil:
		return nil, fmt.Errorf("fetch bundle %q: %w", name, bundle.ErrNotFound)
	case error:
		return nil, v
	case string:
		m := &bundle.Manifest{FileList: []string{"middleware.py"}}
		if err := json.Unmarshal([]byte(v), &m.CustomMiddleware); err != nil {
			return nil, err
		}
		stale, _ := b[name+" stale"].(error)
		m.Krait.Serial, _ = b[name+" serial"].(bool)
		version, _ := b[name+" version"].(string)
		return &bundle.Bundle{Name: name, ID: bundle.ID(name), Dir: "/nowhere/" + name + version, Manifest: m, Stale: stale}, nil
	}
	return nil, errors.New("bad test bundle")
}

// recorder is a gateway.Events that keeps what is fired.
type recorder struct {
	mu       sync.Mutex
	fired    []event.Event
	handlers map[string]event.API
}

func (r *recorder) Fire(e event.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fired = append(r.fired, e)
}

func (r *recorder) Configure(h map[string]event.API) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handlers = h
	handled := make(chan struct{})
	close(handled)
	return handled
}

func (r *recorder) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := []string{}
	for _, e := range r.fired {
		names = append(names, e.Name)
	}
	return names
}

// logs is a log that tests can read while it is written.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// setup describes a gateway under test; zero values are sensible.
type setup struct {
	config   func(*config.Config)
	apis     []apidef.Loaded
	hooks    map[string]hookFunc
	onLoad   func(ctx context.Context, code coprocess.Code) error
	bundles  bundles
	fetcher  gateway.Bundles // in place of bundles
	source   gateway.Source
	signals  store.Signals
	sessions gateway.Sessions
	limits   counting.Counter
	policies *policy.Set
	apps     string // directory of definitions
	checks   []gateway.Check
	events   gateway.Events
	drain    time.Duration
	loadWait time.Duration
	noDriver bool
	budget   int64
	bodyIdle time.Duration
}

// fixture is a running gateway.
type fixture struct {
	*gateway.Gateway
	t      testing.TB
	url    string
	client *http.Client
	driver *driver
	store  store.Store
	events *recorder
	logs   *logs
}

func newGateway(t testing.TB, s setup) *fixture {
	t.Helper()
	f := &fixture{
		t: t, driver: &driver{hooks: s.hooks, onLoad: s.onLoad}, events: &recorder{}, logs: &logs{},
	}
	mem, err := memory.New(memory.Options{})
	require.NoError(t, err)
	f.store = mem
	t.Cleanup(func() { require.NoError(t, mem.Close()) })
	conf := config.Default()
	conf.Secret = "topsecret"
	if s.config != nil {
		s.config(conf)
	}
	if s.sessions == nil {
		s.sessions = session.NewStore(mem)
	}
	if s.limits == nil {
		counts, err := counting.NewMemory()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, counts.Close()) })
		s.limits = counts
	}
	var events gateway.Events = f.events
	if s.events != nil {
		events = s.events
	}
	drivers := map[string]coprocess.Driver{"python": f.driver, "grpc": f.driver}
	if s.noDriver {
		drivers = nil
	}
	var fetcher gateway.Bundles = s.bundles
	if s.fetcher != nil {
		fetcher = s.fetcher
	}
	var definitions *apidef.Dir
	if s.apps != "" {
		definitions = apidef.NewDir(s.apps)
	}
	f.Gateway, err = gateway.New(context.Background(), gateway.Config{
		Config: conf, APIs: s.apis, Definitions: definitions, Drivers: drivers, Bundles: fetcher, Source: s.source, Signals: s.signals, Store: mem,
		Sessions: s.sessions, Limits: s.limits, Policies: s.policies, Events: events, Checks: s.checks, Version: "v1.2.3", Drain: s.drain, LoadWait: s.loadWait, BodyBudget: s.budget, BodyIdle: s.bodyIdle,
		Logger: slog.New(slog.NewTextHandler(f.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		require.NoError(t, f.Close(ctx))
	})
	return f
}

// start serves the gateway with httptest.
func start(t testing.TB, s setup) *fixture {
	t.Helper()
	f := newGateway(t, s)
	server := httptest.NewServer(f.Handler())
	f.url = server.URL
	transport := &http.Transport{}
	f.client = &http.Client{
		Transport: transport, Timeout: limit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return f
}

// answer is a response that was read.
type answer struct {
	code   int
	header http.Header
	body   string
}

func (f *fixture) do(method, path, body string, header ...string) answer {
	f.t.Helper()
	got, err := f.send(method, path, body, header...)
	require.NoError(f.t, err)
	return got
}

// try is get for other goroutines than the test's.
func (f *fixture) try(path string, header ...string) (answer, error) {
	return f.send(http.MethodGet, path, "", header...)
}

func (f *fixture) send(method, path, body string, header ...string) (answer, error) {
	r, err := http.NewRequest(method, f.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
			continue
		}
		r.Header.Add(header[i], header[i+1])
	}
	resp, err := f.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(data)}, err
}

func (f *fixture) get(path string, header ...string) answer {
	f.t.Helper()
	return f.do(http.MethodGet, path, "", header...)
}

// definition is an API definition in the classic form; more overrides members
// by dotted path.
func definition(t testing.TB, id, listenPath, target string, more map[string]any) apidef.Loaded {
	t.Helper()
	doc := map[string]any{
		"api_id": id, "name": "API " + id, "org_id": "org", "active": true, "use_keyless": true,
		"version_data": map[string]any{"not_versioned": true},
		"proxy": map[string]any{
			"listen_path": listenPath, "target_url": target, "strip_listen_path": true,
		},
	}
	for path, value := range more {
		in := doc
		for name, rest, more := strings.Cut(path, "."); ; name, rest, more = strings.Cut(rest, ".") {
			if !more {
				in[name] = value
				break
			}
			next, _ := in[name].(map[string]any)
			if next == nil {
				next = map[string]any{}
				in[name] = next
			}
			in = next
		}
	}
	data, err := json.Marshal(doc)
	require.NoError(t, err)
	api, warnings, err := apidef.Parse(id+".json", data)
	require.NoError(t, err)
	return apidef.Loaded{File: id + ".json", API: api, Warnings: warnings}
}

// withHooks are the members of a definition that takes its hooks from a
// bundle.
func withHooks(more ...map[string]any) map[string]any {
	out := map[string]any{"custom_middleware_bundle": "b.zip"}
	for _, m := range more {
		maps.Copy(out, m)
	}
	return out
}

// custom are the members of a definition with auth_check.
func custom() map[string]any {
	return map[string]any{"use_keyless": false, "enable_coprocess_auth": true}
}

// received is what an upstream got.
type received struct {
	method, uri, host, body string
	header                  http.Header
}

// upstream answers "ok" and records the last request.
type upstream struct {
	*httptest.Server
	mu   sync.Mutex
	last received
	hits int
}

func newUpstream(t *testing.T) *upstream {
	t.Helper()
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		u.mu.Lock()
		u.last = received{r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone()}
		u.hits++
		u.mu.Unlock()
		w.Header().Set("X-Upstream", "yes")
		_, _ = io.WriteString(w, "ok")
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) got() received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.last
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.hits
}
