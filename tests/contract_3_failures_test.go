package tests_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
)

// TestContract3Failures is section 3 of the plugin contract: what failing
// plugins do, and to whom.
func TestContract3Failures(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	p.api("any", everyHook(), object{"event_handlers": object{"events": object{"AuthFailure": []object{
		{"handler_name": "eh_log_handler", "handler_meta": object{"prefix": "noted"}},
	}}}})
	hasty := everyHook()
	hasty["krait"] = object{"timeout": "300ms"}
	p.api("hasty", hasty, nil)
	p.site.api("good", p.upstream, object{"custom_middleware_bundle": "python-good.zip"})
	p.bundle("python-good.zip", object{"pre": hooks("Pre")}, map[string]string{"middleware.py": p.code})
	refused := refusedAPIs(t, p)
	p.start()
	// failing is what comes of a failure of each hook.
	failing := func(c caller, id string, s part, status map[string]int) {
		c.t.Helper()
		for _, name := range []string{"Pre", "Auth", "PostKeyAuth", "Post", "Response"} {
			play := letIn("1", nil)
			play[name] = s
			r := c.do(id, play)
			want := status[name]
			if want == 0 {
				want = status["other"]
			}
			require.Equal(c.t, want, r.status, name)
			message := "Middleware error"
			if want == http.StatusForbidden {
				message = "Key not authorised"
			}
			require.JSONEq(c.t, `{"error": "`+message+`"}`, r.body)
			require.NotEmpty(c.t, r.header.Get("X-Request-Id"))
			require.Equal(c.t, "Pre", p.g.get("/good/").echoed(c.t).Header.Get("X-Order"), "another API")
		}
	}

	p.row(t, "a hook that raises is 500 Middleware error, an auth_check 403 Key not authorised", func(t *testing.T, c caller) {
		failing(c, "any", part{Fail: "raises"}, map[string]int{"Auth": 403, "other": 500})
	})
	t.Run("the full traceback is in the log, with request id, API id, bundle, hook", func(t *testing.T) {
		c := caller{t, p, "python"}
		r := c.do("any", script{"Pre": {Fail: "raises"}})
		line := []string{
			r.header.Get("X-Request-Id"), `"api_id":"python-any"`, `"bundle":"python-any.zip"`, `"hook":"Pre"`,
			"Traceback (most recent call last)", "middleware.py", "in play", "RuntimeError: it broke here",
		}
		require.Eventually(t, func() bool { return p.g.countLog(line...) == 1 }, patience, 10*time.Millisecond)
	})
	p.row(t, "a hook that takes too long is 504, auth_check too", func(t *testing.T, c caller) {
		failing(c, "hasty", part{Sleep: 60}, map[string]int{"other": 504})
	})
	t.Run("sys.exit() in a hook is 500", func(t *testing.T) {
		failing(caller{t, p, "python"}, "any", part{Fail: "exits"}, map[string]int{"Auth": 403, "other": 500})
	})
	t.Run("a hook that returns something unusable is 500", func(t *testing.T) {
		r := caller{t, p, "python"}.do("any", script{"Pre": {Fail: "nonsense"}})
		require.Equal(t, http.StatusInternalServerError, r.status)
		p.g.awaitLog("returned a int, 42")
	})
	p.row(t, "changes that cannot be applied are 500", func(t *testing.T, c caller) {
		for why, change := range map[string]*coprocesspb.MiniRequestObject{
			"return_overrides.response_code": {ReturnOverrides: &coprocesspb.ReturnOverrides{ResponseCode: 42}},
			"request.set_headers":            {SetHeaders: map[string]string{"X-Split": "a\r\nb"}},
			"request.method":                 {Method: "NO METHOD"},
		} {
			require.Equal(t, http.StatusInternalServerError, c.do("any", changing("Pre", change)).status, why)
			p.g.awaitLog(why)
		}
	})
	p.row(t, "an auth_check without a token is 403 and AuthFailure", func(t *testing.T, c caller) {
		before := p.g.countLog(`"noted"`, `"AuthFailure"`, c.driver+"-any")
		r := c.do("any", script{"Auth": {Change: &coprocesspb.Object{Metadata: map[string]string{"token": "", "a": "1"}}}})
		require.Equal(t, http.StatusForbidden, r.status)
		require.JSONEq(t, `{"error": "Key not authorised"}`, r.body)
		require.Eventually(t, func() bool { return p.g.countLog(`"noted"`, `"AuthFailure"`, c.driver+"-any") == before+1 },
			patience, 10*time.Millisecond)
	})
	for name, why := range refused {
		t.Run("fails closed: "+name, func(t *testing.T) {
			for range 2 { // the second time like the first
				requireRefused(t, p.g, name, why)
				p.g.awaitLog(why)
			}
			require.Equal(t, "Pre", p.g.get("/good/").echoed(t).Header.Get("X-Order"), "another API")
		})
	}
	t.Run("many at once", func(t *testing.T) {
		var group sync.WaitGroup
		raises := script{"Pre": {Fail: "raises"}}.header(t)
		slow := script{"Pre": {Sleep: 60}}.header(t)
		for range 16 {
			for path, want := range map[string]int{"/good/": 200, "/python-any/": 500, "/grpc-any/": 500, "/bundle-missing/": 503, "/grpc-hasty/": 504} {
				group.Go(func() {
					headers := raises
					if want == 504 {
						headers = slow
					}
					if want == 200 {
						headers = nil
					}
					r, err := p.g.try(http.MethodGet, path, nil, headers...)
					if assert.NoError(t, err) {
						assert.Equal(t, want, r.status, path)
					}
				})
			}
		}
		group.Wait()
	})
	require.NotContains(t, p.g.log.String(), "panic")
	require.NoError(t, p.g.stop())
}

