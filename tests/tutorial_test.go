package tests_test

import (
	"bufio"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The files are the tutorial's, to the letter.
const (
	tutorialManifest = `{
  "file_list": [
    "middleware.py"
  ],
  "custom_middleware": {
    "driver": "python",
    "auth_check": {
      "name": "MyAuthMiddleware"
    }
  }
}
`
	tutorialMiddleware = `from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def MyAuthMiddleware(request, session, metadata, spec):
  auth_header = request.get_header('Authorization')
  if auth_header == '47a0c79c427728b3df4af62b9228c8ae':
    tyk.log("I'm logged!", "info")
    tyk.log("Request body" + request.object.body, "info")
    tyk.log("API config_data" + spec['config_data'], "info")
    session.rate = 1000.0
    session.per = 1.0
    metadata["token"] = "47a0c79c427728b3df4af62b9228c8ae"
  return request, session, metadata
`
	goodToken = "47a0c79c427728b3df4af62b9228c8ae"
)

// pythonServer runs python3 -m http.server in dir and returns its URL.
func pythonServer(t *testing.T, dir string) string {
	t.Helper()
	command := exec.Command(filepath.Join(venv(t), "bin", "python3"), "-u", "-m", "http.server", "0", "--bind", "127.0.0.1") //nolint:noctx // killed at the end of the test
	command.Dir = dir
	stdout, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	lines := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		lines <- line
	}()
	select {
	case line := <-lines:
		url := regexp.MustCompile(`http://[0-9.:]+/`).FindString(line)
		require.NotEmpty(t, url, "python3 -m http.server said %q", line)
		return url
	case <-time.After(patience):
		require.Fail(t, "python3 -m http.server did not start")
		return ""
	}
}

// TestTutorial is the tutorial from beginning to end: manifest, middleware,
// build, serve, configure, badtoken, good token.
func TestTutorial(t *testing.T) {
	s := newSite(t)
	s.write("my-tyk-plugin/manifest.json", tutorialManifest)
	s.write("my-tyk-plugin/middleware.py", tutorialMiddleware)
	plugin := filepath.Join(s.dir, "my-tyk-plugin")
	output, err := krait(t, plugin, "bundle", "build", "-y")
	require.NoError(t, err, output)
	require.FileExists(t, filepath.Join(plugin, "bundle.zip"))

	s.conf["bundle_base_url"] = pythonServer(t, plugin)
	// The tutorial's value: a directory that need not exist.
	s.conf["coprocess_options"].(object)["python_path_prefix"] = "/opt/tyk-gateway"
	s.api("my-api", echo(t), object{
		"use_keyless":              false,
		"enable_coprocess_auth":    true,
		"custom_middleware_bundle": "bundle.zip",
	})
	g := s.start()

	bad := g.get("/my-api/my-path", "Authorization", "badtoken")
	require.Equal(t, http.StatusForbidden, bad.status)
	require.JSONEq(t, `{"error": "Key not authorised"}`, bad.body)
	require.NotEmpty(t, bad.header.Get("X-Request-Id"))

	require.Equal(t, http.StatusForbidden, g.get("/my-api/my-path").status, "without a token")

	good := g.send(http.MethodPost, "/my-api/my-path?a=b", strings.NewReader("the body"), "Authorization", goodToken)
	got := good.echoed(t)
	require.Equal(t, "/my-path", got.Path)
	require.Equal(t, "a=b", got.Query)
	require.Equal(t, "the body", string(got.Body))
	require.Equal(t, goodToken, got.Header.Get("Authorization"))
	g.awaitLog("I'm logged!")
	g.awaitLog("Request bodythe body")
	g.awaitLog("API config_data{}")
	require.NoError(t, g.stop(), "SIGTERM ends it with 0")
}
