package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/gateway"
)

const preOnly = `{"driver": "python", "pre": [{"name": "Pre1"}]}`

func TestBrokenAPIsFailClosedAlone(t *testing.T) {
	up := newUpstream(t)
	for _, c := range []struct {
		name    string
		more    map[string]any
		bundles bundles
		onLoad  func(context.Context, coprocess.Code) error
		noDrv   bool
		reason  string
	}{
		{name: "bundle missing", reason: "b.zip"},
		{name: "bundle unverifiable", bundles: bundles{"b.zip": errors.New("signature does not match")}, reason: "signature does not match"},
		{name: "driver not loaded", bundles: bundles{"b.zip": preOnly}, noDrv: true, reason: `driver "python" is not loaded`},
		{name: "driver unknown", bundles: bundles{"b.zip": `{"driver": "lua", "pre": [{"name": "Pre1"}]}`}, reason: `driver "lua" is not loaded`},
		{name: "hook not defined", bundles: bundles{"b.zip": `{"driver": "python", "pre": [{"name": "Nope"}]}`}, reason: `"Nope"`},
		{
			name: "plugin code broken", bundles: bundles{"b.zip": preOnly}, reason: "SyntaxError",
			onLoad: func(context.Context, coprocess.Code) error { return errors.New("SyntaxError: line 3") },
		},
		{
			name: "driver panics", bundles: bundles{"b.zip": preOnly}, reason: "internal fault",
			onLoad: func(context.Context, coprocess.Code) error { panic("out of order") },
		},
		{name: "no auth_check", more: custom(), bundles: bundles{"b.zip": preOnly}, reason: "no auth_check"},
		{
			name: "auth_check disabled", more: custom(), reason: "no auth_check",
			bundles: bundles{"b.zip": `{"driver": "python", "auth_check": {"name": "Pre1", "disabled": true}}`},
		},
		{
			name: "two auth_checks", more: map[string]any{"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "b.zip,c.zip"},
			bundles: bundles{"b.zip": `{"driver": "python", "auth_check": {"name": "Pre1"}}`, "c.zip": `{"driver": "python", "auth_check": {"name": "Pre1"}}`},
			reason:  "auth_check",
		},
		{
			name: "bundles of two drivers", more: map[string]any{"custom_middleware_bundle": "b.zip,c.zip"},
			bundles: bundles{"b.zip": preOnly, "c.zip": `{"driver": "grpc", "pre": [{"name": "Pre1"}]}`}, reason: "driver",
		},
		{name: "Python hooks without a bundle", more: map[string]any{"custom_middleware_bundle": "", "custom_middleware": map[string]any{
			"driver": "python", "pre": []any{map[string]any{"name": "Pre1"}},
		}}, reason: "custom_middleware_bundle"},
		{name: "manifest broken", bundles: bundles{"b.zip": "{"}, reason: "unexpected end"},
		{
			name: "event handler without a name", more: map[string]any{"event_handlers.events": map[string]any{
				"AuthFailure": []any{map[string]any{"handler_name": "cp_dynamic_handler", "handler_meta": map[string]any{}}},
			}},
			bundles: bundles{"b.zip": preOnly}, reason: "event_handlers",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, setup{
				bundles: c.bundles, onLoad: c.onLoad, noDriver: c.noDrv,
				hooks: map[string]hookFunc{"Pre1": (&trail{}).hook(nil)},
				apis: []apidef.Loaded{
					definition(t, "broken", "/broken/", up.URL, withHooks(c.more)),
					definition(t, "good", "/good/", up.URL, nil),
				},
			})
			got := f.get("/broken/x")
			require.Equal(t, 503, got.code)
			require.JSONEq(t, `{"error": "This API is not available"}`, got.body)
			require.Equal(t, 200, f.get("/good/x").code)
			status := f.APIs()[0]
			require.Equal(t, gateway.APIRefused, status.Status)
			require.Contains(t, status.Reason, c.reason)
			require.Contains(t, f.logs.String(), "level=ERROR")
			require.Equal(t, gateway.APIActive, f.APIs()[1].Status)
		})
	}
}

