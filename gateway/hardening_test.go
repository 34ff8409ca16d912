package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/session"
)

func TestSessionsOfAuthCheckAreBoundToTheirAPI(t *testing.T) {
	up := newUpstream(t)
	for _, c := range []struct {
		name   string
		rights []string
		other  int
	}{
		{"no access rights", nil, 403},
		{"access rights for both", []string{"a", "other"}, 200},
		{"access rights for another API only", []string{"a"}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen map[string]string
			hooks := hookSet(&trail{}, accept("tok", func(s *coprocesspb.SessionState) {
				s.QuotaMax, s.QuotaRemaining = 10, 10
				for _, id := range c.rights {
					if s.AccessRights == nil {
						s.AccessRights = map[string]*coprocesspb.AccessDefinition{}
					}
					s.AccessRights[id] = &coprocesspb.AccessDefinition{ApiId: id}
				}
			}))
			hooks["Post1"] = func(_ context.Context, obj *coprocesspb.Object) error {
				seen = obj.Session.GetMetadata()
				return nil
			}
			apis := func(auth map[string]any) []apidef.Loaded {
				return []apidef.Loaded{
					definition(t, "a", "/a/", up.URL, auth),
					definition(t, "other", "/other/", up.URL, withHooks(keyed(), map[string]any{"custom_middleware_bundle": "post.zip"})),
				}
			}
			f := start(t, setup{
				hooks: hooks, apis: apis(withHooks(custom())),
				bundles: bundles{"b.zip": allHooks, "post.zip": `{"driver": "python", "post": [{"name": "Post1"}]}`},
			})
			require.Equal(t, 200, f.get("/a/x").code)
			want := map[string]string{"token": "tok", "who": "me"}
			require.Equal(t, want, seen)
			require.Equal(t, c.other, f.get("/other/x", "Authorization", "tok").code)
			require.Equal(t, want, seen, "plugins do not see how a session is bound")

			sessions := session.NewStore(f.store)
			s, err := sessions.Get(t.Context(), "tok")
			require.NoError(t, err)
			s.QuotaRemaining = 3
			require.NoError(t, sessions.Put(t.Context(), "tok", s, 0))
			require.Equal(t, 200, f.get("/a/x").code)
			s, err = sessions.Get(t.Context(), "tok")
			require.NoError(t, err)
			require.EqualValues(t, 3, s.QuotaRemaining, "the next auth_check finds the session")

			require.NoError(t, f.Load(t.Context(), apis(keyed())))
			require.Equal(t, 200, f.get("/a/x", "Authorization", "tok").code, "the API that stored it accepts it as a key")
		})
	}
}

func TestRequestTrailersAreDropped(t *testing.T) {
	trailers := make(chan string, 1)
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body := make([]byte, 10)
		n, _ := r.Body.Read(body)
		for n < 3 {
			more, err := r.Body.Read(body[n:])
			if n += more; err != nil {
				break
			}
		}
		_, _ = r.Body.Read(body[n:])
		trailers <- fmt.Sprintf("%s %v %v", body[:n], r.Trailer, r.Header["Trailer"])
	}))
	defer up.Close()
	f := start(t, setup{
		hooks: map[string]hookFunc{"Pre1": (&trail{}).hook(nil)}, bundles: bundles{"b.zip": preOnly},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil), definition(t, "hooks", "/hooks/", up.URL, withHooks())},
	})
	for _, path := range []string{"/a/", "/hooks/"} {
		for _, c := range []struct{ name, header, trailer string }{
			{"announced", "Trailer: X-User\r\n", "X-User: admin\r\n"},
			{"not announced", "", "X-User: admin\r\n"},
			{"announced and not sent", "Trailer: X-User\r\n", ""},
		} {
			t.Run(path+" "+c.name, func(t *testing.T) {
				w := dial(t, f)
				w.send("POST " + path + " HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" + c.header + "\r\n3\r\nabc\r\n0\r\n" + c.trailer + "\r\n")
				require.Equal(t, 200, w.answer().code)
				require.Equal(t, "abc map[] []", <-trailers)
			})
		}
	}
}

