package tests_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
)

const storeHooks = `
from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def Put(request, session, spec):
    tyk.store_data(request.object.params['key'], request.object.raw_body, int(request.object.params.get('ttl', 60)))
    return request, session

@Hook
def Fetch(request, session, spec):
    value = tyk.get_data(request.object.params['key'])
    assert isinstance(value, bytes)
    request.object.raw_body = value
    return request, session
`

// TestContract4Store is section 4 of the plugin contract: store_data, get_data.
func TestContract4Store(t *testing.T) {
	t.Parallel()
	binary := "a\x00b\xff"
	site := func(t *testing.T, storage object) *site {
		s := newSite(t)
		if storage != nil {
			s.conf["storage"] = storage
		}
		files := map[string]string{"middleware.py": storeHooks}
		s.bundle("put.zip", object{"pre": hooks("Put")}, files)
		s.bundle("fetch.zip", object{"pre": hooks("Fetch")}, files)
		upstream := echo(t)
		s.api("put", upstream, object{"custom_middleware_bundle": "put.zip"})
		s.api("fetch", upstream, object{"custom_middleware_bundle": "fetch.zip"})
		return s
	}
	check := func(t *testing.T, g *gateway) {
		t.Helper()
		require.Equal(t, http.StatusOK, g.send(http.MethodPost, "/put/?key=k", strings.NewReader(binary)).status)
		require.Equal(t, binary, string(g.get("/fetch/?key=k").echoed(t).Body))
		require.Empty(t, g.get("/fetch/?key=absent").echoed(t).Body, "b\"\" when there is nothing")
		for _, ttl := range []string{"0", "-1", "1"} {
			require.Equal(t, http.StatusOK, g.send(http.MethodPost, "/put/?key=ttl"+ttl+"&ttl="+ttl, strings.NewReader(ttl)).status)
		}
		require.Eventually(t, func() bool { return len(g.get("/fetch/?key=ttl1").echoed(t).Body) == 0 }, patience, 50*time.Millisecond,
			"ttl is in seconds")
		for _, ttl := range []string{"0", "-1"} {
			require.Equal(t, ttl, string(g.get("/fetch/?key=ttl"+ttl).echoed(t).Body), "<= 0 does not expire")
		}
	}
	t.Run("memory", func(t *testing.T) { check(t, site(t, nil).start()) })
	t.Run("Redis: shared by gateways, one pool of connections, a restart is survived", func(t *testing.T) {
		server := redisserver.Start(t)
		storage := object{"type": "redis", "host": "127.0.0.1", "port": server.Port()}
		first := site(t, storage).start()
		check(t, first)
		second := site(t, storage).start()
		require.Equal(t, binary, string(second.get("/fetch/?key=k").echoed(t).Body), "the other gateway sees it")
		require.Contains(t, second.get("/hello").body, `"redis"`)
		require.Equal(t, []string{"coprocess-data:k", "coprocess-data:ttl-1", "coprocess-data:ttl0"}, keysIn(t, server.Addr()))

		var group sync.WaitGroup
		for range 20 {
			group.Go(func() {
				for range 20 {
					r, err := first.try(http.MethodGet, "/fetch/?key=k", nil)
					if assert.NoError(t, err) {
						assert.Equal(t, http.StatusOK, r.status)
					}
				}
			})
		}
		group.Wait()
		require.Less(t, connectionsMade(t, server.Addr()), 100, "400 calls share a pool")

		server.Stop()
		r := first.get("/hello")
		require.NotContains(t, r.body, `"status":"pass","version"`)
		require.Equal(t, http.StatusOK, first.get("/fetch/?key=k").status, "a plugin sees an empty cache")
		server.Restart()
		require.Eventually(t, func() bool {
			first.send(http.MethodPost, "/put/?key=k2", strings.NewReader("again"))
			return string(first.get("/fetch/?key=k2").echoed(t).Body) == "again"
		}, patience, 100*time.Millisecond)
	})
}

// keysIn lists the keys in the server, sorted.
func keysIn(t *testing.T, address string) []string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	keys, err := client.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	slices.Sort(keys)
	return keys
}

// connectionsMade asks the server how many connections it has accepted.
func connectionsMade(t *testing.T, address string) int {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	stats, err := client.InfoMap(t.Context(), "stats").Result()
	require.NoError(t, err)
	n, err := strconv.Atoi(stats["Stats"]["total_connections_received"])
	require.NoError(t, err)
	return n
}
