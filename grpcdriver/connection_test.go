package grpcdriver_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/grpcdriver"
	"github.com/krait-gateway/krait/internal/output"
)

func TestServerThatComesAndGoes(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	log := &output.Buffer{}
	driver := open(t, grpcdriver.Options{Server: "tcp://" + address, Logger: slog.New(slog.NewTextHandler(log, nil))})
	p := load(t, driver, coprocess.Code{})
	works := func() bool {
		_, err := p.Dispatch(t.Context(), message("A"))
		if err != nil {
			require.ErrorIs(t, err, coprocess.ErrNotReady)
		}
		return err == nil
	}
	require.False(t, works(), "nobody listens yet")
	for range 3 {
		_, stop := (&pluginServer{}).serve(t, "tcp", address)
		require.Eventually(t, works, patience, 10*time.Millisecond)
		stop()
		require.Eventually(t, func() bool { return !works() }, patience, 10*time.Millisecond)
	}
	require.Contains(t, log.String(), "plugin server cannot be reached")
	require.Contains(t, log.String(), "plugin server is connected")
}

func TestClose(t *testing.T) {
	entered := make(chan struct{}, 1)
	driver, err := grpcdriver.New(grpcdriver.Options{Server: blocking(entered, nil).local(t)})
	require.NoError(t, err)
	p := load(t, driver, coprocess.Code{Timeout: patience})
	inFlight := make(chan error, 1)
	go func() {
		_, err := p.Dispatch(t.Context(), message("A"))
		inFlight <- err
	}()
	<-entered
	require.NoError(t, driver.Close())
	require.ErrorIs(t, <-inFlight, coprocess.ErrNotReady)
	_, err = p.Dispatch(t.Context(), message("A"))
	require.ErrorIs(t, err, coprocess.ErrNotReady)
	require.NoError(t, driver.Close(), "a second time")
}

func TestAddresses(t *testing.T) {
	server := &pluginServer{}
	address, _ := server.serve(t, "tcp", "127.0.0.1:0")
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	socket := filepath.Join(t.TempDir(), "plugin.sock")
	server.serve(t, "unix", socket)
	for _, test := range []struct {
		name string
		o    grpcdriver.Options
	}{
		{"tcp", grpcdriver.Options{Server: "tcp://" + address}},
		{"dns", grpcdriver.Options{Server: "dns:///localhost:" + port}},
		{"unix socket", grpcdriver.Options{Server: "unix://" + socket}},
		{"round robin over what a name has", grpcdriver.Options{Server: "tcp://localhost:" + port, RoundRobin: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := plugin(t, test.o).Dispatch(t.Context(), message("A"))
			require.NoError(t, err)
		})
	}
	t.Run("authority", func(t *testing.T) {
		_, err := plugin(t, grpcdriver.Options{Server: "tcp://" + address, Authority: "plugins.example"}).Dispatch(t.Context(), message("A"))
		require.NoError(t, err)
		server.mu.Lock()
		defer server.mu.Unlock()
		require.Equal(t, "plugins.example", server.hosts[len(server.hosts)-1])
	})
	for name, address := range map[string]string{
		"no scheme": "host:5555", "nothing": "", "no port": "tcp://host", "no host": "tcp://:5555", "no name": "dns:///",
		"relative socket": "unix://run/plugin.sock", "not a URL": "tcp://[", "http": "http://host:1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := grpcdriver.New(grpcdriver.Options{Server: address, Timeout: -1})
			require.ErrorContains(t, err, "write tcp://host:port, dns:///name:port or unix:///path")
			require.ErrorContains(t, err, "Timeout")
		})
	}
}

// certificate makes one for name, signed by itself.
func certificate(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	parsed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	own, authority := certificate(t, "plugins.example")
	client, clients := certificate(t, "gateway.example")
	_, stranger := certificate(t, "plugins.example")
	server := &pluginServer{}
	address := server.local(t, grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert,
	})))
	mine := []tls.Certificate{client}
	for _, test := range []struct {
		name, authority string
		tls             *tls.Config
		works           bool
	}{
		{"its authority and a client certificate", "plugins.example", &tls.Config{RootCAs: authority, Certificates: mine}, true},
		{"nothing is verified", "", &tls.Config{InsecureSkipVerify: true, Certificates: mine}, true},
		{"a certificate for another name", "", &tls.Config{RootCAs: authority, Certificates: mine}, false},
		{"a certificate of somebody else", "plugins.example", &tls.Config{RootCAs: stranger, Certificates: mine}, false},
		{"no client certificate", "plugins.example", &tls.Config{RootCAs: authority}, false},
		{"no TLS", "", nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := plugin(t, grpcdriver.Options{Server: address, Authority: test.authority, TLS: test.tls}).Dispatch(t.Context(), message("A"))
			if test.works {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, coprocess.ErrNotReady)
		})
	}
}

func TestCheck(t *testing.T) {
	t.Run("a server without a health service", func(t *testing.T) {
		text, err := open(t, grpcdriver.Options{Server: (&pluginServer{}).local(t)}).Check(t.Context())
		require.NoError(t, err)
		require.Contains(t, text, "answers")
	})
	t.Run("a server that says how it is", func(t *testing.T) {
		state := health.NewServer()
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, state)
		address, stop := run(t, server, "tcp", "127.0.0.1:0")
		driver := open(t, grpcdriver.Options{Server: "tcp://" + address})
		text, err := driver.Check(t.Context())
		require.NoError(t, err)
		require.Contains(t, text, "is serving")
		state.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		_, err = driver.Check(t.Context())
		require.ErrorIs(t, err, coprocess.ErrNotReady)
		require.ErrorContains(t, err, "NOT_SERVING")
		stop()
		require.Eventually(t, func() bool {
			_, err := driver.Check(t.Context())
			return err != nil && !strings.Contains(err.Error(), "NOT_SERVING")
		}, patience, 10*time.Millisecond)
	})
}
