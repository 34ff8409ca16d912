package tests_test

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestContractPublicPlugins runs plugins in the style of public ones, unmodified.
// Two more are in TestContract4Modules.
func TestContractPublicPlugins(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.conf["coprocess_options"].(object)["hook_timeout"] = "20s"
	upstream := echo(t)
	s.bundleOf("testdata/public/hyphenated", "auth/my-plugin.zip")
	s.api("auth", upstream, object{
		"custom_middleware_bundle": "auth/my-plugin.zip", "use_keyless": false, "enable_coprocess_auth": true,
		"config_data": object{"header": "X-Token", "tokens": object{"alice-token": "alice"}},
	})
	s.bundleOf("testdata/public/global_state", "state/my-plugin.zip")
	for _, id := range []string{"state", "state-too"} {
		s.api(id, upstream, object{"custom_middleware_bundle": "state/my-plugin.zip"})
	}
	callbackAPIs(t, s)
	g := s.start()

	t.Run("a hyphenated single file, MessageToDict(request.object), config_data as JSON", func(t *testing.T) {
		g.get("/auth/x", "X-Token", "alice-token").echoed(t)
		g.awaitLog("CheckToken for /auth/x")
		r := g.get("/auth/", "X-Token", "another")
		require.Equal(t, http.StatusUnauthorized, r.status)
		require.JSONEq(t, `{"error": "Who are you?"}`, r.body)
	})
	t.Run("global state from pre to response under krait.serial", func(t *testing.T) {
		var group sync.WaitGroup
		for i := range 60 {
			group.Go(func() {
				id := strconv.Itoa(i)
				r, err := g.try(http.MethodGet, []string{"/state/", "/state-too/"}[i%2], nil, "X-Correlation", id)
				if assert.NoError(t, err) && assert.Equal(t, http.StatusOK, r.status, r.body) {
					assert.Equal(t, id, r.header.Get("X-Correlation"))
					assert.Equal(t, "pre post response", r.header.Get("X-Steps"))
				}
			})
		}
		group.Wait()
	})
	t.Run("a hook that calls back into the same gateway", func(t *testing.T) {
		var group sync.WaitGroup
		for range 30 {
			group.Go(func() {
				r, err := g.try(http.MethodGet, "/callback/", nil)
				if assert.NoError(t, err) && assert.Equal(t, http.StatusOK, r.status, r.body) {
					assert.Equal(t, "200", r.echoed(t).Header.Get("X-Status"))
				}
			})
		}
		group.Wait()
	})
}

// callbackAPIs makes the API callback, whose hook calls the API called, whose
// hook is in Python too.
func callbackAPIs(t *testing.T, s *site) {
	t.Helper()
	upstream := echo(t)
	s.bundleOf("testdata/public/callback", "callback.zip")
	s.api("callback", upstream, object{
		"custom_middleware_bundle": "callback.zip",
		"config_data":              object{"url": fmt.Sprintf("http://127.0.0.1:%v/called/", s.conf["listen_port"])},
	})
	s.bundleOf("testdata/public/vendored", "called.zip")
	s.api("called", upstream, object{"custom_middleware_bundle": "called.zip"})
}

// TestContractCallbacksDoNotDeadlock has fewer places than hooks that call back
// into the gateway.
func TestContractCallbacksDoNotDeadlock(t *testing.T) {
	t.Parallel()
	for _, places := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d places", places), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			options := s.conf["coprocess_options"].(object)
			options["max_in_flight"], options["hook_timeout"] = places, "2s"
			callbackAPIs(t, s)
			g := s.start()
			var group sync.WaitGroup
			for range 4 * places {
				group.Go(func() {
					r, err := g.try(http.MethodGet, "/callback/", nil)
					if assert.NoError(t, err) {
						assert.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, r.status)
					}
				})
			}
			group.Wait()
			want := "200"
			if places == 1 {
				want = "503" // the hook holds the one place
			}
			require.Equal(t, want, g.get("/callback/").echoed(t).Header.Get("X-Status"))
		})
	}
}
