package tests_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
)

// limitHooks let in whoever names a limit as the token.
const limitHooks = `
from tyk.decorators import *

@Hook
def Auth(request, session, metadata, spec):
    metadata["token"] = request.get_header("Authorization")
    if metadata["token"].startswith("rate"):
        session.rate, session.per = 3, 60
    if metadata["token"].startswith("quota"):
        session.quota_max, session.quota_renewal_rate = 2, 3600
    return request, session, metadata

@Hook
def Tell(request, session, spec):
    request.add_header("X-Left", str(session.quota_remaining))
    return request, session
`

func limitSite(t *testing.T, storage object) *site {
	t.Helper()
	s := newSite(t)
	if storage != nil {
		s.conf["storage"] = storage
	}
	s.bundle("limits.zip", object{"auth_check": hook("Auth"), "post": hooks("Tell")}, map[string]string{"middleware.py": limitHooks})
	s.api("limited", echo(t), object{
		"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "limits.zip",
	})
	return s
}

// TestLimits sends requests to two gateways in turn, which are one and the same
// without a Redis.
func TestLimits(t *testing.T) {
	check := func(t *testing.T, first, second *gateway) {
		t.Helper()
		for _, g := range []*gateway{first, second, first} {
			require.Equal(t, http.StatusOK, g.get("/limited/", "Authorization", "rate-1").status)
		}
		for _, g := range []*gateway{second, first} {
			r := g.get("/limited/", "Authorization", "rate-1")
			require.Equal(t, http.StatusTooManyRequests, r.status, "the fourth and fifth")
			require.JSONEq(t, `{"error": "Rate limit exceeded"}`, r.body)
		}
		require.Equal(t, http.StatusOK, second.get("/limited/", "Authorization", "rate-2").status, "another caller")

		for left, g := range []*gateway{second, first} {
			r := g.get("/limited/", "Authorization", "quota-1")
			want := strconv.Itoa(1 - left)
			require.Equal(t, want, r.echoed(t).Header.Get("X-Left"), "the post hook sees what is left")
			requireQuota(t, r, want)
		}
		r := second.get("/limited/", "Authorization", "quota-1")
		require.Equal(t, http.StatusForbidden, r.status)
		require.JSONEq(t, `{"error": "Quota exceeded"}`, r.body)
		requireQuota(t, r, "0")
	}
	t.Run("memory: one gateway counts", func(t *testing.T) {
		g := limitSite(t, nil).start()
		check(t, g, g)
	})
	t.Run("Redis: gateways count together, and refuse while it is away", func(t *testing.T) {
		server := redisserver.Start(t)
		storage := object{"type": "redis", "host": "127.0.0.1", "port": server.Port()}
		first, second := limitSite(t, storage).start(), limitSite(t, storage).start()
		check(t, first, second)

		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		t.Cleanup(func() { _ = client.Close() })
		keys, err := client.Keys(t.Context(), "*").Result()
		require.NoError(t, err)
		require.NotEmpty(t, keys)
		for _, key := range keys {
			require.NotContains(t, key, "rate-1", "no key holds a token")
			require.NotContains(t, key, "quota-1", "no key holds a token")
		}

		server.Stop()
		r := first.get("/limited/", "Authorization", "quota-2")
		require.Equal(t, http.StatusServiceUnavailable, r.status)
		require.NotEmpty(t, r.header.Get("Retry-After"))
		require.Equal(t, http.StatusOK, first.get("/limited/", "Authorization", "unlimited").status)
		server.Restart()
		require.Eventually(t, func() bool {
			return first.get("/limited/", "Authorization", "quota-2").status == http.StatusOK
		}, patience, 100*time.Millisecond)
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
