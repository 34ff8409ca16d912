package tests_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/internal/redisserver"
)

// everyHook has two hooks at each place that takes several, and one that is
// switched off.
func everyHook() object {
	return object{
		"pre":           []object{hook("Pre"), {"name": "Off", "disabled": true}, hook("Pre2")},
		"auth_check":    hook("Auth"),
		"post_key_auth": hooks("PostKeyAuth", "PostKeyAuth2"),
		"post":          hooks("Post", "Post2"),
		"response":      hooks("Response", "Response2"),
	}
}

const everyHookInOrder = "Pre Pre2 Auth PostKeyAuth PostKeyAuth2 Post Post2"

// TestContract1Chain is section 1 of the plugin contract, the chain.
func TestContract1Chain(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	p.api("protected", everyHook(), nil)
	p.api("other-name", everyHook(), object{"enable_coprocess_auth": false, "custom_plugin_auth_enabled": true})
	keyless := everyHook()
	delete(keyless, "auth_check")
	p.api("keyless", keyless, nil)
	p.api("two-checks", everyHook(), object{"custom_middleware_bundle": "python-protected.zip,python-keyless.zip,python-other-name.zip"})
	p.api("two-drivers", everyHook(), object{"custom_middleware_bundle": "python-protected.zip,grpc-keyless.zip"})
	p.site.api("keys", p.upstream, object{"use_keyless": false})
	p.site.api("plain", p.upstream+"/base", nil)
	p.site.api("unstripped", p.upstream, object{
		"proxy": object{"listen_path": "/unstripped/", "target_url": p.upstream, "strip_listen_path": false},
	})
	external := everyHook()
	delete(external, "auth_check")
	secret := base64.StdEncoding.EncodeToString([]byte("thirty-two bytes of a shared key"))
	p.api("external", external, object{
		"use_keyless": false, "external_oauth": object{"enabled": true, "providers": []object{
			{"jwt": object{"enabled": true, "signing_method": "hmac", "source": secret, "identity_base_field": "sub"}},
		}},
	})
	parts := make(chan string, 1)
	p.site.api("stream", reportingUpstream(t, parts), nil)
	p.start()

	p.row(t, "pre hooks come first in list order, for keyless and protected APIs", func(t *testing.T, c caller) {
		require.Equal(t, "Pre Pre2 Post Post2", c.give("keyless", request{}).Header.Get("X-Order"))
		order := c.give("protected", request{script: letIn("1", nil)}).Header.Get("X-Order")
		require.Equal(t, everyHookInOrder, order)
	})
	p.row(t, "authentication by auth_check with enable_coprocess_auth or custom_plugin_auth_enabled", func(t *testing.T, c caller) {
		for _, id := range []string{"protected", "other-name"} {
			require.Equal(t, http.StatusForbidden, c.do(id, nil).status, id)
			require.Equal(t, everyHookInOrder, c.give(id, request{script: letIn("1", nil)}).Header.Get("X-Order"), id)
		}
	})
	p.row(t, "authentication by external OAuth when it is enabled", func(t *testing.T, c caller) {
		require.Equal(t, http.StatusBadRequest, c.do("external", nil).status)
		token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "me", "exp": time.Now().Add(time.Hour).Unix()}).
			SignedString([]byte("thirty-two bytes of a shared key"))
		require.NoError(t, err)
		order := c.give("external", request{headers: []string{"Authorization", "Bearer " + token}}).Header.Get("X-Order")
		require.Equal(t, "Pre Pre2 PostKeyAuth PostKeyAuth2 Post Post2", order)
		require.Equal(t, http.StatusUnauthorized, c.send("external", request{headers: []string{"Authorization", "Bearer " + token + "x"}}).status)
	})
	p.row(t, "authentication otherwise by a stored key from the auth header", func(t *testing.T, c caller) {
		require.Equal(t, http.StatusUnauthorized, p.g.get("/keys/").status)
		key := "key-of-" + c.driver
		require.Equal(t, http.StatusForbidden, p.g.get("/keys/", "Authorization", key).status)
		c.give("protected", request{script: letIn(key, rights("keys", c.driver+"-protected"))})
		p.g.get("/keys/", "Authorization", key).echoed(t)
		p.g.get("/keys/", "Authorization", "Bearer "+key).echoed(t)
	})
	p.row(t, "post_key_auth hooks for protected APIs only", func(t *testing.T, c caller) {
		require.NotContains(t, c.give("keyless", request{}).Header.Get("X-Order"), "PostKeyAuth")
		require.Contains(t, c.give("protected", request{script: letIn("1", nil)}).Header.Get("X-Order"), "Auth PostKeyAuth PostKeyAuth2 Post")
	})
	t.Run("session checks", func(t *testing.T) { checkSessions(t, p) })
	p.row(t, "post hooks in list order, response hooks in list order", func(t *testing.T, c caller) {
		r := c.do("keyless", script{})
		require.Equal(t, "Pre Pre2 Post Post2", r.echoed(t).Header.Get("X-Order"))
		require.Equal(t, "Response Response2", r.header.Get("X-Order"))
	})
	p.row(t, "all hooks but auth_check chain: each sees what those before it changed", func(t *testing.T, c caller) {
		s := letIn("1", nil)
		for name, next := range map[string]string{"Pre": "a", "Pre2": "b", "PostKeyAuth": "c", "Post": "d"} {
			s[name] = part{Change: &coprocesspb.Object{Request: &coprocesspb.MiniRequestObject{SetHeaders: map[string]string{"X-Chain": next}}}}
		}
		for _, name := range []string{"Pre2", "PostKeyAuth", "Post", "Post2"} {
			told := s[name]
			told.Tell = true
			s[name] = told
		}
		got := c.give("protected", request{script: s})
		for name, seen := range map[string]string{"Pre2": "a", "PostKeyAuth": "b", "Post": "c", "Post2": "d"} {
			require.Equal(t, seen, shown(t, got.Header, name).GetRequest().GetHeaders()["X-Chain"], name)
		}
	})
	p.row(t, "a hook with disabled true is skipped", func(t *testing.T, c caller) {
		require.NotContains(t, c.give("keyless", request{}).Header.Get("X-Order"), "Off")
	})
	t.Run("there is one auth_check", func(t *testing.T) {
		requireRefused(t, p.g, "python-two-checks", "has an auth_check and so has")
	})
	t.Run("one driver per API", func(t *testing.T) { requireRefused(t, p.g, "python-two-drivers", "driver") })
	t.Run("proxy to target_url", func(t *testing.T) {
		got := p.g.send(http.MethodPatch, "/plain/x/y?a=1&a=2", strings.NewReader("a body"), "X-Two", "1", "X-Two", "2").echoed(t)
		require.Equal(t, []string{"PATCH", "/base/x/y", "a=1&a=2", "a body"}, []string{got.Method, got.Path, got.Query, string(got.Body)})
		require.Equal(t, []string{"1", "2"}, got.Header["X-Two"])
		require.Equal(t, "/unstripped/x", p.g.get("/unstripped/x").echoed(t).Path, "strip_listen_path is false")
	})
	t.Run("a body streams where no hook needs it", func(t *testing.T) {
		body, send := io.Pipe()
		answered := make(chan error, 1)
		go func() {
			_, err := p.g.try(http.MethodPost, "/stream/", body)
			answered <- err
		}()
		_, err := io.WriteString(send, "first part")
		require.NoError(t, err)
		require.Equal(t, "first part", <-parts, "it is there before the client has sent all")
		require.NoError(t, send.Close())
		require.NoError(t, <-answered)
	})
}

