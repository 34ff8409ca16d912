package gateway_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/coprocesspb"
)

// Hooks of bundles whose manifest says krait.serial.
const (
	serialPreAndResponse = `{"driver": "python", "pre": [{"name": "Begin"}], "response": [{"name": "End"}]}`
	serialPre            = `{"driver": "python", "pre": [{"name": "Begin"}]}`
)

// globals is plugin code that keeps the request's name in a global variable.
func globals() map[string]hookFunc {
	var current atomic.Pointer[string]
	return map[string]hookFunc{
		"Begin": func(_ context.Context, obj *coprocesspb.Object) error {
			name := obj.GetRequest().GetHeaders()["X-Name"]
			current.Store(&name)
			obj.Request.SetHeaders = map[string]string{"X-Begun": name}
			return nil
		},
		"End": func(_ context.Context, obj *coprocesspb.Object) error {
			obj.Response.Headers["X-Ended"] = *current.Load()
			return nil
		},
	}
}

// serial makes the bundle b.zip of manifest serial.
func serial(manifest string) bundles { return bundles{"b.zip": manifest, "b.zip serial": true} }

func hookTimeout(d time.Duration) func(*config.Config) {
	return func(c *config.Config) { c.CoprocessOptions.HookTimeout = config.Duration(d) }
}

