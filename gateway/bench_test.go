package gateway_test

import (
	"context"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/gateway"
	"github.com/krait-gateway/krait/idextract"
	counting "github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store/memory"
)

// BenchmarkReverseProxy is what BenchmarkProxy is compared with: the proxy of the
// standard library with a buffer pool.
func BenchmarkReverseProxy(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer up.Close()
	to, err := url.Parse(up.URL)
	require.NoError(b, err)
	proxy := &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(to); r.SetXForwarded() },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		BufferPool: &buffers{},
	}
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		proxy.ServeHTTP(w, knownCaller())
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}

// knownCaller is the request of all of these benchmarks.
func knownCaller() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/a/x", nil)
	r.Header.Set("Authorization", "abc")
	return r
}

type buffers struct{ pool sync.Pool }

func (p *buffers) Get() []byte {
	if buffer, ok := p.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

func (p *buffers) Put(buffer []byte) { p.pool.Put(&buffer) }

// BenchmarkProxy is one request over loopback: to a keyless API without hooks, to
// one with a pre and a response hook, for which no Python runs, and by a caller
// whom an ID extractor knows, so that auth_check does not run.
func BenchmarkProxy(b *testing.B) {
	for _, bm := range []struct{ name, more string }{
		{"keyless", `"use_keyless": true`},
		{"hooks", `"use_keyless": true, "custom_middleware_bundle": "hooks.zip"`},
		{"known caller", `"enable_coprocess_auth": true, "custom_middleware_bundle": "b.zip"`},
	} {
		b.Run(bm.name, func(b *testing.B) { benchmarkProxy(b, bm.more) })
	}
}

func benchmarkProxy(b *testing.B, more string) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer up.Close()
	doc := `{"api_id": "a", "org_id": "org", "active": true, "version_data": {"not_versioned": true}, ` + more + `,
		"proxy": {"listen_path": "/a/", "target_url": "` + up.URL + `", "strip_listen_path": true}}`
	api, _, err := apidef.Parse("a.json", []byte(doc))
	require.NoError(b, err)
	mem, err := memory.New(memory.Options{})
	require.NoError(b, err)
	defer mem.Close()
	sessions := session.NewStore(mem)
	require.NoError(b, sessions.Put(b.Context(), idextract.SessionID("org", "abc"),
		&coprocesspb.SessionState{OrgId: "org", IdExtractorDeadline: math.MaxInt64}, 0))
	counts, err := counting.NewMemory()
	require.NoError(b, err)
	defer counts.Close()
	g, err := gateway.New(b.Context(), gateway.Config{
		Config: config.Default(), APIs: []apidef.Loaded{{File: "a.json", API: api}}, Store: mem,
		Sessions: sessions, Limits: counts, Logger: slog.New(slog.DiscardHandler),
		Bundles: bundles{
			"b.zip":     `{"driver": "python", "auth_check": {"name": "Auth"}, "id_extractor": ` + fromHeader + `}`,
			"hooks.zip": `{"driver": "python", "pre": [{"name": "Pass"}], "response": [{"name": "Pass"}]}`,
		},
		Drivers: map[string]coprocess.Driver{"python": &driver{hooks: map[string]hookFunc{
			"Auth": accept("", nil),
			"Pass": func(context.Context, *coprocesspb.Object) error { return nil },
		}}},
	})
	require.NoError(b, err)
	defer g.Close(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, knownCaller())
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}
