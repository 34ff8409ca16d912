package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/coprocesspb"
)

func TestUpstreamURL(t *testing.T) {
	up := newUpstream(t)
	cases := []struct {
		name, target string
		keep         bool // do not strip the listen path
		path, want   string
	}{
		{"path is appended", "", false, "/a/x/y", "/x/y"},
		{"trailing slash is kept", "", false, "/a/x/", "/x/"},
		{"target path comes first", "/base", false, "/a/x", "/base/x"},
		{"one slash between", "/base/", false, "/a/x", "/base/x"},
		{"empty rest gives the target without slash", "/base/", false, "/a/", "/base"},
		{"listen path is kept without strip_listen_path", "/base", true, "/a/x", "/base/a/x"},
		{"only the leading listen path is stripped", "", false, "/a/a/a/", "/a/a/"},
		{"escaped slash survives", "", false, "/a/x%2Fy", "/x%2Fy"},
		{"lower-case escapes survive", "", false, "/a/x%2fy%e4", "/x%2fy%e4"},
		{"escaped target path survives", "/b%2Fc", false, "/a/x", "/b%2Fc/x"},
		{"query is raw", "", false, "/a/x?b=1;c=%zz&d&&=", "/x?b=1;c=%zz&d&&="},
		{"query with bytes that are not UTF-8", "", false, "/a/x?q=\xff%ff", "/x?q=\xff%ff"},
		{"target's query comes first", "/x?k=1", false, "/a/?q=2", "/x?k=1&q=2"},
		{"lone question mark survives", "", false, "/a/x?", "/x?"},
		{"repeated slashes below the listen path", "", false, "/a/x//y", "/x//y"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL+c.target,
				map[string]any{"proxy.strip_listen_path": !c.keep})}})
			code, _ := rawRequest(t, f.url[len("http://"):], "GET", c.path)
			require.Equal(t, 200, code)
			require.Equal(t, c.want, up.got().uri)
		})
	}
}

func TestUpstreamHeaders(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apis: []apidef.Loaded{
		definition(t, "a", "/a/", up.URL, nil),
		definition(t, "p", "/p/", up.URL, map[string]any{"proxy.preserve_host_header": true}),
	}})
	f.get("/a/", "Host", "public.example", "X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "https",
		"Connection", "X-Hop", "X-Hop", "1", "X-Keep", "a", "X-Keep", "b", "Accept-Encoding", "br")
	got := up.got()
	require.Equal(t, strings.TrimPrefix(up.URL, "http://"), got.host)
	require.Equal(t, "1.2.3.4, 127.0.0.1", got.header.Get("X-Forwarded-For"))
	require.Equal(t, "https", got.header.Get("X-Forwarded-Proto"))
	require.Equal(t, []string{"a", "b"}, got.header["X-Keep"])
	require.Equal(t, "br", got.header.Get("Accept-Encoding"))
	require.NotContains(t, got.header, "X-Hop")
	require.NotContains(t, got.header, "X-Forwarded-Host")
	require.NotContains(t, got.header, "X-Request-Id", "a request id is passed on only when the client sent one")
	f.get("/p/", "Host", "public.example", "X-Request-Id", "abc")
	got = up.got()
	require.Equal(t, "public.example", got.host)
	require.Equal(t, "abc", got.header.Get("X-Request-Id"))
	require.Equal(t, "127.0.0.1", got.header.Get("X-Forwarded-For"))
}

func TestRequestIDs(t *testing.T) {
	f := start(t, setup{})
	for _, c := range []struct {
		name, sent string
		kept       bool
	}{
		{"sane id is used", "a.B_9-", true},
		{"longest id is used", strings.Repeat("x", 128), true},
		{"too long", strings.Repeat("x", 129), false},
		{"with a space", "a b", false},
		{"with markup", "<script>", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := f.get("/none", "X-Request-Id", c.sent).header.Get("X-Request-Id")
			require.Equal(t, c.kept, got == c.sent)
			require.NotEmpty(t, got)
		})
	}
}

func TestUpstreamFailures(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(hang)
	f := start(t, setup{
		config: func(c *config.Config) { c.ProxyDefaultTimeout = 0.1 },
		apis: []apidef.Loaded{
			definition(t, "closed", "/closed/", closed.URL, nil),
			definition(t, "slow", "/slow/", slow.URL, nil),
			definition(t, "lookup", "/lookup/", "http://no-such-host.invalid/", nil),
		},
	})
	for _, c := range []struct {
		name, path string
		code       int
		body       string
	}{
		{"nobody listens", "/closed/", 500, "There was a problem proxying the request"},
		{"no answer in time", "/slow/", 504, "Upstream service reached hard timeout."},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := f.get(c.path)
			require.Equal(t, c.code, got.code)
			require.JSONEq(t, `{"error": "`+c.body+`"}`, got.body)
			require.NotEmpty(t, got.header.Get("X-Request-Id"))
		})
	}
	t.Run("unknown host is an error of ours", func(t *testing.T) {
		// Which one depends on the machine's resolver.
		require.Contains(t, []int{500, 504}, f.get("/lookup/").code)
	})
	t.Run("broken chunks are the client's fault", func(t *testing.T) {
		up := newUpstream(t)
		f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)}})
		conn, err := net.Dial("tcp", f.url[len("http://"):])
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "POST /a/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, 400, resp.StatusCode)
	})
}

