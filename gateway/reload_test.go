package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/gateway"
	"github.com/krait-gateway/krait/policy"
)

// origin is a gateway.Source and a gateway.Bundles that tests change.
type origin struct {
	mu       sync.Mutex
	apis     []apidef.Loaded
	err      error
	reads    int
	onRead   func()
	bundles  map[string]version
	policies *policy.Set
}

// version is what a bundle is at the moment.
type version struct {
	name  string // tells versions apart
	err   error
	stale error
	hooks string // custom_middleware; showVersion when empty
}

// showVersion is a bundle whose hook answers with the version that it runs in.
const showVersion = `{"driver": "python", "pre": [{"name": "Version"}]}`

func (o *origin) Definitions(context.Context) ([]apidef.Loaded, error) {
	o.mu.Lock()
	apis, err, onRead := o.apis, o.err, o.onRead
	o.reads++
	o.mu.Unlock()
	if onRead != nil {
		onRead()
	}
	return apis, err
}

func (o *origin) Policies(context.Context) (*policy.Set, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.policies, o.policies.Unread()
}

func (o *origin) Fetch(_ context.Context, name string) (*bundle.Bundle, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	v, ok := o.bundles[name]
	if !ok {
		return nil, fmt.Errorf("fetch bundle %q: %w", name, bundle.ErrNotFound)
	}
	if v.err != nil {
		return nil, v.err
	}
	if v.hooks == "" {
		v.hooks = showVersion
	}
	m := &bundle.Manifest{FileList: []string{"middleware.py"}}
	if err := json.Unmarshal([]byte(v.hooks), &m.CustomMiddleware); err != nil {
		return nil, err
	}
	return &bundle.Bundle{Name: name, ID: bundle.ID(name), Dir: v.name, Manifest: m, Stale: v.stale}, nil
}

// set changes the definitions and the version of b.zip.
func (o *origin) set(v version, apis ...apidef.Loaded) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bundles = map[string]version{"b.zip": v}
	o.apis, o.err = apis, nil
}

// reloading is a gateway over an origin.
type reloading struct {
	*fixture
	origin *origin
}

func startReloading(t testing.TB, s setup, v version, apis ...apidef.Loaded) *reloading {
	t.Helper()
	o := &origin{}
	o.set(v, apis...)
	s.source, s.fetcher = o, o
	if s.hooks == nil {
		s.hooks = map[string]hookFunc{}
	}
	s.hooks["Version"] = func(ctx context.Context, obj *coprocesspb.Object) error {
		obj.Request.ReturnOverrides = &coprocesspb.ReturnOverrides{ResponseCode: 200, ResponseBody: directoryOf(ctx)}
		return nil
	}
	return &reloading{start(t, s), o}
}

// reload changes the origin and reloads.
func (f *reloading) reload(v version, apis ...apidef.Loaded) {
	f.t.Helper()
	f.origin.set(v, apis...)
	require.NoError(f.t, f.Reload(f.t.Context(), "test"))
}

// awaitClosed waits until so much plugin code was freed.
func (f *reloading) awaitClosed(want int) {
	f.t.Helper()
	require.Eventually(f.t, func() bool { _, closed := f.driver.counts(); return closed == want }, limit, time.Millisecond)
}

// refuseBroken makes plugin code of the version "broken" fail to load.
func refuseBroken(_ context.Context, code coprocess.Code) error {
	if code.Dir == "broken" {
		return errors.New("SyntaxError: line 3")
	}
	return nil
}

func TestReloadTakesWhatChanged(t *testing.T) {
	up := newUpstream(t)
	a := definition(t, "a", "/a/", up.URL, withHooks())
	b := definition(t, "b", "/b/", up.URL, nil)
	f := startReloading(t, setup{}, version{name: "v1"}, a, b)
	require.Equal(t, "v1", f.get("/a/").body)

	f.reload(version{name: "v2"}, a, b)
	require.Equal(t, "v2", f.get("/a/").body, "a changed bundle")
	f.awaitClosed(1)

	other := newUpstream(t)
	f.reload(version{name: "v2"}, a, definition(t, "b", "/b/", other.URL, nil))
	require.Equal(t, "ok", f.get("/b/").body, "a changed definition")
	require.Equal(t, 1, other.count())

	f.reload(version{name: "v2"}, a, definition(t, "b", "/moved/", up.URL, nil), definition(t, "c", "/c/", up.URL, nil))
	require.Equal(t, 404, f.get("/b/").code, "a listen path that is gone")
	require.Equal(t, 200, f.get("/moved/").code)
	require.Equal(t, 200, f.get("/c/").code, "a new API")

	f.reload(version{name: "v2"}, definition(t, "c", "/c/", up.URL, map[string]any{"active": false}))
	require.Equal(t, 404, f.get("/a/").code, "a deleted API")
	require.Equal(t, 404, f.get("/c/").code, "an inactive API")
	f.awaitClosed(2)
	loaded, _ := f.driver.counts()
	require.Equal(t, 2, loaded)
}

