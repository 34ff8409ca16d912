package tests_test

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/krait-gateway/krait/internal/output"
	"github.com/krait-gateway/krait/internal/redisserver"
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

// TestGRPCContractSections1To3And8 runs the same rows of the contract with a
// plugin server in Go and one in Python, called from a bundle that is only a
// manifest.
func TestGRPCContractSections1To3And8(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (string, *output.Buffer){
		"Go": func(t *testing.T) (string, *output.Buffer) {
			seen := &output.Buffer{}
			address, _ := (&goPlugins{seen: seen}).start(t, "tcp", "127.0.0.1:0")
			return address, seen
		},
		"Python": startPythonPlugins,
	} {
		t.Run(name, func(t *testing.T) {
			address, seen := start(t)
			s, _ := remote(t, "tcp://"+address)
			s.bundle("five.zip", object{
				"driver": "grpc", "pre": hooks("MyPre"), "auth_check": hook("MyAuth"), "post_key_auth": hooks("MyPostKeyAuth"),
				"post": hooks("MyPost"), "response": hooks("MyResponse"),
			}, nil)
			upstream := echo(t)
			s.api("five", upstream, object{
				"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "five.zip",
				"event_handlers": object{"events": object{"AuthFailure": []object{
					{"handler_name": "cp_dynamic_handler", "handler_meta": object{"name": "OnFailure"}},
				}}},
			})
			s.api("rewrite", upstream, remoteHooks(object{"pre": hooks("Rewrite")}))
			s.api("fails", upstream, remoteHooks(object{"pre": hooks("Fails")}))
			g := s.start()

			t.Run("all hooks in the chain's order", func(t *testing.T) {
				r := g.send(http.MethodPost, "/five/x?secret=1&kept=2", strings.NewReader("body"),
					"Authorization", "token", "X-Secret", "s", "X-Request-Id", "id-of-the-test")
				require.Equal(t, 202, r.status, r.body)
				require.Equal(t, "response of auth_check", r.header.Get("X-Response"))
				require.Len(t, r.header.Values("Set-Cookie"), 2)
				var got struct {
					Path, Query string
					Header      http.Header
					Body        []byte
					Length      int64
				}
				require.NoError(t, json.Unmarshal([]byte(r.body), &got))
				require.Equal(t, "MyPre MyAuth MyPostKeyAuth MyPost", got.Header.Get("X-Order"))
				require.Equal(t, "auth_check", got.Header.Get("X-Metadata"))
				require.Equal(t, "auth_check", got.Header.Get("X-Session-Metadata"))
				require.Equal(t, "five", got.Header.Get("X-Api"))
				require.Empty(t, got.Header.Get("X-Secret"))
				require.Equal(t, "kept=2&added=by+post", got.Query)
				require.Equal(t, "BODY", string(got.Body))
				require.Equal(t, int64(4), got.Length)
				require.Contains(t, seen.String(), "request id-of-the-test\n")
			})
			t.Run("return overrides", func(t *testing.T) {
				r := g.get("/five/", "Authorization", "teapot")
				require.Equal(t, 418, r.status)
				require.Equal(t, "short and stout", r.body)
				require.Equal(t, "tea", r.header.Get("X-Pot"))
			})
			t.Run("auth_check without a token is 403 and an event", func(t *testing.T) {
				require.Equal(t, 403, g.get("/five/").status)
				require.Eventually(t, func() bool {
					return strings.Contains(seen.String(), `"handler_name":"OnFailure"`) && strings.Contains(seen.String(), `"AuthFailure"`)
				}, patience, 10*time.Millisecond)
			})
			t.Run("URL and method", func(t *testing.T) {
				got := g.get("/rewrite/x?old=1").echoed(t)
				require.Equal(t, []string{"PUT", "/elsewhere", "q=1"}, []string{got.Method, got.Path, got.Query})
			})
			t.Run("a hook that raises is 500, the reason is in the log", func(t *testing.T) {
				r := g.get("/fails/")
				require.Equal(t, 500, r.status)
				require.NotContains(t, r.body, "broke")
				g.awaitLog("it broke here")
			})
			t.Run("health", func(t *testing.T) {
				require.Contains(t, g.get("/hello").body, "plugin server tcp://"+address+" answers")
			})
			require.NoError(t, g.stop())
		})
	}
}

// TestGRPCServerRestarts begins without a server, on a unix socket.
func TestGRPCServerRestarts(t *testing.T) {
	// Not below t.TempDir, whose paths can be too long for a socket.
	dir, err := os.MkdirTemp("", "krait-grpc-") //nolint:usetesting // see above
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	socket := filepath.Join(dir, "plugin.sock")
	s, _ := remote(t, "unix://"+socket)
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("MyPre")}))
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
		_, stop := (&goPlugins{seen: &output.Buffer{}}).start(t, "unix", socket)
		answers(200)
		stop()
		answers(503)
	}
	g.awaitLog("plugin server cannot be reached")
}

