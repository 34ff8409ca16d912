package gateway_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
)

// h2cClient speaks HTTP/2 without TLS.
func h2cClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: &http.Protocols{}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: limit}
}

// A gRPC client may listen for longer than a body may idle.
func TestStreamsInBothDirectionsMayIdle(t *testing.T) {
	upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		control := http.NewResponseController(w)
		_ = control.Flush() // the client reads it or has gone
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			_, _ = io.WriteString(w, lines.Text()+"\n")
			_ = control.Flush()
		}
	}))
	upstream.Config.Protocols = &http.Protocols{}
	upstream.Config.Protocols.SetUnencryptedHTTP2(true)
	upstream.Start()
	defer upstream.Close()
	f := newGateway(t, setup{
		bodyIdle: 100 * time.Millisecond, drain: time.Second,
		apis: []apidef.Loaded{definition(t, "a", "/a/", "h2c"+strings.TrimPrefix(upstream.URL, "http"), nil)},
	})
	address, stop := serve(t, f)
	defer stop()

	body, send := io.Pipe()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/a/", body)
	require.NoError(t, err)
	response, err := h2cClient(t).Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answers := bufio.NewReader(response.Body)
	for _, word := range []string{"one\n", "two\n"} {
		_, err := io.WriteString(send, word)
		require.NoError(t, err)
		got, err := answers.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, word, got)
		<-time.After(300 * time.Millisecond) // longer than a body may idle
	}
	require.NoError(t, send.Close())
	rest, err := io.ReadAll(answers)
	require.NoError(t, err)
	require.Empty(t, rest)
}
