package gateway_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/session"
)

// allHooks is a bundle with every kind of hook.
const allHooks = `{"driver": "python", "pre": [{"name": "Pre1"}, {"name": "Off", "disabled": true}, {"name": "Pre2"}],
	"auth_check": {"name": "Auth"}, "post_key_auth": [{"name": "PostKeyAuth"}],
	"post": [{"name": "Post1"}, {"name": "Post2"}], "response": [{"name": "Response1"}, {"name": "Response2"}]}`

// trail records the order in which hooks ran.
type trail struct {
	mu    sync.Mutex
	names []string
}

func (tr *trail) hook(next hookFunc) hookFunc {
	return func(ctx context.Context, obj *coprocesspb.Object) error {
		tr.mu.Lock()
		tr.names = append(tr.names, obj.GetHookName()+":"+obj.GetHookType().String())
		tr.mu.Unlock()
		if next == nil {
			return nil
		}
		return next(ctx, obj)
	}
}

// accept is an auth_check that lets everybody in as token.
func accept(token string, change func(*coprocesspb.SessionState)) hookFunc {
	return func(_ context.Context, obj *coprocesspb.Object) error {
		obj.Session = &coprocesspb.SessionState{Rate: 5000, Per: 1}
		obj.Metadata = map[string]string{"token": token, "who": "me"}
		if change != nil {
			change(obj.Session)
		}
		return nil
	}
}

// hookSet has all functions of allHooks, doing nothing but leaving a trail.
func hookSet(tr *trail, auth hookFunc) map[string]hookFunc {
	hooks := map[string]hookFunc{"Auth": tr.hook(auth)}
	for _, name := range []string{"Pre1", "Pre2", "PostKeyAuth", "Post1", "Post2", "Response1", "Response2"} {
		hooks[name] = tr.hook(nil)
	}
	return hooks
}

func TestChainOrder(t *testing.T) {
	up := newUpstream(t)
	for _, c := range []struct {
		name string
		more map[string]any
		want string
	}{
		{
			"protected API runs all hooks", custom(),
			"Pre1:Pre Pre2:Pre Auth:CustomKeyCheck PostKeyAuth:PostKeyAuth Post1:Post Post2:Post Response1:Response Response2:Response",
		},
		{
			"keyless API skips authentication and post_key_auth", nil,
			"Pre1:Pre Pre2:Pre Post1:Post Post2:Post Response1:Response Response2:Response",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := &trail{}
			f := start(t, setup{
				hooks: hookSet(tr, accept("tok", nil)), bundles: bundles{"b.zip": allHooks},
				apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(c.more))},
			})
			require.Equal(t, 200, f.get("/a/x").code)
			require.Equal(t, c.want, strings.Join(tr.names, " "))
		})
	}
}

func TestChangesOfHooks(t *testing.T) {
	up := newUpstream(t)
	hooks := hookSet(&trail{}, accept("tok", nil))
	hooks["Pre1"] = func(_ context.Context, obj *coprocesspb.Object) error {
		obj.Request.SetHeaders = map[string]string{"X-From-Pre": "1"}
		obj.Request.AddParams = map[string]string{"p": "1"}
		return nil
	}
	var seen *coprocesspb.Object
	hooks["Post2"] = func(_ context.Context, obj *coprocesspb.Object) error {
		seen = obj.CloneVT()
		obj.Request.RawBody = []byte("changed")
		obj.Request.Method = "PUT"
		return nil
	}
	hooks["Response2"] = func(_ context.Context, obj *coprocesspb.Object) error {
		obj.Response.RawBody = []byte("from hook")
		obj.Response.StatusCode = 201
		obj.Response.Headers["X-Body-Seen"] = string(obj.Request.RawBody)
		return nil
	}
	f := start(t, setup{
		hooks: hooks, bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))},
	})
	got := f.do("POST", "/a/x?q=1", "sent")
	require.Equal(t, 201, got.code)
	require.Equal(t, "from hook", got.body)
	require.Equal(t, "changed", got.header.Get("X-Body-Seen"))
	require.Equal(t, "yes", got.header.Get("X-Upstream"))
	require.Equal(t, "1", seen.Request.Headers["X-From-Pre"])
	require.Equal(t, "sent", string(seen.Request.RawBody))
	require.Equal(t, "me", seen.Metadata["who"])
	require.Equal(t, 5000.0, seen.Session.Rate)
	require.Equal(t, "org", seen.Session.OrgId)
	last := up.got()
	require.Equal(t, "PUT", last.method)
	require.Equal(t, "changed", last.body)
	require.Equal(t, "/x?q=1&p=1", last.uri)
}

func TestAuthCheckStoresTheSession(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		hooks:   hookSet(&trail{}, accept("tok", func(s *coprocesspb.SessionState) { s.QuotaMax, s.QuotaRemaining = 10, 10 })),
		bundles: bundles{"b.zip": allHooks},
		apis:    []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))},
	})
	sessions := session.NewStore(f.store)
	old := &coprocesspb.SessionState{QuotaMax: 10, QuotaRemaining: 3, QuotaRenews: 99, OrgId: "org", Rate: 1}
	require.NoError(t, sessions.Put(t.Context(), "tok", old, 0))
	require.Equal(t, 200, f.get("/a/x").code)
	s, err := sessions.Get(t.Context(), "tok")
	require.NoError(t, err)
	require.Equal(t, "org", s.OrgId)
	require.Equal(t, "me", s.Metadata["who"])
	require.Equal(t, 5000.0, s.Rate)
	require.EqualValues(t, 3, s.QuotaRemaining, "quota counters are kept")
	require.EqualValues(t, 99, s.QuotaRenews)
}

