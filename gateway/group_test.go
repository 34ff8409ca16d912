package gateway_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/store/memory"
)

func TestGroupReload(t *testing.T) {
	up := newUpstream(t)
	shared, err := memory.New(memory.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, shared.Close()) })
	a := definition(t, "a", "/a/", up.URL, withHooks())
	var group []*reloading
	for range 3 {
		group = append(group, startReloading(t, setup{signals: shared}, version{name: "v1"}, a))
	}
	for _, f := range group {
		f.origin.set(version{name: "v2"}, a)
	}
	got := group[0].get("/tyk/reload/group", "X-Tyk-Authorization", "topsecret")
	require.Equal(t, 200, got.code)
	require.JSONEq(t, `{"status": "ok", "message": ""}`, got.body)
	for _, f := range group {
		require.Eventually(t, func() bool { return f.get("/a/").body == "v2" }, limit, time.Millisecond)
	}
	require.Equal(t, 403, group[0].get("/tyk/reload/group").code)
}

func TestGroupReloadOfAGatewayThatIsAlone(t *testing.T) {
	up := newUpstream(t)
	a := definition(t, "a", "/a/", up.URL, withHooks())
	f := startReloading(t, setup{}, version{name: "v1"}, a)
	f.origin.set(version{name: "v2"}, a)
	require.Equal(t, 200, f.get("/tyk/reload/group/", "X-Tyk-Authorization", "topsecret").code)
	require.Eventually(t, func() bool { return f.get("/a/").body == "v2" }, limit, time.Millisecond)
}

// deaf is a store that is away.
type deaf struct{}

func (deaf) Signal(context.Context, string) error { return errors.New("redis is away") }

func (deaf) Subscribe(context.Context, string) (<-chan struct{}, func()) { return nil, func() {} }

func TestGroupReloadWithoutTheStore(t *testing.T) {
	f := startReloading(t, setup{signals: deaf{}}, version{name: "v1"})
	got := f.get("/tyk/reload/group", "X-Tyk-Authorization", "topsecret")
	require.Equal(t, 500, got.code)
	require.Contains(t, got.body, "redis is away")
}