func TestEventStreamIsNotBuffered(t *testing.T) {
	more := make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-more
		_, _ = io.WriteString(w, "data: 2\n\n")
	}))
	defer up.Close()
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)}})
	resp, err := f.client.Get(f.url + "/a/")
	require.NoError(t, err)
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	line, err := in.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "data: 1\n", line)
	close(more)
	rest, err := io.ReadAll(in)
	require.NoError(t, err)
	require.Equal(t, "\ndata: 2\n\n", string(rest))
}

func TestRequestBodyStreams(t *testing.T) {
	first := make(chan string, 1)
	up := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 3)
		_, _ = io.ReadFull(r.Body, buf)
		first <- string(buf)
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer up.Close()
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)}})
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		resp, err := f.client.Post(f.url+"/a/", "", in)
		if err == nil {
			err = resp.Body.Close()
		}
		done <- err
	}()
	_, err := io.WriteString(out, "one")
	require.NoError(t, err)
	require.Equal(t, "one", <-first, "the upstream sees the beginning before the client has sent the end")
	require.NoError(t, out.Close())
	require.NoError(t, <-done)
}

func TestWebsocket(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer c.CloseNow()
		kind, data, err := c.Read(r.Context())
		if err != nil {
			return
		}
		_ = c.Write(r.Context(), kind, append([]byte("echo "), data...))
		_ = c.Close(websocket.StatusNormalClosure, "")
	}))
	defer up.Close()
	hooks := hookSet(&trail{}, nil)
	hooks["Response1"] = failing(context.Canceled) // must not run for an upgrade
	for _, c := range []struct {
		name, target string
		more         map[string]any
	}{
		{"http target", up.URL, nil},
		{"ws target", "ws" + strings.TrimPrefix(up.URL, "http"), nil},
		{"with hooks", up.URL, withHooks()},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, setup{
				hooks: hooks, bundles: bundles{"b.zip": allHooks},
				apis: []apidef.Loaded{definition(t, "a", "/a/", c.target, c.more)},
			})
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			conn, _, err := websocket.Dial(ctx, f.url+"/a/", &websocket.DialOptions{HTTPClient: f.client})
			require.NoError(t, err)
			defer conn.CloseNow()
			require.NoError(t, conn.Write(ctx, websocket.MessageText, []byte("hi")))
			_, data, err := conn.Read(ctx)
			require.NoError(t, err)
			require.Equal(t, "echo hi", string(data))
		})
	}
	t.Run("switched off", func(t *testing.T) {
		f := start(t, setup{
			config: func(c *config.Config) { c.HTTPServerOptions.EnableWebSockets = false },
			apis:   []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)},
		})
		_, resp, err := websocket.Dial(t.Context(), f.url+"/a/", &websocket.DialOptions{HTTPClient: f.client})
		require.Error(t, err)
		require.NotEqual(t, http.StatusSwitchingProtocols, resp.StatusCode)
	})
}

func TestHTTP2Upstreams(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Grpc-Status")
		w.Header().Set("X-Proto", r.Proto)
		w.Header().Set("X-Te", r.Header.Get("Te"))
		_, _ = io.Copy(w, r.Body)
		w.Header().Set("Grpc-Status", "0")
	})
	plain := httptest.NewUnstartedServer(handler)
	plain.Config.Protocols = &http.Protocols{}
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	secure.StartTLS()
	defer secure.Close()
	f := start(t, setup{apis: []apidef.Loaded{
		definition(t, "h2c", "/h2c/", "h2c"+strings.TrimPrefix(plain.URL, "http"), nil),
		definition(t, "h2", "/h2/", secure.URL, map[string]any{"proxy.transport.ssl_insecure_skip_verify": true}),
		definition(t, "untrusted", "/untrusted/", secure.URL, nil),
	}})
	for _, path := range []string{"/h2c/", "/h2/"} {
		t.Run(path, func(t *testing.T) {
			r, err := http.NewRequest(http.MethodPost, f.url+path, strings.NewReader("body"))
			require.NoError(t, err)
			r.Header.Set("Te", "trailers")
			resp, err := f.client.Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.Equal(t, "body", string(body))
			require.Equal(t, "HTTP/2.0", resp.Header.Get("X-Proto"))
			require.Equal(t, "trailers", resp.Header.Get("X-Te"))
			require.Equal(t, "0", resp.Trailer.Get("Grpc-Status"))
		})
	}
	t.Run("certificates are checked unless switched off", func(t *testing.T) {
		require.Equal(t, 500, f.get("/untrusted/").code)
	})
}

