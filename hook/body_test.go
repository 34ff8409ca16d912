package hook_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
)

func TestBodyLoad(t *testing.T) {
	t.Run("is read once and handed out afresh", func(t *testing.T) {
		r := newRequest("POST", "/", "text")
		body := hook.NewBody(4)
		for range 3 {
			data, err := body.Load(r)
			require.NoError(t, err)
			require.Equal(t, "text", string(data))
			require.Equal(t, "text", readBody(t, r))
		}
		require.Equal(t, int64(4), r.ContentLength)
	})
	t.Run("works on another copy of the request", func(t *testing.T) {
		r := newRequest("POST", "/", "text")
		body := hook.NewBody(math.MaxInt64)
		_, err := body.Load(r)
		require.NoError(t, err)
		readBody(t, r)
		other := r.Clone(t.Context())
		_, err = body.Load(other)
		require.NoError(t, err)
		require.Equal(t, "text", readBody(t, other))
	})
	t.Run("no body stays none", func(t *testing.T) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}}
		data, err := hook.NewBody(1).Load(r)
		require.NoError(t, err)
		require.Empty(t, data)
		require.Equal(t, http.NoBody, r.Body)
		require.Empty(t, r.Header)
	})
	t.Run("a chunked body gets a length", func(t *testing.T) {
		r := newRequest("POST", "/", "text")
		r.ContentLength = -1
		r.TransferEncoding = []string{"chunked"}
		r.Header.Del("Content-Length")
		_, err := hook.NewBody(0).Load(r)
		require.NoError(t, err)
		require.Equal(t, int64(4), r.ContentLength)
		require.Empty(t, r.TransferEncoding)
		require.Equal(t, "4", r.Header.Get("Content-Length"))
	})
	t.Run("10 MB that are not UTF-8", func(t *testing.T) {
		big := bytes.Repeat([]byte("\xff\x00krait"), 10<<20/7)
		r := newRequest("POST", "/", string(big))
		_, err := run(t, r, func(o *coprocesspb.Object) { require.Empty(t, o.Request.Body) })
		require.NoError(t, err)
		require.Equal(t, string(big), readBody(t, r))
	})
	t.Run("Set replaces what is there", func(t *testing.T) {
		r := newRequest("POST", "/", "text")
		hook.NewBody(1).Set(r, []byte("longer than the limit"))
		require.Equal(t, "longer than the limit", readBody(t, r))
		require.Equal(t, "21", r.Header.Get("Content-Length"))
	})
}

func TestBodyErrors(t *testing.T) {
	tooLarge := func(t *testing.T, r *http.Request, limit int64) {
		t.Helper()
		body := hook.NewBody(limit)
		for range 2 {
			_, err := newHook(coprocesspb.HookType_Pre, nil).Request(t.Context(), r, body, nil)
			var got *hook.BodyTooLargeError
			require.ErrorAs(t, err, &got)
			require.Equal(t, int64(3), got.Limit)
		}
	}
	t.Run("too long by its Content-Length is not even read", func(t *testing.T) {
		r := newRequest("POST", "/", "text")
		r.Body = io.NopCloser(iotest.ErrReader(errors.New("must not be read")))
		tooLarge(t, r, 3)
	})
	t.Run("too long without a length", func(t *testing.T) {
		r := newRequest("POST", "/", "text")
		r.ContentLength = -1
		tooLarge(t, r, 3)
	})
	t.Run("over the limit of a MaxBytesReader", func(t *testing.T) {
		r := newRequest("POST", "/", "text")
		r.Body = http.MaxBytesReader(httptest.NewRecorder(), r.Body, 3)
		tooLarge(t, r, 0)
	})
	t.Run("broken off", func(t *testing.T) {
		r := newRequest("POST", "/", "text")
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader("te"), iotest.ErrReader(io.ErrUnexpectedEOF)))
		body := hook.NewBody(0)
		for range 2 {
			_, err := newHook(coprocesspb.HookType_Pre, nil).Request(t.Context(), r, body, nil)
			var got *hook.BodyReadError
			require.ErrorAs(t, err, &got)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	})
}

// upstream answers with what it received: framing, trailer and body.
func upstream(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("X-Length", r.Header.Get("Content-Length"))
	w.Header().Set("X-Coding", strings.Join(r.TransferEncoding, ","))
	w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
	w.Header().Set("X-Method", r.Method)
	_, _ = w.Write(body)
}

// proxied starts an upstream and a gateway that runs h on each request and
// returns the gateway's address.
func proxied(t *testing.T, h *hook.Hook) string {
	t.Helper()
	up := httptest.NewServer(http.HandlerFunc(upstream))
	t.Cleanup(up.Close)
	target, err := url.Parse(up.URL)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) }}
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.WithContext(r.Context())
		if _, err := h.Request(r.Context(), r, hook.NewBody(1<<20), nil); err != nil {
			var broken *hook.BodyReadError
			if errors.As(err, &broken) {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(gateway.Close)
	return strings.TrimPrefix(gateway.URL, "http://")
}

func TestBodyOnTheWire(t *testing.T) {
	keep := func(*coprocesspb.Object) {}
	double := func(o *coprocesspb.Object) { o.Request.RawBody = append(o.Request.RawBody, o.Request.RawBody...) }
	for name, tt := range map[string]struct {
		plugin                    plugin
		request                   string
		body, length, coding, sum string
		status                    int
	}{
		"with a length": {
			plugin: double, request: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
			status: 200, body: "abcabc", length: "6",
		},
		"chunked": {
			plugin: double, request: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			status: 200, body: "abcabc", length: "6",
		},
		"trailers are dropped": {
			plugin: keep, request: "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
			status: 200, body: "abc", length: "3",
		},
		"announced trailers that never came": {
			plugin: keep, request: "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			status: 200, body: "abc", length: "3",
		},
		"bad chunking": {
			plugin: keep, request: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
			status: 400,
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", proxied(t, newHook(coprocesspb.HookType_Pre, tt.plugin)))
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, tt.request)
			require.NoError(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, tt.status, resp.StatusCode)
			require.Equal(t, tt.body, responseText(t, resp))
			require.Equal(t, tt.length, resp.Header.Get("X-Length"))
			require.Equal(t, tt.coding, resp.Header.Get("X-Coding"))
			require.Equal(t, tt.sum, resp.Header.Get("X-Sum"))
		})
	}
	t.Run("a client that waits for 100-continue", func(t *testing.T) {
		conn, err := net.Dial("tcp", proxied(t, newHook(coprocesspb.HookType_Pre, plugin(double))))
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		require.NoError(t, err)
		in := bufio.NewReader(conn)
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
		_, err = in.ReadString('\n')
		require.NoError(t, err)
		_, err = io.WriteString(conn, "abc")
		require.NoError(t, err)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, "abcabc", responseText(t, resp))
	})
}

func TestTheServersOwnRequestKeepsItsMethod(t *testing.T) {
	// A HEAD that a hook turns into a GET is still answered without a body.
	addr := proxied(t, newHook(coprocesspb.HookType_Pre, plugin(func(o *coprocesspb.Object) {
		o.Request.Method = "GET"
		o.Request.RawBody = []byte("some body")
	})))
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	head := &http.Request{Method: http.MethodHead}
	for range 2 {
		_, err = io.WriteString(conn, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(in, head)
		require.NoError(t, err)
		require.Equal(t, "GET", resp.Header.Get("X-Method"))
	}
}
