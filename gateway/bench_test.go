package gateway_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/gateway"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store/memory"
)

// BenchmarkProxy is one keyless request without hooks over loopback.
func BenchmarkProxy(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer up.Close()
	doc := `{"api_id": "a", "active": true, "use_keyless": true, "version_data": {"not_versioned": true},
		"proxy": {"listen_path": "/a/", "target_url": "` + up.URL + `", "strip_listen_path": true}}`
	api, _, err := apidef.Parse("a.json", []byte(doc))
	require.NoError(b, err)
	mem, err := memory.New(memory.Options{})
	require.NoError(b, err)
	defer mem.Close()
	g, err := gateway.New(b.Context(), gateway.Config{
		Config: config.Default(), APIs: []apidef.Loaded{{File: "a.json", API: api}}, Store: mem,
		Sessions: session.NewStore(mem), Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(b, err)
	defer g.Close(b.Context())
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodGet, "/a/x", nil)
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}