func TestReloadKeepsWhatDidNotChange(t *testing.T) {
	var connections atomic.Int64
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	up.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	up.Start()
	t.Cleanup(up.Close)
	hooks := map[string]hookFunc{"Nothing": func(context.Context, *coprocesspb.Object) error { return nil }}
	nothing := func(name string) version {
		return version{name: name, hooks: `{"driver": "python", "pre": [{"name": "Nothing"}]}`}
	}
	apis := func(data string) []apidef.Loaded {
		return []apidef.Loaded{
			definition(t, "same", "/same/", up.URL, withHooks()),
			definition(t, "changed", "/changed/", up.URL, withHooks(map[string]any{"config_data": map[string]any{"a": data}})),
		}
	}
	f := startReloading(t, setup{hooks: hooks}, nothing("v1"), apis("0")...)
	for i := range 10 {
		require.Equal(t, 200, f.get("/same/").code)
		require.Equal(t, 200, f.get("/changed/").code)
		f.reload(nothing("v1"), apis(fmt.Sprint(i))...)
	}
	loaded, closed := f.driver.counts()
	require.Equal(t, [2]int{1, 0}, [2]int{loaded, closed}, "one plugin for all of them, all the time")
	require.EqualValues(t, 2, connections.Load(), "one connection for each API")
	require.Equal(t, 2+9, strings.Count(f.logs.String(), `msg="API is served"`), "what is kept is not announced")

	f.reload(nothing("v2"), apis("0")...)
	require.Equal(t, 200, f.get("/same/").code)
	require.EqualValues(t, 2, connections.Load(), "connections outlive the code")
}

func TestReloadThatFailsLeavesTheOldVersionInService(t *testing.T) {
	up := newUpstream(t)
	a := definition(t, "a", "/a/", up.URL, withHooks())
	for name, c := range map[string]struct {
		next   version
		api    apidef.Loaded
		reason string
	}{
		"the bundle cannot be fetched": {version{err: errors.New("server is away")}, a, "server is away"},
		"the code does not load":       {version{name: "broken"}, a, "SyntaxError"},
		"a hook is not defined":        {version{name: "v2", hooks: `{"driver": "python", "pre": [{"name": "Nope"}]}`}, a, `"Nope"`},
		"the driver is another one":    {version{name: "v2", hooks: `{"driver": "lua", "pre": [{"name": "Version"}]}`}, a, `"lua"`},
		"the manifest makes no sense":  {version{name: "v2", hooks: `{"driver": "python", "pre"`}, a, "unexpected end"},
		"the definition changed as well": {
			version{name: "broken"}, definition(t, "a", "/elsewhere/", "http://elsewhere.invalid", withHooks()), "SyntaxError",
		},
		"the bundle has another name": {
			version{name: "v2"}, definition(t, "a", "/a/", up.URL, map[string]any{"custom_middleware_bundle": "missing.zip"}), "missing.zip",
		},
		"half a file":        {version{name: "v2"}, apidef.Loaded{File: "a.json", Err: errors.New("a.json:1:11: not valid JSON")}, "not valid JSON"},
		"a field of no type": {version{name: "v2"}, faulty(t, a, nil), "target_url"},
	} {
		t.Run(name, func(t *testing.T) {
			f := startReloading(t, setup{onLoad: refuseBroken}, version{name: "v1"}, a)
			for range 2 { // and again, with the same outcome
				f.reload(c.next, c.api)
				require.Equal(t, "v1", f.get("/a/").body)
				require.Len(t, f.APIs(), 1)
				status := f.APIs()[0]
				require.Equal(t, gateway.APIActive, status.Status)
				require.Contains(t, status.Reason, c.reason)
				require.Equal(t, "/a/", status.ListenPath)
			}
			require.Contains(t, f.logs.String(), "the version before stays in service")
			require.NotContains(t, f.logs.String(), "is answered with 503")

			f.reload(version{name: "v3"}, a)
			require.Equal(t, "v3", f.get("/a/").body)
			require.Empty(t, f.APIs()[0].Reason)
			f.awaitClosed(1)
			f.reload(version{name: "v3"})
			require.Equal(t, 404, f.get("/a/").code)
			f.awaitClosed(2)
		})
	}
}