func TestRequestIDOfProxiedAnswers(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id := r.Header.Get("X-Set"); id != "" {
			w.Header().Set("X-Request-Id", id)
		}
	}))
	defer up.Close()
	f := start(t, setup{
		hooks: hookSet(&trail{}, nil), bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil), definition(t, "hooks", "/hooks/", up.URL, withHooks())},
	})
	for _, path := range []string{"/a/", "/hooks/"} {
		require.Equal(t, []string{"abc"}, f.get(path, "X-Request-Id", "abc").header["X-Request-Id"])
		require.Equal(t, []string{"theirs"}, f.get(path, "X-Request-Id", "abc", "X-Set", "theirs").header["X-Request-Id"])
		id := f.get(path).header.Get("X-Request-Id")
		require.Len(t, id, 32)
		require.Eventually(t, func() bool { return strings.Contains(f.logs.String(), "request_id="+id) }, limit, time.Millisecond)
	}
}

func TestUpgradedConnectionIsLoggedAs101(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := websocket.Accept(w, r, nil); err == nil {
			_ = c.CloseNow()
		}
	}))
	defer up.Close()
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)}})
	conn, resp, err := websocket.Dial(t.Context(), f.url+"/a/", &websocket.DialOptions{HTTPClient: f.client})
	require.NoError(t, err)
	defer conn.CloseNow()
	require.NotEmpty(t, resp.Header.Get("X-Request-Id"))
	_ = conn.CloseNow()
	require.Eventually(t, func() bool { return strings.Contains(f.logs.String(), "request served") }, limit, time.Millisecond)
	require.Contains(t, f.logs.String(), "status=101")
}

func TestSeveralKeysAreRefused(t *testing.T) {
	up := newUpstream(t)
	tr := &trail{}
	f := start(t, setup{
		hooks: hookSet(tr, accept("tok", nil)), bundles: bundles{"b.zip": `{"driver": "python", "auth_check": {"name": "Auth"}}`},
		apis: []apidef.Loaded{
			definition(t, "open", "/open/", up.URL, nil),
			definition(t, "key", "/key/", up.URL, keyed()),
			definition(t, "hook", "/hook/", up.URL, withHooks(custom())),
			definition(t, "named", "/named/", up.URL, withHooks(custom(), map[string]any{"auth": map[string]any{"auth_header_name": "x-key"}})),
		},
	})
	require.NoError(t, session.NewStore(f.store).Put(t.Context(), "one", &coprocesspb.SessionState{OrgId: "org"}, 0))
	for _, c := range []struct {
		name, path string
		header     []string
		code       int
	}{
		{"stored key", "/key/", []string{"Authorization", "one", "Authorization", "two"}, 400},
		{"stored key twice", "/key/", []string{"Authorization", "one", "Authorization", "one"}, 400},
		{"auth_check", "/hook/", []string{"Authorization", "one", "Authorization", "two"}, 400},
		{"header of another name", "/named/", []string{"X-Key", "one", "X-Key", "two"}, 400},
		{"other headers may repeat", "/named/", []string{"X-Key", "one", "Authorization", "1", "Authorization", "2"}, 200},
		{"one key", "/key/", []string{"Authorization", "one"}, 200},
		{"open API", "/open/", []string{"Authorization", "one", "Authorization", "two"}, 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(tr.names)
			got := f.get(c.path, c.header...)
			require.Equal(t, c.code, got.code)
			if c.code == 400 {
				require.JSONEq(t, `{"error": "Authorization field ambiguous"}`, got.body)
				require.Len(t, tr.names, before, "auth_check is not asked")
			}
		})
	}
}

