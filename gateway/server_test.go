package gateway_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
)

// serve runs f.Serve on a port of its own; stop ends it and checks that it
// ended well.
func serve(t *testing.T, f *fixture) (address string, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Serve(ctx, listener) }()
	return listener.Addr().String(), func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(limit):
			t.Error("Serve does not return")
		}
	}
}

func newClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: limit}
}

func TestGracefulStopLetsRequestsEnd(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "done")
	}))
	defer up.Close()
	f := newGateway(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)}})
	address, stop := serve(t, f)
	client := newClient(t)
	type result struct {
		body string
		err  error
	}
	results := make(chan result, 1)
	go func() {
		resp, err := client.Get("http://" + address + "/a/")
		if err != nil {
			results <- result{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		results <- result{string(body), err}
	}()
	<-entered
	stopped := make(chan struct{})
	go func() {
		stop()
		close(stopped)
	}()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, limit, time.Millisecond, "no new connections are accepted")
	select {
	case <-stopped:
		t.Fatal("Serve returned while a request was running")
	default:
	}
	close(leave)
	got := <-results
	require.NoError(t, got.err)
	require.Equal(t, "done", got.body)
	<-stopped
}

func TestStopCutsWhatDoesNotEnd(t *testing.T) {
	entered := make(chan struct{}, 2)
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			c, err := websocket.Accept(w, r, nil)
			if err != nil {
				return
			}
			defer c.CloseNow()
			entered <- struct{}{}
			_, _, _ = c.Read(context.Background())
			return
		}
		entered <- struct{}{}
		<-r.Context().Done()
	}))
	defer up.Close()
	f := newGateway(t, setup{
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)}, drain: 50 * time.Millisecond,
	})
	address, stop := serve(t, f)
	client := newClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "http://"+address+"/a/", &websocket.DialOptions{HTTPClient: client})
	require.NoError(t, err)
	defer conn.CloseNow()
	cut := make(chan error, 1)
	go func() {
		resp, err := client.Get("http://" + address + "/a/")
		if err == nil {
			err = resp.Body.Close()
		}
		cut <- err
	}()
	<-entered
	<-entered
	stop()
	require.Error(t, <-cut)
	_, _, err = conn.Read(ctx)
	require.Error(t, err)
	require.NoError(t, ctx.Err(), "the websocket is cut, not timed out")
}

func TestHandlerAfterClose(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)}})
	require.NoError(t, f.Close(t.Context()))
	got := f.get("/a/")
	require.Equal(t, 503, got.code)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.Equal(t, 200, f.get("/hello").code)
	require.Error(t, f.Load(t.Context(), nil))
}

// certificate writes a self-signed one and returns its two files.
func certificate(t *testing.T) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	certFile, keyFile = filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "k.pem")
	require.NoError(t, os.WriteFile(certFile, certPEM, 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), 0o600))
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return certFile, keyFile, pool
}

func TestTLS(t *testing.T) {
	up := newUpstream(t)
	certFile, keyFile, pool := certificate(t)
	f := newGateway(t, setup{
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil)},
		config: func(c *config.Config) {
			c.HTTPServerOptions.UseSSL = true
			c.HTTPServerOptions.Certificates = []config.Certificate{{CertFile: certFile, KeyFile: keyFile}}
			c.HTTPServerOptions.MinVersion = tls.VersionTLS13
		},
	})
	address, stop := serve(t, f)
	defer stop()
	get := func(maxVersion uint16) (*http.Response, error) {
		transport := &http.Transport{
			ForceAttemptHTTP2: true,
			TLSClientConfig:   &tls.Config{RootCAs: pool, MaxVersion: maxVersion},
		}
		defer transport.CloseIdleConnections()
		return (&http.Client{Transport: transport, Timeout: limit}).Get("https://" + address + "/a/")
	}
	resp, err := get(0)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "HTTP/2.0", resp.Proto)
	_, err = get(tls.VersionTLS12)
	require.Error(t, err, "min_version is enforced")
}

func TestTLSFaultsAreReportedTogether(t *testing.T) {
	f := newGateway(t, setup{config: func(c *config.Config) {
		c.HTTPServerOptions.UseSSL = true
		c.HTTPServerOptions.MinVersion = 7
		c.HTTPServerOptions.Certificates = []config.Certificate{{CertFile: "none.pem", KeyFile: "none.key"}}
	}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	err = f.Serve(t.Context(), listener)
	require.ErrorContains(t, err, "http_server_options.min_version: 7")
	require.ErrorContains(t, err, "http_server_options.certificates[0] (none.pem, none.key)")
}