func TestDefinitionsThatCannotBeRead(t *testing.T) {
	up := newUpstream(t)
	bad := errors.New("bad.json: proxy.target_url: is missing")
	partial := func(path string, active bool) apidef.Loaded {
		return apidef.Loaded{File: "bad.json", Err: bad, Partial: &apidef.Partial{ID: "bad", ListenPath: path, Active: active}}
	}
	f := start(t, setup{apis: []apidef.Loaded{
		partial("/bad/", true), partial("/inactive/", false), partial("/good/", true),
		{File: "unreadable.json", Err: errors.New("unreadable.json: line 1: no JSON")},
		definition(t, "good", "/good/", up.URL, nil),
		definition(t, "good", "/again/", up.URL, nil),
	}})
	require.Equal(t, 503, f.get("/bad/x").code)
	require.Equal(t, 404, f.get("/inactive/x").code)
	require.Equal(t, 200, f.get("/good/x").code, "a usable API keeps its listen path")
	require.Equal(t, 503, f.get("/again/x").code, "a second API with the same id is refused")
	require.Equal(t, 503, f.get("/bad").code)
	log := f.logs.String()
	require.Contains(t, log, "target_url")
	require.Contains(t, log, "unreadable.json")
}

func TestSlowAPIDelaysNobody(t *testing.T) {
	up := newUpstream(t)
	release := make(chan struct{})
	f := start(t, setup{
		loadWait: 20 * time.Millisecond,
		bundles:  bundles{"b.zip": preOnly, "slow.zip": preOnly},
		hooks:    map[string]hookFunc{"Pre1": (&trail{}).hook(nil)},
		onLoad: func(_ context.Context, code coprocess.Code) error {
			if code.Name == "slow.zip" {
				<-release
			}
			return nil
		},
		apis: []apidef.Loaded{
			definition(t, "slow", "/slow/", up.URL, withHooks(map[string]any{
				"custom_middleware_bundle": "slow.zip",
				"event_handlers": map[string]any{"events": map[string]any{
					"Any": []any{map[string]any{"handler_name": "eh_log_handler", "handler_meta": map[string]any{}}},
				}},
			})),
			definition(t, "fast", "/fast/", up.URL, withHooks()),
		},
	})
	require.Equal(t, 200, f.get("/fast/").code)
	got := f.get("/slow/")
	require.Equal(t, 503, got.code)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.Equal(t, gateway.APILoading, f.APIs()[0].Status)
	close(release)
	require.Eventually(t, func() bool { return f.get("/slow/").code == 200 }, limit, time.Millisecond)
	require.Eventually(t, func() bool {
		f.events.mu.Lock()
		defer f.events.mu.Unlock()
		return len(f.events.handlers["slow"].Handlers["Any"]) == 1
	}, limit, time.Millisecond, "its event handlers are in service too")
}

func TestManyRequestsInParallel(t *testing.T) {
	up := newUpstream(t)
	hooks := hookSet(&trail{}, func(_ context.Context, obj *coprocesspb.Object) error {
		id := obj.Request.Headers["X-Id"]
		obj.Session = &coprocesspb.SessionState{}
		obj.Metadata = map[string]string{"token": "tok-" + id}
		return nil
	})
	hooks["Response1"] = func(_ context.Context, obj *coprocesspb.Object) error {
		obj.Response.RawBody = []byte(obj.Session.Metadata["token"] + " " + string(obj.Request.RawBody))
		return nil
	}
	f := start(t, setup{
		hooks: hooks, bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))},
	})
	var wg sync.WaitGroup
	faults := make(chan string, 100)
	for i := range 100 {
		wg.Go(func() {
			got := f.do("POST", "/a/", fmt.Sprint("body-", i), "X-Id", fmt.Sprint(i))
			if want := fmt.Sprintf("tok-%d body-%d", i, i); got.code != 200 || got.body != want {
				faults <- fmt.Sprintf("%d %s, want %s", got.code, got.body, want)
			}
		})
	}
	wg.Wait()
	close(faults)
	for fault := range faults {
		t.Error(fault)
	}
}

