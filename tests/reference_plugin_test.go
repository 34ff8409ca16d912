package tests_test

import (
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
)

// manyRequests is how many requests share one introspection in these tests.
const manyRequests = 1000

// buildAtRoot builds a bundle of this repository as a reader of its README
// would.
func (s *site) buildAtRoot(manifest, name string) {
	s.t.Helper()
	built, err := krait(s.t, "..", "bundle", "build", "-y", "-m", manifest, "-o", filepath.Join(s.served, name))
	require.NoError(s.t, err, built)
}

// pluginAPI is an API whose callers the plugin of bundle checks.
func (s *site) pluginAPI(id, bundle, upstream string, settings object) {
	s.t.Helper()
	s.api(id, upstream, object{
		"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": bundle,
		"auth": object{"auth_header_name": "Authorization"}, "config_data": settings,
	})
}

// introspectBy is what a plugin needs to ask the server.
func (s *identityServer) introspectBy(more object) object {
	settings := object{
		"introspection_url": s.url + introspectionPath, "client_id": "basic", "client_secret": "basic-secret",
	}
	for key, value := range more {
		settings[key] = value
	}
	return settings
}

// bearer is what a client sends.
func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

// atOnce sends many requests at the same time and returns how often each
// status came.
func (g *gateway) atOnce(path, token string) map[int]int {
	g.t.Helper()
	var group sync.WaitGroup
	var mutex sync.Mutex
	statuses := map[int]int{}
	start := make(chan struct{})
	for range manyRequests {
		group.Go(func() {
			<-start
			r, err := g.try(http.MethodGet, path, nil, bearer(token)...)
			if !assert.NoError(g.t, err) {
				return
			}
			mutex.Lock()
			defer mutex.Unlock()
			statuses[r.status]++
		})
	}
	close(start)
	group.Wait()
	return statuses
}

// awaitStatus sends requests until one is answered with status.
func (g *gateway) awaitStatus(status int, path, token string) {
	g.t.Helper()
	var last reply
	require.Eventually(g.t, func() bool {
		last = g.get(path, bearer(token)...)
		return last.status == status
	}, patience, 20*time.Millisecond, "%s", last.body)
}

// TestReferencePlugin is the flow of the forum: tokens of an external identity
// server, asked for once and cached until they expire.
func TestReferencePlugin(t *testing.T) {
	idp := startIdentityServer(t)
	for name, storage := range map[string]func(*testing.T) *redis.Options{
		"memory": func(*testing.T) *redis.Options { return nil },
		"Redis": func(t *testing.T) *redis.Options {
			return &redis.Options{Addr: redisserver.Start(t).Addr()}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			options := storage(t)
			if options != nil {
				s.conf["storage"] = object{"type": "redis", "addrs": []string{options.Addr}}
			}
			s.buildAtRoot("manifest.json", "bundle.zip")
			upstream := echo(t)
			s.pluginAPI("api", "bundle.zip", upstream, idp.introspectBy(nil))
			s.pluginAPI("brief", "bundle.zip", upstream, idp.introspectBy(object{"max_age": 1}))
			s.pluginAPI("scoped", "bundle.zip", upstream, idp.introspectBy(object{"scope": "write"}))
			s.pluginAPI("limited", "bundle.zip", upstream, idp.introspectBy(object{"rate": 2, "per": 60}))
			g := s.start()
			testReferencePlugin(t, idp, g)
			if options != nil {
				requireNowhere(t, options, idp.issued...)
				testExtractor(t, idp, g, options)
			}
			for _, token := range idp.issued {
				require.NotContains(t, g.log.String(), token)
			}
		})
	}
}