func TestOldVersionServesUntilTheNewOneIsReady(t *testing.T) {
	up := newUpstream(t)
	release := make(chan struct{})
	var slow atomic.Int64
	f := startReloading(t, setup{loadWait: 50 * time.Millisecond, onLoad: func(_ context.Context, code coprocess.Code) error {
		if code.Dir == "slow" {
			slow.Add(1)
			<-release
		}
		return nil
	}}, version{name: "v1"}, definition(t, "a", "/a/", up.URL, withHooks()))
	moved := definition(t, "a", "/moved/", up.URL, withHooks())
	f.reload(version{name: "slow"}, moved)
	require.Equal(t, "v1", f.get("/a/").body)
	require.Equal(t, 404, f.get("/moved/").code)
	require.Equal(t, gateway.APIActive, f.APIs()[0].Status)
	require.Contains(t, f.APIs()[0].Reason, "until the newest has loaded")

	for range 3 { // an import that hangs is not begun again
		f.reload(version{name: "slow"}, moved, definition(t, "b", "/b/", up.URL, nil))
	}
	require.Equal(t, 200, f.get("/b/").code, "later reloads take effect")
	require.Equal(t, "v1", f.get("/a/").body)
	require.EqualValues(t, 1, slow.Load())

	close(release)
	require.Eventually(t, func() bool { return f.get("/moved/").code == 200 }, limit, time.Millisecond)
	require.Equal(t, "slow", f.get("/moved/").body)
	require.Equal(t, 404, f.get("/a/").code)
	require.Empty(t, f.APIs()[0].Reason)
	f.awaitClosed(1)
}

func TestBackToTheVersionInServiceWhileANewOneHangs(t *testing.T) {
	up := newUpstream(t)
	hung := make(chan struct{})
	f := startReloading(t, setup{loadWait: 50 * time.Millisecond, onLoad: func(ctx context.Context, code coprocess.Code) error {
		if code.Dir == "hangs" {
			<-ctx.Done() // as the bridge, which leaves the import to itself
			close(hung)
			return ctx.Err()
		}
		return nil
	}}, version{name: "v1"}, definition(t, "a", "/a/", up.URL, withHooks()))
	f.reload(version{name: "hangs"}, definition(t, "a", "/a/", up.URL, withHooks()))
	require.Equal(t, "v1", f.get("/a/").body)
	f.reload(version{name: "v1"}, definition(t, "a", "/a/", up.URL, withHooks()))
	<-hung // nobody waits for it any more
	require.Equal(t, "v1", f.get("/a/").body)
	require.Empty(t, f.APIs()[0].Reason)
	loaded, closed := f.driver.counts()
	require.Equal(t, [2]int{1, 0}, [2]int{loaded, closed}, "the code in service was kept")
}

func TestListenPathOfAVersionThatStayedGoesToANewAPI(t *testing.T) {
	up := newUpstream(t)
	f := startReloading(t, setup{onLoad: refuseBroken}, version{name: "v1"}, definition(t, "a", "/a/", up.URL, withHooks()))
	f.reload(version{name: "broken"}, definition(t, "a", "/other/", up.URL, withHooks()), definition(t, "new", "/a/", up.URL, nil))
	require.Equal(t, "ok", f.get("/a/").body, "the API that asks for it now")
	require.Equal(t, gateway.APIRefused, f.APIs()[0].Status)
	require.Contains(t, f.APIs()[0].Reason, `also the listen path of API "new"`)
	f.reload(version{name: "v2"}, definition(t, "a", "/other/", up.URL, withHooks()), definition(t, "new", "/a/", up.URL, nil))
	require.Equal(t, "v2", f.get("/other/").body)
}

