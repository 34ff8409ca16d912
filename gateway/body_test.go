package gateway_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
)

// wire is a connection that requests are written to as they are.
type wire struct {
	net.Conn
	t  *testing.T
	in *bufio.Reader
}

func dial(t *testing.T, f *fixture) *wire {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(limit)))
	return &wire{conn, t, bufio.NewReader(conn)}
}

func (w *wire) send(text string) {
	w.t.Helper()
	_, err := io.WriteString(w, text)
	require.NoError(w.t, err)
}

func (w *wire) answer() answer {
	w.t.Helper()
	resp, err := http.ReadResponse(w.in, nil)
	require.NoError(w.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	return answer{resp.StatusCode, resp.Header, string(data)}
}

func TestDefaultBufferingLimit(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		hooks: map[string]hookFunc{"Pre1": (&trail{}).hook(nil)}, bundles: bundles{"b.zip": preOnly},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())},
	})
	t.Run("10 MB pass", func(t *testing.T) {
		body := strings.Repeat("0123456789", 1e6)
		require.Equal(t, 200, f.do("POST", "/a/", body).code)
		require.Equal(t, body, up.got().body)
	})
	t.Run("more than 16 MiB is refused unread", func(t *testing.T) {
		w := dial(t, f)
		w.send(fmt.Sprintf("POST /a/ HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 16<<20+1))
		require.Equal(t, 413, w.answer().code)
	})
}

func TestBodiesTogetherAreBounded(t *testing.T) {
	for _, c := range []struct {
		name    string
		chunked bool
	}{{"with a length", false}, {"length unknown", true}} {
		t.Run(c.name, func(t *testing.T) {
			up := newUpstream(t)
			entered, left := make(chan struct{}), make(chan struct{})
			leave := sync.OnceFunc(func() { close(left) })
			defer leave()
			f := start(t, setup{
				budget: 100 << 10,
				hooks: map[string]hookFunc{"Pre1": func(_ context.Context, obj *coprocesspb.Object) error {
					if obj.Request.Headers["X-Hold"] != "" {
						close(entered)
						<-left
					}
					return nil
				}},
				bundles: bundles{"b.zip": preOnly},
				apis:    []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())},
			})
			post := func(size int, header ...string) answer {
				if !c.chunked {
					return f.do("POST", "/a/", strings.Repeat("x", size), header...)
				}
				r, err := http.NewRequest(http.MethodPost, f.url+"/a/", io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
				require.NoError(t, err)
				for i := 0; i < len(header); i += 2 {
					r.Header.Set(header[i], header[i+1])
				}
				resp, err := f.client.Do(r)
				require.NoError(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				return answer{resp.StatusCode, resp.Header, string(body)}
			}
			held := make(chan int, 1)
			go func() { held <- post(60<<10, "X-Hold", "1").code }()
			<-entered
			got := post(60 << 10)
			require.Equal(t, 503, got.code)
			require.Equal(t, "1", got.header.Get("Retry-After"))
			require.JSONEq(t, `{"error": "Service is busy, please retry"}`, got.body)
			require.Equal(t, 200, post(1<<10).code, "a small body still has room")
			require.Equal(t, 200, f.get("/a/").code)
			leave()
			require.Equal(t, 200, <-held)
			for range 3 {
				require.Equal(t, 200, post(60<<10).code, "what a request held is given back")
			}
		})
	}
}

func TestBodiesOfResponsesAreBoundedToo(t *testing.T) {
	up := newUpstream(t) // answers with two bytes
	hooks := map[string]hookFunc{"Pre1": (&trail{}).hook(nil)}
	f := start(t, setup{
		budget: 1, hooks: hooks, bundles: bundles{"b.zip": `{"driver": "python", "response": [{"name": "Pre1"}]}`},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())},
	})
	got := f.get("/a/")
	require.Equal(t, 503, got.code)
	require.Equal(t, "1", got.header.Get("Retry-After"))
}