func testReferencePlugin(t *testing.T, idp *identityServer, g *gateway) {
	t.Helper()
	idp.testCaching(t, g, "/api/", "/brief/")
	t.Run("a token that nobody knows", func(t *testing.T) {
		require.Equal(t, 1, idp.introspectionsOf(func() {
			for range 3 {
				r := g.get("/api/", bearer("not-a-token")...)
				require.Equal(t, http.StatusUnauthorized, r.status)
				require.Equal(t, `Bearer error="invalid_token"`, r.header.Get("WWW-Authenticate"))
				require.JSONEq(t, `{"error": "The token is not valid"}`, r.body)
			}
		}))
	})
	t.Run("no bearer token", func(t *testing.T) {
		require.Zero(t, idp.introspectionsOf(func() {
			require.Equal(t, http.StatusBadRequest, g.get("/api/").status, "by the ID extractor")
			r := g.get("/api/", "Authorization", "Basic YTpi")
			require.Equal(t, http.StatusUnauthorized, r.status)
			require.Equal(t, "Bearer", r.header.Get("WWW-Authenticate"))
		}))
	})
	t.Run("a token without the scope that the API wants", func(t *testing.T) {
		token := idp.token("app", "")
		require.Equal(t, http.StatusOK, g.get("/api/", bearer(token)...).status)
		r := g.get("/scoped/", bearer(token)...)
		require.Equal(t, http.StatusForbidden, r.status, "what another API let in counts there only")
		require.Equal(t, `Bearer error="insufficient_scope", scope="write"`, r.header.Get("WWW-Authenticate"))
	})
	t.Run("session limits", func(t *testing.T) {
		token := idp.token("app", "")
		for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
			require.Equal(t, want, g.get("/limited/", bearer(token)...).status)
		}
		// Each spelling is another caller to the extractor, with limits of its own.
		for _, scheme := range []string{"BEARER ", "BeareR ", "Bearer  ", "Bearer   "} {
			require.Equal(t, http.StatusUnauthorized, g.get("/limited/", "Authorization", scheme+token).status)
		}
	})
	t.Run("what an API keeps for long does not serve one that keeps it briefly", func(t *testing.T) {
		token := idp.token("app", "")
		require.Equal(t, http.StatusOK, g.get("/api/", bearer(token)...).status)
		idp.revoke("app", token)
		require.Equal(t, http.StatusUnauthorized, g.get("/brief/", bearer(token)...).status)
	})
}

// testExtractor shows that the plugin is not asked about callers who are known:
// it would have to introspect, since what it remembers is gone.
func testExtractor(t *testing.T, idp *identityServer, g *gateway, options *redis.Options) {
	t.Helper()
	token := idp.token("app", "")
	require.Equal(t, http.StatusOK, g.get("/api/", bearer(token)...).status)
	before := idp.introspections()
	client := redis.NewClient(options)
	defer client.Close()
	remembered, err := client.Keys(t.Context(), "coprocess-data:*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, remembered)
	require.NoError(t, client.Del(t.Context(), remembered...).Err())
	for range 10 {
		require.Equal(t, http.StatusOK, g.get("/api/", bearer(token)...).status)
	}
	require.Equal(t, before, idp.introspections())
	// Spelled otherwise it is another caller to the extractor.
	require.Equal(t, http.StatusOK, g.get("/api/", "Authorization", "bearer "+token).status)
	require.Equal(t, before+1, idp.introspections())
}

// requireNowhere fails when the store holds text in a key or a value.
func requireNowhere(t *testing.T, options *redis.Options, texts ...string) {
	t.Helper()
	client := redis.NewClient(options)
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.NotEmpty(t, keys)
	for _, key := range keys {
		value, _ := client.Get(t.Context(), key).Result() // what is no string holds counters
		for _, text := range texts {
			require.NotContains(t, key, text)
			require.NotContains(t, value, text)
		}
	}
}

func TestReferencePluginWithoutItsIdentityServer(t *testing.T) {
	idp := startIdentityServer(t)
	s := newSite(t)
	s.buildAtRoot("manifest.json", "bundle.zip")
	s.pluginAPI("api", "bundle.zip", echo(t), idp.introspectBy(object{"timeout": 0.5}))
	s.api("plain", echo(t), nil)
	g := s.start()
	known := idp.token("app", "")
	require.Equal(t, http.StatusOK, g.get("/api/", bearer(known)...).status)

	requireRefused := func(t *testing.T) {
		t.Helper()
		began := time.Now()
		token := idp.token("app", "")
		statuses := g.atOnce("/api/", token)
		require.Equal(t, map[int]int{http.StatusServiceUnavailable: manyRequests}, statuses)
		r := g.get("/api/", bearer(idp.token("app", ""))...)
		require.Equal(t, http.StatusServiceUnavailable, r.status)
		require.Equal(t, "2", r.header.Get("Retry-After"))
		require.Less(t, time.Since(began), patience)
		require.Equal(t, http.StatusOK, g.get("/api/", bearer(known)...).status, "who was let in stays in")
		require.Equal(t, http.StatusOK, g.get("/plain/").status)
		require.NotContains(t, g.log.String(), token)
	}
	t.Run("it hangs", func(t *testing.T) {
		idp.failWith(hangs)
		began, before := time.Now(), idp.introspections()
		requireRefused(t)
		attempts := idp.introspections() - before
		require.LessOrEqual(t, attempts, 1+int(time.Since(began)/(2*time.Second)), "one every two seconds, for all tokens")
	})
	t.Run("it is there again", func(t *testing.T) {
		idp.failWith(nil)
		g.awaitStatus(http.StatusOK, "/api/", idp.token("app", ""))
	})
	t.Run("it is gone", func(t *testing.T) {
		idp.front.Close()
		requireRefused(t)
	})
	g.awaitLog("introspection at 127.0.0.1 failed: TimeoutError: ")
	g.awaitLog("introspection at 127.0.0.1 failed: ConnectionRefusedError")
}