func TestRequestsInFlightEndOnTheirCode(t *testing.T) {
	up := newUpstream(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	hooks := map[string]hookFunc{"Slow": func(ctx context.Context, obj *coprocesspb.Object) error {
		close(entered)
		<-leave
		obj.Request.ReturnOverrides = &coprocesspb.ReturnOverrides{ResponseCode: 200, ResponseBody: "slow " + directoryOf(ctx)}
		return nil
	}}
	slow := version{name: "v1", hooks: `{"driver": "python", "pre": [{"name": "Slow"}]}`}
	a := definition(t, "a", "/a/", up.URL, withHooks())
	f := startReloading(t, setup{hooks: hooks}, slow, a)
	body := make(chan string, 1)
	go func() {
		got, err := f.try("/a/")
		if err != nil {
			got.body = err.Error()
		}
		body <- got.body
	}()
	<-entered
	for i := range 5 {
		f.reload(version{name: fmt.Sprint("v2.", i)}, a)
	}
	f.reload(version{name: "v3"}, a)
	require.Equal(t, "v3", f.get("/a/").body)
	f.awaitClosed(5)
	close(leave)
	require.Equal(t, "slow v1", <-body)
	f.awaitClosed(6)
}

func TestEventsOfOldCodeAreHandledByIt(t *testing.T) {
	up := newUpstream(t)
	bus := event.NewBus(event.Config{Workers: 1})
	t.Cleanup(func() { require.NoError(t, bus.Close(context.Background())) })
	handling, leave := make(chan struct{}), make(chan struct{})
	handler := map[string]any{"event_handlers.events": map[string]any{
		"Any": []any{map[string]any{"handler_name": "cp_dynamic_handler", "handler_meta": map[string]any{"name": "OnAny"}}},
	}}
	a := definition(t, "a", "/a/", up.URL, withHooks(handler))
	f := startReloading(t, setup{events: bus}, version{name: "v1"}, a)
	f.driver.onEvent = func() {
		handling <- struct{}{}
		<-leave
	}
	bus.Fire(event.Event{Name: "Any", APIID: "a"})
	bus.Fire(event.Event{Name: "Any", APIID: "a"}) // waits in the queue
	<-handling
	f.reload(version{name: "v2"}, a)
	require.Equal(t, "v2", f.get("/a/").body)
	_, closed := f.driver.counts()
	require.Zero(t, closed)
	leave <- struct{}{}
	<-handling
	_, closed = f.driver.counts()
	require.Zero(t, closed, "the second event still runs on it")
	leave <- struct{}{}
	f.awaitClosed(1)
	require.Zero(t, bus.Failed())
	require.Zero(t, bus.Dropped())
}

func TestReloadsComeOneAtATimeAndCoalesce(t *testing.T) {
	f := startReloading(t, setup{}, version{name: "v1"})
	reading, leave := make(chan struct{}), make(chan struct{})
	f.origin.mu.Lock()
	f.origin.onRead = func() {
		reading <- struct{}{}
		<-leave
	}
	before := f.origin.reads
	f.origin.mu.Unlock()

	require.NoError(t, f.RequestReload("first"))
	<-reading
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		require.NoError(t, f.RequestReload("more"))
		require.ErrorIs(t, f.Reload(gone, "a client that hangs up"), context.Canceled)
	}
	leave <- struct{}{}
	<-reading // the one for all of those
	ended := make(chan error, 1)
	go func() { ended <- f.Reload(context.Background(), "waits") }()
	leave <- struct{}{}
	// The last one may have asked before or after that one ended.
	<-reading
	select {
	case err := <-ended:
		require.Fail(t, "it did not wait for a reload that began after it asked", "%v", err)
	default:
	}
	leave <- struct{}{}
	require.NoError(t, <-ended)
	f.origin.mu.Lock()
	defer f.origin.mu.Unlock()
	require.Equal(t, 3, f.origin.reads-before)
	f.origin.onRead = nil
}

