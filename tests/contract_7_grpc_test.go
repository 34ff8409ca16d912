package tests_test

import (
	"crypto/tls"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/internal/output"
)

// remote is a site whose plugins are on the server.
func remote(t *testing.T, server string) (*site, object) {
	t.Helper()
	s := newSite(t)
	options := s.conf["coprocess_options"].(object)
	options["coprocess_grpc_server"] = server
	return s, options
}

// remoteHooks is custom_middleware without a bundle.
func remoteHooks(hooks object) object {
	hooks["driver"] = "grpc"
	return object{"custom_middleware": hooks}
}

// TestContract7GRPC is section 7 of the plugin contract. That a plugin server is
// given, and changes, what a Python plugin does is in sections 1 to 3 and 8.
func TestContract7GRPC(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) (string, *output.Buffer){
		"a server in Go": func(t *testing.T) (string, *output.Buffer) {
			seen := &output.Buffer{}
			address, _ := (&probeServer{seen: seen}).start(t, "tcp", "127.0.0.1:0")
			return address, seen
		},
		"a server in Python": startPythonServer,
	} {
		t.Run(name+", from a bundle that is only a manifest", func(t *testing.T) {
			t.Parallel()
			checkServer(t, start)
		})
	}
	t.Run("tcp://, dns:///, unix:///", testGRPCAddresses)
	t.Run("reconnect with back-off, begun without a server", testGRPCRestarts)
	t.Run("grpc_recv_max_size", testGRPCReceiving)
	t.Run("grpc_send_max_size", testGRPCSending)
	t.Run("a deadline for each call", testGRPCDeadline)
	t.Run("TLS, grpc_authority", testGRPCOverTLS)
	t.Run("grpc_round_robin_load_balancing", testGRPCRoundRobin)
	t.Run("health checking", testGRPCHealth)
	t.Run("a gateway without Python", testGRPCWithoutPython)
	t.Run("krait doctor asks the server", testGRPCDoctor)
}

// checkServer sends one request through all hooks of a server, and one event.
func checkServer(t *testing.T, start func(*testing.T) (string, *output.Buffer)) {
	t.Helper()
	address, seen := start(t)
	s, _ := remote(t, "tcp://"+address)
	five := everyHook()
	five["driver"] = "grpc"
	s.bundle("five.zip", five, nil)
	s.api("five", echo(t), object{
		"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "five.zip",
		"event_handlers": object{"events": object{"AuthFailure": []object{
			{"handler_name": "cp_dynamic_handler", "handler_meta": object{"name": "OnFailure"}},
		}}},
	})
	g := s.start()
	play := letIn("1", &coprocesspb.SessionState{Alias: "me"}).and(
		changing("Pre", &coprocesspb.MiniRequestObject{DeleteHeaders: []string{"X-Gone"}, AddParams: map[string]string{"added": "1"}, RawBody: []byte("new")}),
		script{"Post": {Tell: true}}, answering("Response", &coprocesspb.ResponseObject{StatusCode: 202, Headers: map[string]string{"X-Set": "1"}}))
	r := g.send(http.MethodPost, "/five/x?kept=2", strings.NewReader("body"), append(play.header(t), "X-Gone", "1", "X-Request-Id", "id-of-the-test")...)
	require.Equal(t, 202, r.status, r.body)
	require.Equal(t, "1", r.header.Get("X-Set"))
	require.Len(t, r.header.Values("Set-Cookie"), 2)
	r.status = http.StatusOK
	got := r.echoed(t)
	require.Equal(t, everyHookInOrder, got.Header.Get("X-Order"))
	require.Equal(t, []string{"kept=2&added=1", "new"}, []string{got.Query, string(got.Body)})
	require.Empty(t, got.Header.Get("X-Gone"))
	told := shown(t, got.Header, "Post")
	require.Equal(t, []string{"me", "1", "five"}, []string{told.GetSession().GetAlias(), told.GetMetadata()["token"], told.GetSpec()["APIID"]})
	require.Contains(t, seen.String(), "request id-of-the-test\n")

	require.Equal(t, 403, g.get("/five/").status)
	require.Eventually(t, func() bool {
		return strings.Contains(seen.String(), `"handler_name":"OnFailure"`) && strings.Contains(seen.String(), `"AuthFailure"`)
	}, patience, 10*time.Millisecond)
	require.Contains(t, g.get("/hello").body, "plugin server tcp://"+address+" answers")

	r = g.get("/five/", script{"Pre": {Fail: "raises"}}.header(t)...)
	require.Equal(t, 500, r.status)
	require.NotContains(t, r.body, "broke")
	g.awaitLog("it broke here")
}

