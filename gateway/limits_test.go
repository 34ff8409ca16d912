package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	counting "github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/session"
)

// limited starts a gateway with one API, whose auth_check sets what change says.
func limited(t *testing.T, change func(*coprocesspb.SessionState), more setup) (*fixture, *upstream) {
	t.Helper()
	up := newUpstream(t)
	hooks := hookSet(&trail{}, accept("tok", func(s *coprocesspb.SessionState) {
		s.Rate = 0
		change(s)
	}))
	for name, hook := range more.hooks {
		hooks[name] = hook
	}
	more.hooks, more.bundles = hooks, bundles{"b.zip": allHooks}
	if more.apis == nil {
		more.apis = []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))}
	}
	return start(t, more), up
}

// To compile a pattern takes much longer than to search with it.
func TestPatternsOfAllowedURLsAreCompiledOnce(t *testing.T) {
	f := keySite(t, setup{})
	right := &coprocesspb.AccessDefinition{}
	for i := range 200 {
		right.AllowedUrls = append(right.AllowedUrls, &coprocesspb.AccessSpec{
			Url: fmt.Sprintf("^/((a{1,7}){1,7}b?){1,7}%d$", i), Methods: []string{"GET"},
		})
	}
	require.NoError(t, session.NewStore(f.store).Put(t.Context(), "k", &coprocesspb.SessionState{
		OrgId: "org", AccessRights: map[string]*coprocesspb.AccessDefinition{"a": right},
	}, 0))
	use := func() time.Duration {
		began := time.Now()
		require.Equal(t, 403, f.get("/a/aab200", "Authorization", "k").code)
		return time.Since(began)
	}
	first, later := use(), time.Duration(0)
	for range 40 {
		later += use()
	}
	require.Less(t, later, 20*first)
	require.Equal(t, 200, f.get("/a/aab199", "Authorization", "k").code)
}

func TestSessionRate(t *testing.T) {
	f, up := limited(t, func(s *coprocesspb.SessionState) { s.Rate, s.Per = 3, 3600 }, setup{})
	for range 3 {
		got := f.get("/a/x")
		require.Equal(t, 200, got.code)
		require.Empty(t, got.header.Get("X-RateLimit-Limit"), "there is no quota")
	}
	got := f.get("/a/x")
	require.Equal(t, http.StatusTooManyRequests, got.code)
	require.JSONEq(t, `{"error": "Rate limit exceeded"}`, got.body)
	require.Equal(t, 3, up.count())
	require.Equal(t, []string{"RatelimitExceeded"}, f.events.names())
}

func TestSessionQuota(t *testing.T) {
	seen := map[string][]int64{}
	note := func(_ context.Context, obj *coprocesspb.Object) error {
		s := obj.GetSession()
		seen[obj.GetHookName()] = append(seen[obj.GetHookName()], s.GetQuotaRemaining())
		return nil
	}
	f, up := limited(t, func(s *coprocesspb.SessionState) { s.QuotaMax, s.QuotaRemaining, s.QuotaRenewalRate = 2, 2, 3600 },
		setup{hooks: map[string]hookFunc{"PostKeyAuth": note, "Post1": note}})
	for _, left := range []string{"1", "0"} {
		got := f.get("/a/x")
		require.Equal(t, 200, got.code)
		require.Equal(t, "2", got.header.Get("X-RateLimit-Limit"))
		require.Equal(t, left, got.header.Get("X-RateLimit-Remaining"))
		reset, err := strconv.ParseInt(got.header.Get("X-RateLimit-Reset"), 10, 64)
		require.NoError(t, err)
		require.InDelta(t, time.Now().Add(time.Hour).Unix(), reset, 60)
	}
	got := f.get("/a/x")
	require.Equal(t, http.StatusForbidden, got.code)
	require.JSONEq(t, `{"error": "Quota exceeded"}`, got.body)
	require.Equal(t, "0", got.header.Get("X-RateLimit-Remaining"))
	require.Equal(t, 2, up.count())
	require.Equal(t, []string{"QuotaExceeded"}, f.events.names())
	require.Equal(t, map[string][]int64{"PostKeyAuth": {2, 1, 0}, "Post1": {1, 0}}, seen, "hooks see what is left")
}