// refusedAPIs makes APIs that cannot be served, and says why by their ids.
func refusedAPIs(t *testing.T, p *probe) map[string]string {
	t.Helper()
	code := map[string]string{"middleware.py": p.code}
	use := func(id string) { p.site.api(id, p.upstream, object{"custom_middleware_bundle": id + ".zip"}) }
	for id, hook := range map[string]string{"hook-not-defined": "Absent", "module-that-raises": "Pre", "module-that-is-no-python": "Pre"} {
		files := code
		switch id {
		case "module-that-raises":
			files = map[string]string{"middleware.py": "raise RuntimeError('the import broke')\n"}
		case "module-that-is-no-python":
			files = map[string]string{"middleware.py": "def broken(:\n"}
		}
		p.bundle(id+".zip", object{"pre": hooks(hook)}, files)
		use(id)
	}
	use("bundle-missing")
	require.NoError(t, os.WriteFile(filepath.Join(p.served, "bundle-broken.zip"), []byte("not a zip"), 0o600))
	use("bundle-broken")
	p.site.api("driver-unknown", p.upstream, object{"custom_middleware": object{"driver": "cobol", "pre": hooks("Pre")}})
	p.site.api("no-auth-check", p.upstream, object{
		"custom_middleware_bundle": "python-good.zip", "use_keyless": false, "enable_coprocess_auth": true,
	})
	p.site.api("target-missing", "", nil)
	return map[string]string{
		"hook-not-defined": "Absent", "module-that-raises": "the import broke", "module-that-is-no-python": "SyntaxError",
		"bundle-missing": "bundle-missing.zip", "bundle-broken": "is not a zip", "driver-unknown": "cobol",
		"no-auth-check": "there is no auth_check hook", "target-missing": "target_url",
	}
}

// TestContract3DriverThatIsNotLoaded is the forum's case: an API with a plugin on a
// gateway without the driver answered with a nil pointer panic.
func TestContract3DriverThatIsNotLoaded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.conf["coprocess_options"] = object{"enable_coprocess": false}
	s.bundle("plugin.zip", object{"auth_check": hook("MyAuthMiddleware")}, map[string]string{"middleware.py": tutorialMiddleware})
	s.bundle("remote.zip", object{"driver": "grpc", "pre": hooks("Pre")}, nil)
	s.api("plugin", echo(t), object{
		"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "plugin.zip",
	})
	s.api("remote", echo(t), object{"custom_middleware_bundle": "remote.zip"})
	s.api("plain", echo(t), nil)
	g := s.start()
	for range 3 {
		requireRefused(t, g, "plugin", "enable_coprocess")
		requireRefused(t, g, "remote", "coprocess_grpc_server")
		g.get("/plain/").echoed(t)
	}
	require.NotContains(t, g.log.String(), "panic")
}