// reportingUpstream passes on the first part of each body.
func reportingUpstream(t *testing.T, parts chan<- string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		part := make([]byte, 64)
		n, err := r.Body.Read(part)
		assert.True(t, err == nil || err == io.EOF, err)
		parts <- string(part[:n])
		_, _ = io.Copy(io.Discard, r.Body) // until the client ends it
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// rights is a session that opens the APIs of these ids.
func rights(ids ...string) *coprocesspb.SessionState {
	s := &coprocesspb.SessionState{AccessRights: map[string]*coprocesspb.AccessDefinition{}}
	for _, id := range ids {
		s.AccessRights[id] = &coprocesspb.AccessDefinition{ApiId: id, Versions: []string{"Default"}}
	}
	return s
}

// requireRefused requires that the API answers 503 and the status says why.
func requireRefused(t *testing.T, g *gateway, id, why string) {
	t.Helper()
	r := g.get("/" + id + "/")
	require.Equal(t, http.StatusServiceUnavailable, r.status)
	require.JSONEq(t, `{"error": "This API is not available"}`, r.body)
	status := statusOf(t, g, id)
	require.Equal(t, "refused", status.Status)
	require.Contains(t, status.Reason, why)
}

// checkSessions is what sessions of auth_check are held to.
func checkSessions(t *testing.T, p *probe) {
	restricted := func(driver string, urls ...*coprocesspb.AccessSpec) *coprocesspb.SessionState {
		s := rights(driver + "-protected")
		s.AccessRights[driver+"-protected"].AllowedUrls = urls
		return s
	}
	for name, row := range map[string]struct {
		session func(driver string) *coprocesspb.SessionState
		status  int
		message string
	}{
		"an inactive session": {
			func(string) *coprocesspb.SessionState { return &coprocesspb.SessionState{IsInactive: true} },
			http.StatusForbidden, "Key is inactive, please renew",
		},
		"an expired session": {
			func(string) *coprocesspb.SessionState {
				return &coprocesspb.SessionState{Expires: time.Now().Unix() - 10}
			},
			http.StatusUnauthorized, "Key has expired, please renew",
		},
		"access rights: the API's id": {
			func(string) *coprocesspb.SessionState { return rights("another") },
			http.StatusForbidden, "Access to this API has been disallowed",
		},
		"access rights: the version": {
			func(driver string) *coprocesspb.SessionState {
				s := rights(driver + "-protected")
				s.AccessRights[driver+"-protected"].Versions = []string{"v2"}
				return s
			},
			http.StatusForbidden, "Access to this API has been disallowed",
		},
		"access rights: an allowed URL": {
			func(driver string) *coprocesspb.SessionState {
				return restricted(driver, &coprocesspb.AccessSpec{Url: "^/other", Methods: []string{"GET"}})
			},
			http.StatusForbidden, "Access to this resource has been disallowed",
		},
		"access rights: its method": {
			func(driver string) *coprocesspb.SessionState {
				return restricted(driver, &coprocesspb.AccessSpec{Url: "/x", Methods: []string{"POST"}})
			},
			http.StatusForbidden, "Access to this resource has been disallowed",
		},
		"access rights that fit": {
			func(driver string) *coprocesspb.SessionState {
				return restricted(driver, &coprocesspb.AccessSpec{Url: "/x", Methods: []string{"POST", "GET"}})
			},
			http.StatusOK, "",
		},
	} {
		p.row(t, name, func(t *testing.T, c caller) {
			r := c.send("protected", request{path: "x", script: letIn(name, row.session(c.driver))})
			require.Equal(t, row.status, r.status, r.body)
			if row.message != "" {
				require.JSONEq(t, `{"error": "`+row.message+`"}`, r.body)
			}
		})
	}
	p.row(t, "rate: rate requests per per seconds", func(t *testing.T, c caller) {
		s := letIn("rate "+c.driver, &coprocesspb.SessionState{Rate: 2, Per: 3600})
		c.give("protected", request{script: s})
		c.give("protected", request{script: s})
		r := c.do("protected", s)
		require.Equal(t, http.StatusTooManyRequests, r.status)
		require.JSONEq(t, `{"error": "Rate limit exceeded"}`, r.body)
		c.give("protected", request{script: letIn("another "+c.driver, &coprocesspb.SessionState{Rate: 2, Per: 3600})})
	})
	p.row(t, "quota: quota_max requests per quota_renewal_rate", func(t *testing.T, c caller) {
		s := letIn("quota "+c.driver, &coprocesspb.SessionState{QuotaMax: 2, QuotaRenewalRate: 3600})
		s["Post"] = part{Tell: true}
		for _, left := range []int64{1, 0} {
			r := c.do("protected", s)
			require.Equal(t, left, shown(t, r.echoed(t).Header, "Post").GetSession().GetQuotaRemaining(), "hooks see what is left")
			requireQuota(t, r, strconv.FormatInt(left, 10))
		}
		r := c.do("protected", s)
		require.Equal(t, http.StatusForbidden, r.status)
		require.JSONEq(t, `{"error": "Quota exceeded"}`, r.body)
		requireQuota(t, r, "0")
	})
}

func requireQuota(t *testing.T, r reply, remaining string) {
	t.Helper()
	require.Equal(t, "2", r.header.Get("X-RateLimit-Limit"))
	require.Equal(t, remaining, r.header.Get("X-RateLimit-Remaining"))
	reset, err := strconv.ParseInt(r.header.Get("X-RateLimit-Reset"), 10, 64)
	require.NoError(t, err)
	require.InDelta(t, time.Now().Add(time.Hour).Unix(), reset, 120)
}

// TestContract1LimitsOfSeveralGateways has two gateways that count in one
// Redis.
func TestContract1LimitsOfSeveralGateways(t *testing.T) {
	t.Parallel()
	server := redisserver.Start(t)
	start := func() caller {
		p := newProbe(t)
		p.conf["storage"] = object{"type": "redis", "host": "127.0.0.1", "port": server.Port()}
		p.api("limited", everyHook(), nil)
		return caller{t, p.start(), "python"}
	}
	first, second := start(), start()
	rate := letIn("rate-1", &coprocesspb.SessionState{Rate: 3, Per: 3600})
	quota := letIn("quota-1", &coprocesspb.SessionState{QuotaMax: 2, QuotaRenewalRate: 3600})
	for _, c := range []caller{first, second, first} {
		c.give("limited", request{script: rate})
	}
	for left, c := range []caller{second, first} {
		requireQuota(t, c.do("limited", quota), strconv.Itoa(1-left))
	}
	for _, c := range []caller{first, second} {
		require.Equal(t, http.StatusTooManyRequests, c.do("limited", rate).status)
		require.Equal(t, http.StatusForbidden, c.do("limited", quota).status)
	}
	t.Run("no key in Redis holds a token", func(t *testing.T) {
		keys := keysIn(t, server.Addr())
		require.NotEmpty(t, keys)
		for _, key := range keys {
			require.NotContains(t, key, "rate-1")
			require.NotContains(t, key, "quota-1")
		}
	})
	t.Run("while Redis is away, sessions with limits are refused", func(t *testing.T) {
		server.Stop()
		other := letIn("quota-2", &coprocesspb.SessionState{QuotaMax: 2, QuotaRenewalRate: 3600})
		r := first.do("limited", other)
		require.Equal(t, http.StatusServiceUnavailable, r.status)
		require.NotEmpty(t, r.header.Get("Retry-After"))
		first.give("limited", request{script: letIn("unlimited", nil)})
		server.Restart()
		require.Eventually(t, func() bool { return first.do("limited", other).status == http.StatusOK }, patience, 100*time.Millisecond)
	})
}