func TestTriggersOfAQuota(t *testing.T) {
	f, _ := limited(t, func(s *coprocesspb.SessionState) {
		s.QuotaMax, s.QuotaRenewalRate = 4, 3600
		s.Monitor = &coprocesspb.Monitor{TriggerLimits: []float64{50, 70, 0}}
	}, setup{})
	for range 5 {
		f.get("/a/x")
	}
	// 50 % with the second request, 70 % with the third.
	require.Equal(t, []string{"TriggerExceeded", "TriggerExceeded", "QuotaExceeded"}, f.events.names())
}

func TestSessionLimitsThatDoNotCount(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*coprocesspb.SessionState)
		api    map[string]any
	}{
		"none":               {func(*coprocesspb.SessionState) {}, nil},
		"-1 is unlimited":    {func(s *coprocesspb.SessionState) { s.Rate, s.Per, s.QuotaMax = -1, -1, -1 }, nil},
		"disable_rate_limit": {func(s *coprocesspb.SessionState) { s.Rate, s.Per = 1, 3600 }, map[string]any{"disable_rate_limit": true}},
		"disable_quota":      {func(s *coprocesspb.SessionState) { s.QuotaMax = 1 }, map[string]any{"disable_quota": true}},
	} {
		t.Run(name, func(t *testing.T) {
			up := newUpstream(t)
			f, _ := limited(t, tc.change, setup{
				limits: broken{}, // nobody asks it
				apis:   []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom(), tc.api))},
			})
			for range 3 {
				require.Equal(t, 200, f.get("/a/x").code)
			}
		})
	}
}

// broken is a counter that is away.
type broken struct{}

func (broken) Take(context.Context, string, counting.Limits) (counting.Result, error) {
	return counting.Result{}, errors.New("the store is away")
}

func (broken) Peek(context.Context, string, counting.Limits) (counting.Result, error) {
	return counting.Result{}, errors.New("the store is away")
}

func (broken) Reset(context.Context, string) error { return errors.New("the store is away") }

func TestSessionLimitsFailClosed(t *testing.T) {
	f, up := limited(t, func(s *coprocesspb.SessionState) { s.QuotaMax = 5 }, setup{limits: broken{}})
	got := f.get("/a/x")
	require.Equal(t, http.StatusServiceUnavailable, got.code)
	require.NotEmpty(t, got.header.Get("Retry-After"))
	require.Zero(t, up.count())
	require.Contains(t, f.logs.String(), "cannot count requests")
	require.NotContains(t, f.logs.String(), "tok ")
}

func TestStoredKeysHaveLimits(t *testing.T) {
	up := newUpstream(t)
	key := map[string]any{"use_keyless": false}
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, key), definition(t, "b", "/b/", up.URL, key)}})
	require.NoError(t, session.NewStore(f.store).Put(t.Context(), "k", &coprocesspb.SessionState{OrgId: "org", Rate: 2, Per: 3600}, 0))
	require.Equal(t, 200, f.get("/a/", "Authorization", "k").code)
	require.Equal(t, 200, f.get("/b/", "Authorization", "k").code)
	require.Equal(t, 429, f.get("/a/", "Authorization", "k").code, "the session's rate is one for all APIs")
}

func TestRoutedRequestCountsOnce(t *testing.T) {
	up := newUpstream(t)
	f, _ := limited(t, func(s *coprocesspb.SessionState) { s.QuotaMax = 5 }, setup{
		hooks: map[string]hookFunc{"Post1": func(_ context.Context, obj *coprocesspb.Object) error {
			if obj.GetSpec()["APIID"] == "a" {
				obj.Request.Url = "tyk://b/x"
			}
			return nil
		}},
		apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, withHooks(custom())), definition(t, "b", "/b/", up.URL, withHooks(custom())),
		},
	})
	got := f.get("/a/x")
	require.Equal(t, 200, got.code)
	require.Equal(t, "4", got.header.Get("X-RateLimit-Remaining"))
}