func testGRPCAddresses(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(socketDirectory(t), "plugin.sock")
	onSocket, _ := (&probeServer{seen: &output.Buffer{}}).start(t, "unix", socket)
	onPort, _ := (&probeServer{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0")
	for _, server := range []string{"tcp://" + onPort, "dns:///" + onPort, "unix://" + onSocket} {
		s, _ := remote(t, server)
		s.api("a", echo(t), remoteHooks(object{"pre": hooks("Pre")}))
		require.Equal(t, "Pre", s.start().get("/a/").echoed(t).Header.Get("X-Order"), server)
	}
}

// socketDirectory is not below t.TempDir, whose paths can be too long for a
// socket.
func socketDirectory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "krait-grpc-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func testGRPCRestarts(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(socketDirectory(t), "plugin.sock")
	s, _ := remote(t, "unix://"+socket)
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("Pre")}))
	s.api("plain", echo(t), nil)
	g := s.start()
	answers := func(status int) {
		t.Helper()
		require.Eventually(t, func() bool { return g.get("/a/").status == status }, patience, 10*time.Millisecond)
		g.get("/plain/").echoed(t)
	}
	down := g.get("/a/")
	require.Equal(t, 503, down.status)
	require.NotEmpty(t, down.header.Get("Retry-After"))
	require.Contains(t, g.get("/hello").body, "plugin server unix://"+socket)
	for range 2 {
		_, stop := (&probeServer{seen: &output.Buffer{}}).start(t, "unix", socket)
		answers(200)
		stop()
		answers(503)
	}
	g.awaitLog("plugin server cannot be reached")
}

func testGRPCReceiving(t *testing.T) {
	t.Parallel()
	address, _ := (&probeServer{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0", grpc.MaxRecvMsgSize(12<<20))
	large := strings.Repeat("x", 3<<20) // twice in a message, as text and as bytes
	for limit, want := range map[int]int{0: 500, 16 << 20: 200} {
		s, options := remote(t, "tcp://"+address)
		if limit > 0 {
			options["grpc_recv_max_size"] = limit
		}
		s.api("a", echo(t), remoteHooks(object{"pre": hooks("Pre")}))
		g := s.start()
		require.Equal(t, want, g.send(http.MethodPost, "/a/", strings.NewReader(large)).status, limit)
		if want == 500 {
			g.awaitLog("grpc_recv_max_size")
		}
	}
}

func testGRPCSending(t *testing.T) {
	t.Parallel()
	address, _ := (&probeServer{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0")
	s, options := remote(t, "tcp://"+address)
	options["grpc_send_max_size"] = 100_000
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("Pre")}))
	g := s.start()
	require.Equal(t, 200, g.send(http.MethodPost, "/a/", strings.NewReader(strings.Repeat("x", 40_000))).status)
	require.Equal(t, 500, g.send(http.MethodPost, "/a/", strings.NewReader(strings.Repeat("x", 60_000))).status)
	g.awaitLog("grpc_send_max_size")
}

func testGRPCDeadline(t *testing.T) {
	t.Parallel()
	address, _ := (&probeServer{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0")
	s, options := remote(t, "tcp://"+address)
	options["hook_timeout"] = "1s"
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("Pre")}))
	g := s.start()
	require.Equal(t, 504, g.get("/a/", script{"Pre": {Sleep: 60}}.header(t)...).status)
	g.awaitLog("did not answer within 1s")
}

