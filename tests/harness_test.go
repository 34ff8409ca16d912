package tests_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/output"
)

// patience bounds every wait for a condition.
const patience = 30 * time.Second

type object = map[string]any

// binary is the gateway that make build leaves.
func binary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../bin/krait")
	require.NoError(t, err)
	require.FileExists(t, path, "run make build first; make test does")
	return path
}

func venv(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../.venv")
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(path, "bin", "python3"), "make test makes the environment")
	return path
}

// site is a directory with a tyk.conf, API definitions and bundles to serve.
type site struct {
	t      *testing.T
	dir    string
	conf   object
	served string   // what bundle_base_url leads to
	flags  []string // of the command gateway
}

func newSite(t *testing.T) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{t: t, dir: dir, served: filepath.Join(dir, "served")}
	for _, name := range []string{"apps", "middleware", "served"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o750))
	}
	files := httptest.NewServer(http.FileServer(http.Dir(s.served)))
	t.Cleanup(files.Close)
	s.conf = object{
		"listen_address":           "127.0.0.1",
		"listen_port":              freePort(t),
		"secret":                   "test-secret",
		"app_path":                 filepath.Join(dir, "apps"),
		"middleware_path":          filepath.Join(dir, "middleware"),
		"enable_bundle_downloader": true,
		"bundle_base_url":          files.URL + "/",
		"coprocess_options":        object{"enable_coprocess": true, "venv": venv(t)},
		"log_level":                "debug",
		"log_format":               "json",
	}
	return s
}

// freePort returns a port below those that the kernel hands out for port 0:
// else an upstream could get it before the gateway listens there.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + rand.IntN(20_000)
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			require.NoError(t, listener.Close())
			return port
		}
	}
	require.Fail(t, "no port is free")
	return 0
}

func (s *site) write(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o750))
	require.NoError(s.t, os.WriteFile(path, []byte(content), 0o600))
}

func (s *site) writeJSON(name string, content any) {
	s.t.Helper()
	data, err := json.MarshalIndent(content, "", "  ")
	require.NoError(s.t, err)
	s.write(name, string(data))
}

// api writes an API definition that changes can alter.
func (s *site) api(id, target string, changes object) {
	s.t.Helper()
	definition := object{
		"name":        id,
		"api_id":      id,
		"org_id":      "default",
		"use_keyless": true,
		"active":      true,
		"version_data": object{
			"not_versioned": true,
			"versions":      object{"Default": object{"name": "Default"}},
		},
		"proxy": object{"listen_path": "/" + id + "/", "target_url": target, "strip_listen_path": true},
	}
	for key, value := range changes {
		definition[key] = value
	}
	s.writeJSON("apps/"+id+".json", definition)
}

// bundle builds name from files with bin/krait; hooks is custom_middleware
// without the driver, and "krait" the manifest's member of that name.
func (s *site) bundle(name string, hooks object, files map[string]string) {
	s.t.Helper()
	work := s.t.TempDir()
	middleware := object{"driver": "python"}
	manifest := object{"custom_middleware": middleware}
	for key, value := range hooks {
		if key == "krait" {
			manifest[key] = value
			continue
		}
		middleware[key] = value
	}
	list := make([]string, 0, len(files))
	for file, content := range files {
		path := filepath.Join(work, file)
		require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(s.t, os.WriteFile(path, []byte(content), 0o600))
		list = append(list, file)
	}
	manifest["file_list"] = list
	data, err := json.Marshal(manifest)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(filepath.Join(work, "manifest.json"), data, 0o600))
	s.bundleOf(work, name)
}

// bundleOf builds name from a plugin's directory.
func (s *site) bundleOf(dir, name string) {
	s.t.Helper()
	path := filepath.Join(s.served, name)
	require.NoError(s.t, os.MkdirAll(filepath.Dir(path), 0o750))
	output, err := krait(s.t, dir, "bundle", "build", "-y", "-o", path)
	require.NoError(s.t, err, output)
}

// krait runs the binary to its end and returns what it printed.
func krait(t *testing.T, dir string, arguments ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, binary(t), arguments...)
	command.Dir = dir
	output, err := command.CombinedOutput()
	return string(output), err
}

// hook names one hook in a manifest.
func hook(name string) object { return object{"name": name} }

func hooks(names ...string) []object {
	list := make([]object, len(names))
	for i, name := range names {
		list[i] = hook(name)
	}
	return list
}

// gateway is a running bin/krait.
type gateway struct {
	t       *testing.T
	url     string
	command *exec.Cmd
	ended   chan error
	log     *output.Buffer
	once    sync.Once
	exit    error
}