func TestReloadUnderLoad(t *testing.T) {
	up := newUpstream(t)
	apis := []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())}
	served := bundles{"b.zip": preOnly}
	f := start(t, setup{hooks: map[string]hookFunc{"Pre1": (&trail{}).hook(nil)}, bundles: served, apis: apis})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := f.get("/a/"); got.code != 200 {
					t.Errorf("status %d during a reload: %s", got.code, got.body)
					return
				}
			}
		})
	}
	for i := range 20 {
		served["b.zip version"] = fmt.Sprint(i)
		require.NoError(t, f.Load(t.Context(), apis))
	}
	close(stop)
	wg.Wait()
	require.NoError(t, f.Load(t.Context(), nil))
	require.Equal(t, 404, f.get("/a/").code)
	require.Eventually(t, func() bool { loaded, closed := f.driver.counts(); return loaded == 21 && closed == 21 }, limit, limit/1000,
		"plugins of replaced snapshots are closed")
}

func TestPluginIsClosedAfterItsLastRequest(t *testing.T) {
	up := newUpstream(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	hooks := map[string]hookFunc{"Pre1": func(context.Context, *coprocesspb.Object) error {
		close(entered)
		<-leave
		return nil
	}}
	f := start(t, setup{
		hooks: hooks, bundles: bundles{"b.zip": preOnly},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())},
	})
	code := make(chan int, 1)
	go func() { code <- f.get("/a/").code }()
	<-entered
	require.NoError(t, f.Load(t.Context(), nil))
	_, closed := f.driver.counts()
	require.Zero(t, closed)
	close(leave)
	require.Equal(t, 200, <-code)
	require.Eventually(t, func() bool { _, closed := f.driver.counts(); return closed == 1 }, limit, limit/1000)
}

func TestAPIsWithOneBundleShareItsCode(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		hooks: map[string]hookFunc{"Pre1": (&trail{}).hook(nil)}, bundles: bundles{"b.zip": preOnly},
		apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, withHooks()), definition(t, "b", "/b/", up.URL, withHooks()),
		},
	})
	require.Equal(t, 200, f.get("/a/").code)
	require.Equal(t, 200, f.get("/b/").code)
	loaded, _ := f.driver.counts()
	require.Equal(t, 1, loaded)
}

func TestSeveralBundles(t *testing.T) {
	up := newUpstream(t)
	tr := &trail{}
	hooks := hookSet(tr, accept("tok", nil))
	f := start(t, setup{hooks: hooks, bundles: bundles{
		"one.zip": `{"driver": "python", "pre": [{"name": "Pre1"}]}`,
		"two.zip": `{"driver": "python", "pre": [{"name": "Pre2"}], "auth_check": {"name": "Auth"}}`,
	}, apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom(), map[string]any{"custom_middleware_bundle": "one.zip, two.zip"}))}})
	require.Equal(t, 200, f.get("/a/").code)
	require.Equal(t, "Pre1:Pre Pre2:Pre Auth:CustomKeyCheck", strings.Join(tr.names, " "))
}

func TestPanicInAHandler(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		hooks:   map[string]hookFunc{"Pre1": func(context.Context, *coprocesspb.Object) error { panic("bug") }},
		bundles: bundles{"b.zip": preOnly}, apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())},
	})
	got := f.get("/a/", "X-Request-Id", "r1")
	require.Equal(t, 500, got.code)
	require.Equal(t, "r1", got.header.Get("X-Request-Id"))
	require.Contains(t, f.logs.String(), "panic while serving a request")
	require.Equal(t, 200, f.get("/hello").code)
}

func TestAPIThatExpires(t *testing.T) {
	up := newUpstream(t)
	expired := definition(t, "a", "/a/", up.URL, nil)
	expired.API.ExpiresAt = time.Now().Add(-time.Second)
	later := definition(t, "b", "/b/", up.URL, nil)
	later.API.ExpiresAt = time.Now().Add(time.Hour)
	f := start(t, setup{apis: []apidef.Loaded{expired, later}})
	require.Equal(t, 403, f.get("/a/").code)
	require.Equal(t, 200, f.get("/b/").code)
}

func TestOlderBundleIsReported(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		bundles: bundles{"b.zip": preOnly, "b.zip stale": errors.New("server is away")},
		hooks:   map[string]hookFunc{"Pre1": (&trail{}).hook(nil)},
		apis:    []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())},
	})
	require.Equal(t, 200, f.get("/a/").code)
	require.Equal(t, gateway.APIActive, f.APIs()[0].Status)
	require.Contains(t, f.APIs()[0].Reason, "server is away")
}
