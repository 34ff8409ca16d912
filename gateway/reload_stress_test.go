package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/policy"
)

// TestReloadsAtRandomUnderLoad mixes everything that can happen to two APIs and
// counts what is left in the end.
func TestReloadsAtRandomUnderLoad(t *testing.T) {
	const seed, rounds = 7, 150
	random := rand.New(rand.NewPCG(seed, seed))
	up := newUpstream(t)
	f := startReloading(t, setup{
		loadWait: 3 * time.Millisecond,
		hooks: map[string]hookFunc{"Slow": func(context.Context, *coprocesspb.Object) error {
			time.Sleep(time.Millisecond)
			return nil
		}},
		onLoad: func(ctx context.Context, code coprocess.Code) error {
			switch {
			case strings.HasPrefix(code.Dir, "slow"):
				select {
				case <-time.After(6 * time.Millisecond):
				case <-ctx.Done():
					return ctx.Err()
				}
			case strings.HasPrefix(code.Dir, "broken"):
				return errors.New("SyntaxError")
			}
			return nil
		},
	}, version{name: "v"}, definition(t, "a", "/a/", up.URL, withHooks()), definition(t, "b", "/b/", up.URL, withHooks()))

	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				// b is never touched by what happens to a.
				got, err := f.try([]string{"/a/", "/b/"}[i%2])
				if err != nil || i%2 == 1 && got.code != http.StatusOK {
					t.Errorf("%v: %d %s", err, got.code, got.body)
					return
				}
			}
		})
	}
	good := func(more map[string]any) apidef.Loaded { return definition(t, "a", "/a/", up.URL, withHooks(more)) }
	for n := range rounds {
		a := good(nil)
		switch random.IntN(8) {
		case 0:
			a = good(map[string]any{"config_data": map[string]any{"n": n}})
		case 1:
			a = good(map[string]any{"use_keyless": false})
		case 2:
			a = apidef.Loaded{File: "a.json", Err: errors.New("half a file")}
		case 3:
			a = faulty(t, a, nil)
		case 4:
			a = good(map[string]any{"custom_middleware_bundle": "b.zip,missing.zip"})
		}
		v := version{name: "v"}
		switch random.IntN(6) {
		case 0:
			v.name = fmt.Sprint("slow", n)
		case 1:
			v.name = fmt.Sprint("broken", n)
		case 2:
			v.name = fmt.Sprint("v", n)
		case 3:
			v.hooks = `{"driver": "python", "pre": [{"name": "Slow"}]}`
		}
		b := definition(t, "b", "/b/", up.URL, withHooks())
		f.origin.set(v, b)
		if random.IntN(10) > 0 {
			f.origin.set(v, a, b)
		}
		if random.IntN(3) == 0 {
			require.NoError(t, f.RequestReload("not awaited"))
			continue
		}
		require.NoError(t, f.Reload(t.Context(), "test"))
	}
	close(stop)
	clients.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	require.NoError(t, f.Close(ctx))
	loaded, closed := f.driver.counts()
	require.Equal(t, loaded, closed, "all plugin code is freed")
	require.Greater(t, loaded, rounds/10)
}

func TestPoliciesThatCannotBeReadStayInForce(t *testing.T) {
	f := startReloading(t, setup{}, version{name: "v1"})
	set := func(text string) *policy.Set {
		s, _, _ := policy.Parse("policies.json", []byte(text)) // its faults are looked at by the gateway
		return s
	}
	reload := func(p *policy.Set) {
		f.origin.mu.Lock()
		f.origin.policies = p
		f.origin.mu.Unlock()
		require.NoError(t, f.Reload(t.Context(), "test"))
	}
	one := `{"gold": {"access_rights": {"a": {"api_id": "a"}}, "rate": 5, "per": 1}}`
	key := func() answer {
		return f.do("POST", "/tyk/keys/k", `{"apply_policies": ["gold"]}`, "X-Tyk-Authorization", "topsecret")
	}
	require.NotEqual(t, 200, key().code, "there is no such policy yet")
	reload(set(one))
	require.Equal(t, 200, key().code)
	reload(set(one[:20]))
	require.Equal(t, 200, key().code)
	require.Contains(t, f.logs.String(), "policies cannot be read, those before stay in force")
	reload(set("{}"))
	require.NotEqual(t, 200, key().code, "it is gone")
}

// BenchmarkReloadOfUnchangedAPIs is a reload of a thousand APIs with plugins that
// finds nothing new, but for reading the files.
func BenchmarkReloadOfUnchangedAPIs(b *testing.B) {
	var apis []apidef.Loaded
	for i := range 1000 {
		apis = append(apis, definition(b, fmt.Sprint("api", i), fmt.Sprintf("/api%d/", i), "http://127.0.0.1:1", withHooks()))
	}
	f := startReloading(b, setup{}, version{name: "v1"}, apis...)
	b.ReportAllocs()
	for b.Loop() {
		require.NoError(b, f.Reload(b.Context(), "benchmark"))
	}
}