// start runs the gateway until the test ends and awaits its health endpoint.
func (s *site) start(environment ...string) *gateway {
	s.t.Helper()
	g := s.launch(environment...)
	require.Eventually(s.t, func() bool {
		select {
		case err := <-g.ended:
			g.ended <- err
			s.t.Errorf("the gateway ended: %v\n%s", err, g.log)
			return true
		default:
		}
		r, err := g.try(http.MethodGet, "/hello", nil)
		return err == nil && r.status == http.StatusOK && strings.Contains(r.body, "krait gateway")
	}, patience, 20*time.Millisecond, "the gateway does not answer\n%s", g.log)
	require.False(s.t, s.t.Failed())
	return g
}

// launch starts the gateway and does not wait.
func (s *site) launch(environment ...string) *gateway {
	s.t.Helper()
	s.writeJSON("tyk.conf", s.conf)
	log := &output.Buffer{}
	arguments := append([]string{"gateway", "--conf", filepath.Join(s.dir, "tyk.conf")}, s.flags...)
	command := exec.Command(binary(s.t), arguments...) //nolint:noctx // stop ends it
	command.Dir = s.dir
	command.Env = append(os.Environ(), environment...)
	command.Stdout, command.Stderr = log, log
	require.NoError(s.t, command.Start())
	g := &gateway{
		t:       s.t,
		url:     fmt.Sprintf("http://127.0.0.1:%v", s.conf["listen_port"]),
		command: command,
		ended:   make(chan error, 1),
		log:     log,
	}
	go func() { g.ended <- command.Wait() }()
	s.t.Cleanup(func() {
		g.stop()
		if s.t.Failed() {
			s.t.Logf("log of the gateway:\n%s", g.log)
		}
	})
	return g
}

// stop ends the gateway with SIGTERM and returns how it exited.
func (g *gateway) stop() error {
	g.once.Do(func() {
		_ = g.command.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case g.exit = <-g.ended:
		case <-time.After(patience):
			_ = g.command.Process.Kill()
			g.exit = fmt.Errorf("it did not end on SIGTERM: %w", <-g.ended)
		}
	})
	return g.exit
}

// reply is what a client got.
type reply struct {
	status int
	header http.Header
	body   string
}

// send makes a request; headers are name, value, name, value...
func (g *gateway) send(method, path string, body io.Reader, headers ...string) reply {
	g.t.Helper()
	r, err := g.try(method, path, body, headers...)
	require.NoError(g.t, err)
	return r
}

// try is send for other goroutines than the test's.
func (g *gateway) try(method, path string, body io.Reader, headers ...string) (reply, error) {
	request, err := http.NewRequestWithContext(context.Background(), method, g.url+path, body)
	if err != nil {
		return reply{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	client := http.Client{Timeout: patience}
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return reply{status: response.StatusCode, header: response.Header, body: string(data)}, err
}

func (g *gateway) get(path string, headers ...string) reply {
	g.t.Helper()
	return g.send(http.MethodGet, path, nil, headers...)
}

// awaitLog waits until the log holds text.
func (g *gateway) awaitLog(text string) {
	g.t.Helper()
	require.Eventually(g.t, func() bool { return strings.Contains(g.log.String(), text) },
		patience, 10*time.Millisecond, "the log lacks %q", text)
}

// countLog counts the lines of the log that hold all of texts.
func (g *gateway) countLog(texts ...string) int {
	count := 0
	for line := range strings.Lines(g.log.String()) {
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			count++
		}
	}
	return count
}

// apiStatus is what the status endpoint says about an API.
type apiStatus struct {
	Status, Reason, Driver string
}

func statusOf(t *testing.T, g *gateway, id string) apiStatus {
	t.Helper()
	var all []struct {
		ID string `json:"api_id"`
		apiStatus
	}
	r := g.get("/tyk/apis", "X-Tyk-Authorization", "test-secret")
	require.NoError(t, json.Unmarshal([]byte(r.body), &all), r.body)
	for _, one := range all {
		if one.ID == id {
			return one.apiStatus
		}
	}
	require.Fail(t, "the status endpoint does not know the API", id)
	return apiStatus{}
}

// seen is what the echo upstream got.
type seen struct {
	Method string      `json:"method"`
	Host   string      `json:"host"`
	Path   string      `json:"path"`
	Query  string      `json:"query"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
	Length int64       `json:"length"`
}

// echo starts an upstream that answers with what it got, as JSON.
func echo(t *testing.T) string {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		_ = json.NewEncoder(w).Encode(seen{ // the client reads it or has gone
			Method: r.Method, Host: r.Host, Path: r.URL.Path, Query: r.URL.RawQuery,
			Header: r.Header, Body: body, Length: r.ContentLength,
		})
	}))
	t.Cleanup(upstream.Close)
	return upstream.URL
}

// echoed reads the echo upstream's answer.
func (r reply) echoed(t *testing.T) seen {
	t.Helper()
	require.Equal(t, http.StatusOK, r.status, r.body)
	var s seen
	require.NoError(t, json.Unmarshal([]byte(r.body), &s), r.body)
	return s
}