// TestContract3ClientThatGoesAway has one place for hooks.
func TestContract3ClientThatGoesAway(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	t.Cleanup(upstream.Close)
	p := newProbe(t)
	p.upstream = upstream.URL
	p.conf["coprocess_options"].(object)["max_in_flight"] = 1
	p.api("a", object{"pre": hooks("Pre")}, nil)
	p.start()
	p.row(t, "the result of its hook is dropped, and the worker is free when the hook ends", func(t *testing.T, c caller) {
		calls.Store(0)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.g.url+"/"+c.driver+"-a/", nil)
		require.NoError(t, err)
		header := script{"Pre": {Sleep: 1}}.header(t)
		r.Header.Set(header[0], header[1])
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = response.Body.Close()
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, http.StatusOK, c.do("a", nil).status)
		require.EqualValues(t, 1, calls.Load(), "only the second request reached the upstream")
	})
}

// TestContract3AuthCheckSuccess is section 3 of the plugin contract: the session
// that an auth_check makes.
func TestContract3AuthCheckSuccess(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	p.api("a", object{"auth_check": hook("Auth"), "post": hooks("Post")}, object{"org_id": "my-org"})
	p.api("stored", object{"post": hooks("Post")}, object{"org_id": "my-org", "use_keyless": false})
	p.start()
	// open is rights for both APIs of c.
	open := func(c caller) *coprocesspb.SessionState { return rights(c.driver+"-a", c.driver+"-stored") }
	// used is the session that the post hook of the API a is shown.
	used := func(c caller, s script) *coprocesspb.SessionState {
		c.t.Helper()
		return shown(c.t, c.give("a", request{script: s.and(telling("Post"))}).Header, "Post").GetSession()
	}
	// stored is the session that is stored for the key.
	stored := func(c caller, key string) *coprocesspb.SessionState {
		c.t.Helper()
		got := c.give("stored", request{headers: []string{"Authorization", key}, script: telling("Post")})
		return shown(c.t, got.Header, "Post").GetSession()
	}

	p.row(t, "metadata is merged into session.metadata", func(t *testing.T, c caller) {
		s := letIn("merge", &coprocesspb.SessionState{Metadata: map[string]string{"own": "1", "both": "session"}})
		s["Auth"].Change.Metadata["both"] = "metadata"
		require.Equal(t, map[string]string{"own": "1", "both": "metadata", "token": "merge"}, used(c, s).GetMetadata())
	})
	p.row(t, "org_id is the API's", func(t *testing.T, c caller) {
		require.Equal(t, "my-org", used(c, letIn("org", &coprocesspb.SessionState{OrgId: "another"})).GetOrgId())
	})
	p.row(t, "the session is stored under the token", func(t *testing.T, c caller) {
		session := open(c)
		session.Alias = "stored by auth_check"
		used(c, letIn("store "+c.driver, session))
		require.Equal(t, "stored by auth_check", stored(c, "store "+c.driver).GetAlias())
	})
	p.row(t, "later requests with the token run the hook again and refresh the stored session", func(t *testing.T, c caller) {
		for _, alias := range []string{"first", "second"} {
			session := open(c)
			session.Alias = alias
			s := letIn("again "+c.driver, session)
			require.Equal(t, alias, used(c, s).GetAlias())
			require.Equal(t, alias, stored(c, "again "+c.driver).GetAlias())
		}
	})
	p.row(t, "quota counters of an existing session are kept", func(t *testing.T, c caller) {
		for _, left := range []int64{2, 1, 0} {
			// The hook says each time that nothing was used yet.
			s := letIn("quota "+c.driver, &coprocesspb.SessionState{QuotaMax: 3, QuotaRemaining: 3, QuotaRenewalRate: 3600})
			require.Equal(t, left, used(c, s).GetQuotaRemaining())
		}
	})
}
