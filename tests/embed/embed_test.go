// Package embed_test is krait without its binary, as a Go developer embeds it.
package embed_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/bridge"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/gateway"
	"github.com/krait-gateway/krait/hook"
	"github.com/krait-gateway/krait/store/memory"
	"github.com/krait-gateway/krait/telemetry"
)

// TestHookAsMiddleware puts a hook into a net/http handler.
func TestHookAsMiddleware(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "middleware.py"), []byte(`
from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def MyPreMiddleware(request, session, spec):
    tyk.store_data('seen', request.get_header('X-Name'), 60)
    request.add_header('X-Seen', tyk.get_data('seen').decode())
    return request, session
`), 0o600))
	logger, err := telemetry.NewLogger(io.Discard, "info", "text")
	require.NoError(t, err)
	data, err := memory.New(memory.Options{})
	require.NoError(t, err)
	defer data.Close()
	events := event.NewBus(event.Config{})

	python, err := bridge.Start(t.Context(), bridge.Config{
		Host:   gateway.NewHost(data, events, logger),
		Python: bridge.Search{Venv: "../../.venv"}, // make test makes it
	})
	require.NoError(t, err)
	plugin, err := python.Load(t.Context(), coprocess.Code{Name: "mine", Dir: dir, Entry: "middleware.py", Hooks: []string{"MyPreMiddleware"}})
	require.NoError(t, err)
	pre := &hook.Hook{
		Type: coprocesspb.HookType_Pre, Name: "MyPreMiddleware", Dispatcher: plugin,
		API: &hook.API{ID: "mine", ConfigData: "{}"}, Bundle: "mine",
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		outcome, err := pre.Request(r.Context(), r, hook.NewBody(1<<20), nil)
		if err != nil || outcome.Override != nil {
			http.Error(w, "Middleware error", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, r.Header.Get("X-Seen")) // the client reads it or has gone
	}))
	defer server.Close()

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, http.NoBody)
	require.NoError(t, err)
	request.Header.Set("X-Name", "krait")
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "krait", string(body))

	require.NoError(t, plugin.Close())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, python.Stop(ctx))
	require.NoError(t, events.Close(ctx))
}
