package gateway_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/session"
)

// keyed are the members of a definition that asks for stored keys.
func keyed() map[string]any { return map[string]any{"use_keyless": false} }

func TestConnectionFieldsOfClients(t *testing.T) {
	up := newUpstream(t)
	var shown map[string]string
	hooks := map[string]hookFunc{"Pre1": func(_ context.Context, obj *coprocesspb.Object) error {
		shown = obj.Request.Headers
		obj.Request.SetHeaders = map[string]string{
			"X-User": "from hook", "Connection": "X-User", "Keep-Alive": "timeout=5", "Upgrade": "h2c", "Te": "deflate",
		}
		return nil
	}}
	f := start(t, setup{
		hooks: hooks, bundles: bundles{"b.zip": preOnly},
		apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, withHooks()),
			definition(t, "plain", "/plain/", up.URL, nil),
			definition(t, "key", "/key/", up.URL, keyed()),
		},
	})
	require.NoError(t, session.NewStore(f.store).Put(t.Context(), "key", &coprocesspb.SessionState{OrgId: "org"}, 0))
	for _, c := range []struct {
		name   string
		header []string
	}{
		{"named header", []string{"Connection", "X-User", "X-User", "client"}},
		{"list with blanks and another case", []string{"Connection", "close , x-user", "X-User", "client"}},
		{"several fields", []string{"Connection", "close", "Connection", "x-user", "X-User", "client"}},
		{"not sent at all", []string{"Connection", "X-User"}},
	} {
		t.Run("hook's header survives: "+c.name, func(t *testing.T) {
			require.Equal(t, 200, f.get("/a/x", c.header...).code)
			require.NotContains(t, shown, "X-User", "the hook sees what the upstream would")
			require.NotContains(t, shown, "Connection")
			require.Equal(t, "from hook", up.got().header.Get("X-User"))
			for _, name := range []string{"Connection", "Keep-Alive", "Upgrade", "Te"} {
				require.NotContains(t, up.got().header, name)
			}
		})
	}
	t.Run("fields of one connection go no further", func(t *testing.T) {
		require.Equal(t, 200, f.get("/plain/x", "Keep-Alive", "1", "Proxy-Connection", "x", "Proxy-Authorization", "x",
			"Te", "deflate, Trailers", "Http2-Settings", "AAMAAABk").code)
		for _, name := range []string{"Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "Http2-Settings"} {
			require.NotContains(t, up.got().header, name)
		}
		require.Equal(t, []string{"trailers"}, up.got().header["Te"])
	})
	t.Run("a key that is named does not count", func(t *testing.T) {
		require.Equal(t, 200, f.get("/key/x", "Authorization", "key").code)
		require.Equal(t, 401, f.get("/key/x", "Authorization", "key", "Connection", "Authorization").code)
	})
}

func TestUpgradesThatAreNoWebsockets(t *testing.T) {
	up := newUpstream(t)
	var shown map[string]string
	f := start(t, setup{
		hooks: map[string]hookFunc{"Pre1": func(_ context.Context, obj *coprocesspb.Object) error {
			shown = obj.Request.Headers
			return nil
		}},
		bundles: bundles{"b.zip": preOnly},
		apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, nil), definition(t, "hooks", "/hooks/", up.URL, withHooks()),
		},
	})
	for _, c := range []struct {
		name    string
		upgrade []string
	}{
		{"h2c", []string{"h2c"}},
		{"h2c in a list", []string{"foo, h2c"}},
		{"websocket in a list", []string{"websocket, h2c"}},
		{"several fields", []string{"websocket", "h2c"}},
		{"another protocol", []string{"TLS/1.0"}},
		{"websocket with a version", []string{"websocket/13"}},
	} {
		for _, path := range []string{"/a/x", "/hooks/x"} {
			t.Run(c.name+" at "+path, func(t *testing.T) {
				header := []string{"Connection", "Upgrade, HTTP2-Settings", "HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"}
				for _, value := range c.upgrade {
					header = append(header, "Upgrade", value)
				}
				require.Equal(t, 200, f.get(path, header...).code)
				for _, name := range []string{"Upgrade", "Connection", "Http2-Settings"} {
					require.NotContains(t, up.got().header, name)
					require.NotContains(t, shown, name)
				}
			})
		}
	}
}

func TestWebsocketUpgradeIsPassedOnAlone(t *testing.T) {
	got := make(chan http.Header, 1)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Clone()
		if c, err := websocket.Accept(w, r, nil); err == nil {
			_ = c.CloseNow()
		}
	}))
	defer up.Close()
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)}})
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(f.url, "http")+"/a/", &websocket.DialOptions{
		HTTPClient: f.client, HTTPHeader: http.Header{"Http2-Settings": {"AAMAAABk"}},
	})
	require.NoError(t, err)
	_ = conn.CloseNow()
	header := <-got
	require.Equal(t, []string{"websocket"}, header["Upgrade"])
	require.Equal(t, []string{"Upgrade"}, header["Connection"])
	require.NotContains(t, header, "Http2-Settings")
}