func TestSerialBundle(t *testing.T) {
	t.Run("globals of pre are there in response", func(t *testing.T) {
		up := newUpstream(t)
		f := start(t, setup{
			apis:    []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks()), definition(t, "b", "/b/", up.URL, withHooks())},
			hooks:   globals(),
			bundles: serial(serialPreAndResponse),
		})
		var group sync.WaitGroup
		for i := range 50 {
			group.Go(func() {
				name := strings.Repeat("n", i+1)
				got, err := f.try([]string{"/a/", "/b/"}[i%2], "X-Name", name)
				if assert.NoError(t, err) {
					assert.Equal(t, name, got.header.Get("X-Ended"))
				}
			})
		}
		group.Wait()
	})
	t.Run("without a response hook the upstream is waited for together", func(t *testing.T) {
		var inside sync.WaitGroup
		inside.Add(2)
		up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			inside.Done()
			inside.Wait() // for the other request
		}))
		t.Cleanup(up.Close)
		f := start(t, setup{
			apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())}, hooks: globals(), bundles: serial(serialPre),
		})
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				got, err := f.try("/a/")
				if assert.NoError(t, err) {
					assert.Equal(t, http.StatusOK, got.code)
				}
			})
		}
		group.Wait()
	})
	t.Run("a request that waits too long is 503, and the turn is given on", func(t *testing.T) {
		release, asked := make(chan struct{}), make(chan struct{}, 1)
		up := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			asked <- struct{}{}
			<-release
		}))
		t.Cleanup(up.Close)
		f := start(t, setup{
			config: hookTimeout(100 * time.Millisecond),
			apis:   []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())}, hooks: globals(), bundles: serial(serialPreAndResponse),
		})
		first := make(chan answer, 1)
		go func() {
			got, err := f.try("/a/")
			assert.NoError(t, err)
			first <- got
		}()
		<-asked
		got := f.get("/a/")
		require.Equal(t, http.StatusServiceUnavailable, got.code)
		require.Equal(t, "1", got.header.Get("Retry-After"))
		close(release)
		require.Equal(t, http.StatusOK, (<-first).code)
		require.Equal(t, http.StatusOK, f.get("/a/").code)
	})
	t.Run("a client that goes away gives its turn up", func(t *testing.T) {
		asked := make(chan struct{}, 1)
		up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Name") == "hangs" {
				asked <- struct{}{}
				<-r.Context().Done()
			}
		}))
		t.Cleanup(up.Close)
		f := start(t, setup{
			apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())}, hooks: globals(), bundles: serial(serialPreAndResponse),
		})
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/a/", nil)
			if assert.NoError(t, err) {
				r.Header.Set("X-Name", "hangs")
				resp, err := f.client.Do(r)
				if err == nil {
					_ = resp.Body.Close()
				}
				assert.ErrorIs(t, err, context.Canceled)
			}
		}()
		<-asked
		cancel()
		<-gone
		require.Equal(t, http.StatusOK, f.get("/a/").code)
	})
	t.Run("a hook that fails gives the turn up", func(t *testing.T) {
		hooks := globals()
		hooks["End"] = func(context.Context, *coprocesspb.Object) error { return coprocess.ErrTimeout }
		f := start(t, setup{
			apis: []apidef.Loaded{definition(t, "a", "/a/", newUpstream(t).URL, withHooks())}, hooks: hooks, bundles: serial(serialPreAndResponse),
		})
		for range 3 {
			require.Equal(t, http.StatusGatewayTimeout, f.get("/a/").code)
		}
	})
	t.Run("a request that is routed inside the gateway does not wait for itself", func(t *testing.T) {
		hooks := globals()
		begin := hooks["Begin"]
		hooks["Begin"] = func(ctx context.Context, obj *coprocesspb.Object) error {
			if url := obj.GetRequest().GetUrl(); strings.HasSuffix(url, "/loop") {
				obj.Request.Url = "tyk://b/b/end"
			}
			return begin(ctx, obj)
		}
		up := newUpstream(t)
		f := start(t, setup{
			apis:  []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks()), definition(t, "b", "/b/", up.URL, withHooks())},
			hooks: hooks, bundles: serial(serialPreAndResponse),
		})
		require.Equal(t, "me", f.get("/a/loop", "X-Name", "me").header.Get("X-Ended"))
	})
	t.Run("a hook that calls its own API gets an answer within its time", func(t *testing.T) {
		hooks := globals()
		begin := hooks["Begin"]
		var f *fixture
		hooks["Begin"] = func(ctx context.Context, obj *coprocesspb.Object) error {
			if obj.GetRequest().GetHeaders()["X-Name"] == "calls" {
				ctx, cancel := context.WithTimeout(ctx, 400*time.Millisecond) // as a driver does
				defer cancel()
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/a/", nil)
				if err != nil {
					return err
				}
				resp, err := f.client.Do(r)
				if err != nil {
					return err
				}
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusServiceUnavailable {
					return errors.New("the call got " + resp.Status)
				}
			}
			return begin(ctx, obj)
		}
		f = start(t, setup{
			config: hookTimeout(400 * time.Millisecond),
			apis:   []apidef.Loaded{definition(t, "a", "/a/", newUpstream(t).URL, withHooks())}, hooks: hooks, bundles: serial(serialPreAndResponse),
		})
		require.Equal(t, "calls", f.get("/a/", "X-Name", "calls").header.Get("X-Ended"))
	})
	t.Run("a client that sends slowly keeps nobody waiting", func(t *testing.T) {
		up := newUpstream(t)
		f := start(t, setup{
			apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())}, hooks: globals(), bundles: serial(serialPreAndResponse),
		})
		body, send := io.Pipe()
		slow := make(chan struct{})
		go func() {
			defer close(slow)
			resp, err := http.Post(f.url+"/a/", "text/plain", body)
			if assert.NoError(t, err) {
				_ = resp.Body.Close()
			}
		}()
		_, err := send.Write([]byte("a")) // it is on its way
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, f.get("/a/").code)
		require.NoError(t, send.Close())
		<-slow
		http.DefaultClient.CloseIdleConnections()
	})
	t.Run("an auth_check that an extractor spares", func(t *testing.T) {
		up := newUpstream(t)
		hooks := map[string]hookFunc{"Auth": func(_ context.Context, obj *coprocesspb.Object) error {
			obj.Metadata = map[string]string{"token": "me"}
			obj.Session = &coprocesspb.SessionState{IdExtractorDeadline: time.Now().Add(time.Hour).Unix()}
			return nil
		}}
		f := start(t, setup{
			apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))}, hooks: hooks,
			bundles: serial(`{"driver": "python", "auth_check": {"name": "Auth"}, "id_extractor": ` + fromHeader + `}`),
		})
		for range 2 {
			require.Equal(t, http.StatusOK, f.do(http.MethodPost, "/a/", "the body", "Authorization", "abc").code)
			require.Equal(t, "the body", up.got().body)
		}
	})
	t.Run("bundles that two APIs name in different order", func(t *testing.T) {
		up := newUpstream(t)
		other := map[string]any{"custom_middleware_bundle": "c.zip,b.zip"}
		both := map[string]any{"custom_middleware_bundle": "b.zip,c.zip"}
		f := start(t, setup{
			apis:  []apidef.Loaded{definition(t, "a", "/a/", up.URL, both), definition(t, "b", "/b/", up.URL, other)},
			hooks: globals(), bundles: bundles{
				"b.zip": serialPreAndResponse, "b.zip serial": true, "c.zip": serialPreAndResponse, "c.zip serial": true,
			},
		})
		var group sync.WaitGroup
		for i := range 40 {
			group.Go(func() {
				got, err := f.try([]string{"/a/", "/b/"}[i%2])
				if assert.NoError(t, err) {
					assert.Equal(t, http.StatusOK, got.code)
				}
			})
		}
		group.Wait()
	})
}