// Each protected API that hooks route a request to authenticates it anew and
// holds it to the limits of the session that it finds.
func TestRoutedRequestAuthenticatesAtEachAPI(t *testing.T) {
	up := newUpstream(t)
	f, _ := limited(t, func(*coprocesspb.SessionState) {}, setup{
		hooks: map[string]hookFunc{"Post1": func(_ context.Context, obj *coprocesspb.Object) error {
			if obj.GetSpec()["APIID"] == "a" {
				obj.Request.Url = "tyk://b/x"
			}
			return nil
		}},
		apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, withHooks(custom())), definition(t, "b", "/b/", up.URL, keyed()),
		},
	})
	require.Equal(t, 401, f.get("/a/x").code, "what a accepts is no key of b")
	require.Equal(t, 403, f.get("/a/x", "Authorization", "tok").code, "nor is a's session")
	require.NoError(t, session.NewStore(f.store).Put(t.Context(), "k", &coprocesspb.SessionState{OrgId: "org", Rate: 2, Per: 3600}, 0))
	for range 2 {
		require.Equal(t, 200, f.get("/a/x", "Authorization", "k").code)
	}
	require.Equal(t, 429, f.get("/a/x", "Authorization", "k").code)
	require.Equal(t, 2, up.count())
}

func TestSessionAccessRights(t *testing.T) {
	const api, resource = "Access to this API has been disallowed", "Access to this resource has been disallowed"
	urls := func(url string, methods ...string) *coprocesspb.AccessDefinition {
		return &coprocesspb.AccessDefinition{AllowedUrls: []*coprocesspb.AccessSpec{{Url: "^/never$", Methods: []string{"GET"}}, {Url: url, Methods: methods}}}
	}
	versions := func(names ...string) *coprocesspb.AccessDefinition {
		return &coprocesspb.AccessDefinition{Versions: names}
	}
	for name, tc := range map[string]struct {
		api   string
		right *coprocesspb.AccessDefinition
		want  string // "" passes
	}{
		"another API":                          {"b", versions(), api},
		"no versions mean Default":             {"a", versions(), ""},
		"Default":                              {"a", versions("v1", "Default"), ""},
		"another version":                      {"a", versions("v1"), api},
		"path and method":                      {"a", urls("^/x/[0-9]+$", "POST", "GET"), ""},
		"path with the listen path":            {"a", urls("^/a/x/1$", "GET"), ""},
		"pattern matches anywhere in the path": {"a", urls("x/", "GET"), ""},
		"another path":                         {"a", urls("^/y", "GET"), resource},
		"another method":                       {"a", urls("^/x", "POST"), resource},
		"no method allows none":                {"a", urls("^/x"), resource},
		"broken pattern allows nothing":        {"a", urls("(", "GET"), resource},
		"query is no part of the path":         {"a", urls("q=1", "GET"), resource},
	} {
		t.Run(name, func(t *testing.T) {
			f, up := limited(t, func(s *coprocesspb.SessionState) {
				s.AccessRights = map[string]*coprocesspb.AccessDefinition{tc.api: tc.right}
				s.QuotaMax = 5
			}, setup{})
			got := f.get("/a/x/1?q=1")
			if tc.want == "" {
				require.Equal(t, 200, got.code)
				require.Equal(t, 1, up.count())
				return
			}
			require.Equal(t, http.StatusForbidden, got.code)
			require.JSONEq(t, `{"error": "`+tc.want+`"}`, got.body)
			require.Zero(t, up.count())
			require.Empty(t, got.header.Get("X-RateLimit-Limit"), "access rights come before the limits")
		})
	}
}