func TestUpstreamThatBreaksOff(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "part")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer up.Close()
	f := start(t, setup{
		hooks: hookSet(&trail{}, nil), bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{
			definition(t, "a", "/a/", up.URL, nil),
			definition(t, "hooks", "/hooks/", up.URL, withHooks()),
		},
	})
	t.Run("client notices", func(t *testing.T) {
		resp, err := f.client.Get(f.url + "/a/")
		if err == nil { // the header got through before the connection was cut
			defer resp.Body.Close()
			_, err = io.ReadAll(resp.Body)
		}
		require.Error(t, err)
	})
	t.Run("response hooks do not see half a body", func(t *testing.T) {
		require.Equal(t, 502, f.get("/hooks/").code)
	})
}

func TestURLsOfHooks(t *testing.T) {
	up, other := newUpstream(t), newUpstream(t)
	urls := make(map[string]string)
	hooks := map[string]hookFunc{
		"Pre1": func(_ context.Context, obj *coprocesspb.Object) error {
			if to := urls[obj.Request.Headers["X-Case"]]; to != "" && obj.Spec["APIID"] == "a" {
				obj.Request.Url = to
			}
			return nil
		},
	}
	target := definition(t, "target", "/target/", other.URL+"/t", map[string]any{"name": "My Target"})
	secret := definition(t, "secret", "/secret/", other.URL, map[string]any{"use_keyless": false})
	broken := apidef.Loaded{File: "x.json", Err: context.Canceled, Partial: &apidef.Partial{ID: "broken", ListenPath: "/broken/", Active: true}}
	f := start(t, setup{
		hooks: hooks, bundles: bundles{"b.zip": `{"driver": "python", "pre": [{"name": "Pre1"}]}`},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks()), target, secret, broken},
	})
	for _, c := range []struct {
		name, url string
		code      int
		want      received
		at        *upstream
	}{
		{"path within the API", "/a/new?x=1", 200, received{uri: "/new?x=1"}, up},
		{"path outside the listen path is not stripped", "/b/new", 200, received{uri: "/b/new"}, up},
		{"absolute URL goes there as it is", other.URL + "/a/deep%2Fer?q=2", 200, received{uri: "/a/deep%2Fer?q=2"}, other},
		{"API by id", "tyk://target/in/x?q=3", 200, received{uri: "/t/in/x?q=3"}, other},
		{"API by name as a slug", "tyk://my-target/y", 200, received{uri: "/t/y"}, other},
		{"API by id without a path", "tyk://target", 200, received{uri: "/t"}, other},
		{"protected API asks for its own key", "tyk://secret/x", 401, received{}, nil},
		{"refused API", "tyk://broken/x", 500, received{}, nil},
		{"unknown API", "tyk://nobody/x", 500, received{}, nil},
		{"endless loop", "tyk://self/x", 500, received{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			urls[c.name] = c.url
			before := up.count() + other.count()
			got := f.get("/a/start", "X-Case", c.name)
			require.Equal(t, c.code, got.code, got.body)
			if c.at != nil {
				require.Equal(t, c.want.uri, c.at.got().uri)
				require.Equal(t, strings.TrimPrefix(c.at.URL, "http://"), c.at.got().host)
				return
			}
			require.Equal(t, before, up.count()+other.count())
		})
	}
}

func TestServingOverHTTP2(t *testing.T) {
	up := newUpstream(t)
	f := newGateway(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)}, drain: time.Second})
	address, stop := serve(t, f)
	defer stop()
	for _, c := range []struct {
		name   string
		adjust func(*http.Protocols)
		want   string
	}{
		{"HTTP/1.1", func(p *http.Protocols) { p.SetHTTP1(true) }, "HTTP/1.1"},
		{"h2c", func(p *http.Protocols) { p.SetUnencryptedHTTP2(true) }, "HTTP/2.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			transport := &http.Transport{Protocols: &http.Protocols{}, TLSClientConfig: &tls.Config{}}
			c.adjust(transport.Protocols)
			defer transport.CloseIdleConnections()
			resp, err := (&http.Client{Transport: transport, Timeout: limit}).Get("http://" + address + "/a/")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, 200, resp.StatusCode)
			require.Equal(t, c.want, resp.Proto)
		})
	}
}