func testGRPCOverTLS(t *testing.T) {
	t.Parallel()
	s, options := remote(t, "")
	run(t, s.dir, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "plugin.key", "-out", "plugin.pem",
		"-subj", "/CN=plugins.example", "-addext", "subjectAltName=DNS:plugins.example")
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "plugin.pem"), filepath.Join(s.dir, "plugin.key"))
	require.NoError(t, err)
	address, _ := (&probeServer{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0", grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	options["coprocess_grpc_server"] = "tcp://" + address
	options["grpc_tls"] = object{"enabled": true, "ca_file": filepath.Join(s.dir, "plugin.pem")}
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("Pre")}))
	g := s.start()
	require.Equal(t, 503, g.get("/a/").status, "the certificate is for another name")
	require.NoError(t, g.stop())

	options["grpc_authority"] = "plugins.example"
	g = s.start()
	require.Equal(t, "Pre", g.get("/a/").echoed(t).Header.Get("X-Order"))
}

// testGRPCRoundRobin has two servers behind one name.
func testGRPCRoundRobin(t *testing.T) {
	t.Parallel()
	first, second := &output.Buffer{}, &output.Buffer{}
	address, _ := (&probeServer{seen: first}).start(t, "tcp", "127.0.0.1:0")
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	(&probeServer{seen: second}).start(t, "tcp", "127.0.0.2:"+port)
	names := startDNS(t, [4]byte{127, 0, 0, 1}, [4]byte{127, 0, 0, 2})
	s, options := remote(t, "dns://"+names+"/plugins.example:"+port)
	options["grpc_round_robin_load_balancing"] = true
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("Pre")}))
	g := s.start()
	require.Eventually(t, func() bool {
		g.get("/a/").echoed(t)
		return strings.Contains(first.String(), "request") && strings.Contains(second.String(), "request")
	}, patience, 10*time.Millisecond, "both servers are called")
}

func testGRPCHealth(t *testing.T) {
	t.Parallel()
	reports := health.NewServer()
	address, _ := (&probeServer{seen: &output.Buffer{}, health: reports}).start(t, "tcp", "127.0.0.1:0")
	s, _ := remote(t, "tcp://"+address)
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("Pre")}))
	g := s.start()
	require.Contains(t, g.get("/hello").body, "plugin server tcp://"+address+" is serving")
	reports.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	require.Eventually(t, func() bool { return strings.Contains(g.get("/hello").body, "says that it is NOT_SERVING") },
		patience, 50*time.Millisecond)
}

func testGRPCDoctor(t *testing.T) {
	t.Parallel()
	address, stop := (&probeServer{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0")
	s, _ := remote(t, "tcp://"+address)
	s.bundle("remote.zip", object{"driver": "grpc", "pre": hooks("Pre")}, nil)
	s.api("bundled", "http://127.0.0.1:1", object{"custom_middleware_bundle": "remote.zip"})
	s.api("own", "http://127.0.0.1:1", remoteHooks(object{"pre": hooks("Pre")}))
	s.writeJSON("tyk.conf", s.conf)
	text, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
	require.NoError(t, err, text)
	require.Contains(t, text, "remote.zip: in order")
	require.Contains(t, text, "plugin server tcp://"+address+" answers")
	stop()
	text, err = krait(t, s.dir, "doctor", "--conf", "tyk.conf")
	require.Error(t, err)
	require.Contains(t, text, "plugin server tcp://"+address)
}

func testGRPCWithoutPython(t *testing.T) {
	t.Parallel()
	address, _ := (&probeServer{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0")
	s, options := remote(t, "tcp://"+address)
	delete(options, "venv")
	options["python_version"] = "3.99"
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("Pre")}))
	g := s.start()
	g.awaitLog("python is not available")
	require.Equal(t, "Pre", g.get("/a/").echoed(t).Header.Get("X-Order"))
}