func TestReloadWithoutDefinitionsChangesNothing(t *testing.T) {
	up := newUpstream(t)
	f := startReloading(t, setup{}, version{name: "v1"}, definition(t, "a", "/a/", up.URL, withHooks()))
	f.origin.mu.Lock()
	f.origin.err = errors.New("app_path is away")
	f.origin.mu.Unlock()
	require.ErrorContains(t, f.Reload(t.Context(), "test"), "app_path is away")
	require.Equal(t, "v1", f.get("/a/").body)
	require.Contains(t, f.logs.String(), "reload failed, everything stays as it is")

	f.origin.mu.Lock()
	f.origin.onRead = func() { panic("out of order") }
	f.origin.mu.Unlock()
	require.Error(t, f.Reload(t.Context(), "test"))
	require.Equal(t, "v1", f.get("/a/").body, "nor does a panic")
	f.origin.mu.Lock()
	f.origin.onRead = nil
	f.origin.mu.Unlock()
	f.reload(version{name: "v2"}, definition(t, "a", "/a/", up.URL, withHooks()))
	require.Equal(t, "v2", f.get("/a/").body)
}

func TestReloadEndpoint(t *testing.T) {
	up := newUpstream(t)
	a := definition(t, "a", "/a/", up.URL, withHooks())
	f := startReloading(t, setup{}, version{name: "v1"}, a)
	secret := []string{"X-Tyk-Authorization", "topsecret"}
	require.Equal(t, 403, f.get("/tyk/reload").code, "without the secret")

	f.origin.set(version{name: "v2"}, a)
	got := f.get("/tyk/reload/?block=true", secret...)
	require.Equal(t, 200, got.code)
	require.JSONEq(t, `{"status": "ok", "message": ""}`, got.body)
	require.Equal(t, "v2", f.get("/a/").body)

	f.origin.set(version{name: "v3"}, a)
	got = f.get("/tyk/reload", secret...)
	require.Equal(t, 200, got.code)
	require.JSONEq(t, `{"status": "ok", "message": ""}`, got.body)
	require.Eventually(t, func() bool { return f.get("/a/").body == "v3" }, limit, time.Millisecond)

	f.origin.mu.Lock()
	f.origin.err = errors.New("app_path is away")
	f.origin.mu.Unlock()
	got = f.get("/tyk/reload?block=true", secret...)
	require.Equal(t, 500, got.code)
	require.Contains(t, got.body, "app_path is away")
	require.Equal(t, 405, f.do("POST", "/tyk/reload", "", secret...).code)

	without := start(t, setup{})
	require.Equal(t, 501, without.get("/tyk/reload", secret...).code)
}

func TestCloseEndsAReload(t *testing.T) {
	up := newUpstream(t)
	f := startReloading(t, setup{onLoad: func(ctx context.Context, code coprocess.Code) error {
		if code.Dir == "hangs" {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}}, version{name: "v1"}, definition(t, "a", "/a/", up.URL, withHooks()))
	f.origin.set(version{name: "hangs"}, definition(t, "a", "/a/", up.URL, withHooks()))
	ended := make(chan error, 1)
	go func() { ended <- f.Reload(context.Background(), "test") }()
	require.Eventually(t, func() bool { f.origin.mu.Lock(); defer f.origin.mu.Unlock(); return f.origin.reads == 2 }, limit, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	require.NoError(t, f.Close(ctx))
	require.ErrorIs(t, <-ended, gateway.ErrClosed)
	require.ErrorIs(t, f.RequestReload("late"), gateway.ErrClosed)
	require.Equal(t, 503, f.get("/a/").code)
}

func TestBundlesOfManyAPIsAreFetchedOncePerReload(t *testing.T) {
	up := newUpstream(t)
	var apis []apidef.Loaded
	for i := range 1000 {
		apis = append(apis, definition(t, fmt.Sprint("api", i), fmt.Sprintf("/api%d/", i), up.URL, withHooks()))
	}
	f := startReloading(t, setup{}, version{name: "v1"}, apis...)
	for i := range 3 {
		f.reload(version{name: "v1", stale: fmt.Errorf("away %d", i)}, apis...)
	}
	require.Equal(t, "v1", f.get("/api999/").body)
	require.Contains(t, f.APIs()[999].Reason, "away 2", "the reason is that of the last reload")
	loaded, _ := f.driver.counts()
	require.Equal(t, 1, loaded)
	f.reload(version{name: "v2"}, apis...)
	require.Equal(t, "v2", f.get("/api0/").body)
	f.awaitClosed(1)
	loaded, _ = f.driver.counts()
	require.Equal(t, 2, loaded)
}