func TestAuthCheckOutcomes(t *testing.T) {
	up := newUpstream(t)
	for _, c := range []struct {
		name   string
		auth   hookFunc
		code   int
		body   string
		events []string
	}{
		{"no token in metadata", accept("", nil), 403, "Key not authorised", []string{"AuthFailure"}},
		{"token without a session", func(_ context.Context, obj *coprocesspb.Object) error {
			obj.Metadata = map[string]string{"token": "t"}
			return nil
		}, 200, "", []string{}},
		{
			"neither token nor session", func(context.Context, *coprocesspb.Object) error { return nil },
			403, "Key not authorised",
			[]string{"AuthFailure"},
		},
		{"token in session metadata only", func(_ context.Context, obj *coprocesspb.Object) error {
			obj.Session = &coprocesspb.SessionState{Metadata: map[string]string{"token": "t"}}
			return nil
		}, 200, "", []string{}},
		{
			"inactive session", accept("t", func(s *coprocesspb.SessionState) { s.IsInactive = true }),
			403, "Key is inactive, please renew",
			[]string{"KeyExpired"},
		},
		{
			"expired session", accept("t", func(s *coprocesspb.SessionState) { s.Expires = time.Now().Add(-time.Hour).Unix() }),
			401, "Key has expired, please renew",
			[]string{"KeyExpired"},
		},
		{"access rights name another API", accept("t", func(s *coprocesspb.SessionState) {
			s.AccessRights = map[string]*coprocesspb.AccessDefinition{"other": {ApiId: "other"}}
		}), 403, "Access to this API has been disallowed", []string{}},
		{"access rights name this API", accept("t", func(s *coprocesspb.SessionState) {
			s.AccessRights = map[string]*coprocesspb.AccessDefinition{"a": {ApiId: "a"}}
		}), 200, "", []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, setup{
				hooks: hookSet(&trail{}, c.auth), bundles: bundles{"b.zip": allHooks},
				apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))},
			})
			got := f.get("/a/x", "Authorization", "secret-token")
			require.Equal(t, c.code, got.code)
			if c.code != 200 {
				require.JSONEq(t, `{"error": "`+c.body+`"}`, got.body)
			}
			require.Equal(t, c.events, f.events.names())
			require.NotContains(t, f.logs.String(), "secret-token", "tokens are never logged")
		})
	}
}

// brokenSessions is a store that is away.
type brokenSessions struct{ err error }

func (b brokenSessions) Get(context.Context, string) (*coprocesspb.SessionState, error) {
	return nil, b.err
}

func (b brokenSessions) Put(context.Context, string, *coprocesspb.SessionState, time.Duration) error {
	return b.err
}

func (b brokenSessions) Delete(context.Context, string) error { return b.err }

func TestStoredKeys(t *testing.T) {
	up := newUpstream(t)
	apis := []apidef.Loaded{definition(t, "a", "/a/", up.URL, map[string]any{"use_keyless": false})}
	f := start(t, setup{apis: apis})
	sessions := session.NewStore(f.store)
	require.NoError(t, sessions.Put(t.Context(), "key", &coprocesspb.SessionState{OrgId: "org"}, 0))
	require.NoError(t, sessions.Put(t.Context(), "foreign", &coprocesspb.SessionState{OrgId: "other"}, 0))
	for _, c := range []struct {
		name, header string
		code         int
		body         string
	}{
		{"missing key", "", 401, "Authorization field missing"},
		{"unknown key", "nope", 403, "Access to this API has been disallowed"},
		{"key of another organisation", "foreign", 403, "Access to this API has been disallowed"},
		{"known key", "key", 200, ""},
		{"known key as bearer token", "bearer key", 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.header != "" {
				header = []string{"Authorization", c.header}
			}
			got := f.get("/a/x", header...)
			require.Equal(t, c.code, got.code)
			if c.body != "" {
				require.JSONEq(t, `{"error": "`+c.body+`"}`, got.body)
			}
		})
	}
	require.Equal(t, []string{"AuthFailure", "AuthFailure"}, f.events.names())
}

func TestStoreIsAway(t *testing.T) {
	up := newUpstream(t)
	away := brokenSessions{errors.New("connection refused")}
	t.Run("stored keys are refused", func(t *testing.T) {
		f := start(t, setup{sessions: away, apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, map[string]any{"use_keyless": false}),
		}})
		got := f.get("/a/x", "Authorization", "key")
		require.Equal(t, http.StatusServiceUnavailable, got.code)
		require.Equal(t, "1", got.header.Get("Retry-After"))
		require.Empty(t, f.events.names())
	})
	t.Run("auth_check still authenticates", func(t *testing.T) {
		f := start(t, setup{
			sessions: away, hooks: hookSet(&trail{}, accept("tok", nil)), bundles: bundles{"b.zip": allHooks},
			apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))},
		})
		require.Equal(t, 200, f.get("/a/x").code)
		require.Contains(t, f.logs.String(), "level=WARN")
	})
	t.Run("corrupt session is refused", func(t *testing.T) {
		f := start(t, setup{sessions: brokenSessions{session.ErrCorrupt}, apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, map[string]any{"use_keyless": false}),
		}})
		require.Equal(t, 403, f.get("/a/x", "Authorization", "key").code)
	})
}

func TestPostKeyAuthCanSwitchTheSessionOff(t *testing.T) {
	up := newUpstream(t)
	hooks := hookSet(&trail{}, accept("tok", nil))
	hooks["PostKeyAuth"] = func(_ context.Context, obj *coprocesspb.Object) error {
		obj.Session.IsInactive = true
		return nil
	}
	f := start(t, setup{
		hooks: hooks, bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))},
	})
	require.Equal(t, 403, f.get("/a/x").code)
	require.Zero(t, up.count())
}