func TestGRPCLimits(t *testing.T) {
	address, _ := (&goPlugins{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0", grpc.MaxRecvMsgSize(12<<20))
	large := strings.Repeat("x", 3<<20) // twice in a message, as text and as bytes
	for _, test := range []struct {
		name  string
		limit int
		want  int
	}{
		{"gRPC's own limit", 0, 500},
		{"a raised limit", 16 << 20, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, options := remote(t, "tcp://"+address)
			options["hook_timeout"] = "3s"
			if test.limit > 0 {
				options["grpc_recv_max_size"] = test.limit
			}
			s.api("a", echo(t), remoteHooks(object{"pre": hooks("MyPre")}))
			s.api("slow", echo(t), remoteHooks(object{"pre": hooks("Slow")}))
			g := s.start()
			require.Equal(t, test.want, g.send(http.MethodPost, "/a/", strings.NewReader(large)).status)
			if test.want == 500 {
				g.awaitLog("grpc_recv_max_size")
				return
			}
			require.Equal(t, 504, g.get("/slow/").status)
			g.awaitLog("did not answer within 3s")
		})
	}
}

func TestGRPCOverTLS(t *testing.T) {
	s, options := remote(t, "")
	run(t, s.dir, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "plugin.key", "-out", "plugin.pem",
		"-subj", "/CN=plugins.example", "-addext", "subjectAltName=DNS:plugins.example")
	pair, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "plugin.pem"), filepath.Join(s.dir, "plugin.key"))
	require.NoError(t, err)
	address, _ := (&goPlugins{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0", grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
	options["coprocess_grpc_server"] = "tcp://" + address
	options["grpc_tls"] = object{"enabled": true, "ca_file": filepath.Join(s.dir, "plugin.pem")}
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("MyPre")}))
	g := s.start()
	require.Equal(t, 503, g.get("/a/").status, "the certificate is for another name")
	require.NoError(t, g.stop())

	options["grpc_authority"] = "plugins.example"
	s.writeJSON("tyk.conf", s.conf)
	g = s.start()
	require.Equal(t, "MyPre", g.get("/a/").echoed(t).Header.Get("X-Order"))
}

// TestGRPCPhantomTokenGuide wires a plugin server as the public guide does: a
// signed bundle that is only a manifest, auth_check and post_key_auth, Redis.
func TestGRPCPhantomTokenGuide(t *testing.T) {
	address, _ := (&goPlugins{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0")
	s, options := remote(t, "tcp://"+address)
	delete(options, "venv")
	s.conf["enable_coprocess"] = true
	s.conf["storage"] = object{"type": "redis", "addrs": []string{redisserver.Start(t).Addr()}}
	s.conf["public_key_path"] = filepath.Join(s.dir, "public.pem")
	run(t, s.dir, "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem")
	run(t, s.dir, "openssl", "rsa", "-in", "key.pem", "-pubout", "-out", "public.pem")
	s.write("manifest.json", `{"file_list": [], "custom_middleware": {"driver": "grpc",
		"auth_check": {"name": "MyAuth"}, "post_key_auth": [{"name": "MyPostKeyAuth"}]}}`)
	built, err := krait(t, s.dir, "bundle", "build", "-k", "key.pem", "-o", filepath.Join(s.served, "phantom-bundle.zip"))
	require.NoError(t, err, built)
	s.api("phantom", echo(t), object{
		"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "phantom-bundle.zip",
		"auth": object{"auth_header_name": "Authorization"}, "config_data": object{},
	})
	g := s.start()
	for range 2 {
		got := g.get("/phantom/", "Authorization", "Bearer opaque").echoed(t)
		require.Equal(t, "MyAuth MyPostKeyAuth", got.Header.Get("X-Order"))
		require.Equal(t, "auth_check", got.Header.Get("X-Metadata"))
	}
	require.Equal(t, 403, g.get("/phantom/").status)
}

func TestGRPCDoctor(t *testing.T) {
	address, stop := (&goPlugins{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0")
	s, _ := remote(t, "tcp://"+address)
	s.bundle("remote.zip", object{"driver": "grpc", "pre": hooks("MyPre")}, nil)
	s.api("bundled", "http://127.0.0.1:1", object{"custom_middleware_bundle": "remote.zip"})
	s.api("own", "http://127.0.0.1:1", remoteHooks(object{"pre": hooks("MyPre")}))
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

func TestGRPCWithoutPython(t *testing.T) {
	address, _ := (&goPlugins{seen: &output.Buffer{}}).start(t, "tcp", "127.0.0.1:0")
	s, options := remote(t, "tcp://"+address)
	delete(options, "venv")
	options["python_version"] = "3.99"
	s.api("a", echo(t), remoteHooks(object{"pre": hooks("MyPre")}))
	g := s.start()
	g.awaitLog("python is not available")
	require.Equal(t, "MyPre", g.get("/a/").echoed(t).Header.Get("X-Order"))
}