func TestIdleBodies(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		bodyIdle: 150 * time.Millisecond,
		hooks:    map[string]hookFunc{"Pre1": (&trail{}).hook(nil)}, bundles: bundles{"b.zip": preOnly},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil), definition(t, "hooks", "/hooks/", up.URL, withHooks())},
	})
	for _, path := range []string{"/a/", "/hooks/"} {
		t.Run("nothing comes: "+path, func(t *testing.T) {
			w := dial(t, f)
			w.send("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
			got := w.answer()
			require.Equal(t, 408, got.code)
			require.JSONEq(t, `{"error": "Request body did not arrive in time"}`, got.body)
			_, err := w.in.ReadByte()
			require.Error(t, err, "the connection is closed")
			require.NotContains(t, f.logs.String(), "level=ERROR")
		})
		t.Run("slow but steady: "+path, func(t *testing.T) {
			w := dial(t, f)
			w.send("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n")
			for range 8 {
				<-time.After(50 * time.Millisecond) // together more than the limit
				w.send("x")
			}
			require.Equal(t, 200, w.answer().code)
			require.Equal(t, "xxxxxxxx", up.got().body)
			<-time.After(200 * time.Millisecond)
			w.send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n")
			require.Equal(t, 200, w.answer().code, "the next request on the connection is not hurried")
		})
	}
	t.Run("answered before the body", func(t *testing.T) {
		w := dial(t, f)
		w.send("POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
		require.Equal(t, 404, w.answer().code)
	})
}

func TestHookMayTakeLongerThanABody(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		bodyIdle: 50 * time.Millisecond,
		hooks: map[string]hookFunc{"Pre1": func(ctx context.Context, _ *coprocesspb.Object) error {
			select {
			case <-time.After(200 * time.Millisecond):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}},
		bundles: bundles{"b.zip": preOnly},
		apis:    []apidef.Loaded{definition(t, "hooks", "/hooks/", up.URL, withHooks())},
	})
	require.Equal(t, 200, f.do("POST", "/hooks/", "body").code)
	require.Equal(t, "body", up.got().body)
}

func TestStoreFailuresAreLoggedSparingly(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		sessions: brokenSessions{errors.New("connection refused")},
		hooks:    hookSet(&trail{}, accept("tok", nil)), bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, withHooks(custom())),
			definition(t, "b", "/b/", up.URL, withHooks(custom())),
			definition(t, "key", "/key/", up.URL, keyed()),
		},
	})
	for range 20 {
		require.Equal(t, 200, f.get("/a/").code)
		require.Equal(t, 200, f.get("/b/").code)
		require.Equal(t, 503, f.get("/key/", "Authorization", "k").code)
	}
	log := f.logs.String()
	require.Equal(t, 2, strings.Count(log, "the new one is not stored"), "once per API")
	require.Equal(t, 1, strings.Count(log, "cannot look up the key"))
}

func TestURLsOfHooksWithDotSegments(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		hooks: map[string]hookFunc{"Pre1": func(_ context.Context, obj *coprocesspb.Object) error {
			obj.Request.Url = obj.Request.Headers["X-To"]
			return nil
		}},
		bundles: bundles{"b.zip": preOnly},
		apis:    []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())},
	})
	for _, to := range []string{"/a/../b", "/a/./b", "/a/%2e%2e/b", "/a/%2E./b", "/a/..", "/a/x%2f..%2fb", "/a/x/..%5cb", up.URL + "/a/../b", "tyk://self/a/../b"} {
		t.Run(to, func(t *testing.T) {
			require.Equal(t, 500, f.get("/a/x", "X-To", to).code)
			require.Zero(t, up.count())
			require.Contains(t, f.logs.String(), "segments")
		})
	}
	for _, c := range []struct{ name, to, want string }{
		{"dots within a segment", "/a/x..y/.z", "/x..y/.z"},
		{"fragment", "/a/x#part", "/x"},
		{"fragment behind a query", "/a/x?q=1#part", "/x?q=1"},
		{"fragment of an absolute URL", up.URL + "/y#part?no", "/y"},
		{"escaped number sign", "/a/x%23y?z=%23", "/x%23y?z=%23"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, 200, f.get("/a/x", "X-To", c.to).code)
			require.Equal(t, c.want, up.got().uri)
		})
	}
}
