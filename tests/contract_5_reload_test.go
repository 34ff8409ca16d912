package tests_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
)

// versionHooks says in request and response which version of code and
// definition runs.
const versionHooks = `
import json
from tyk.decorators import *
import helper

@Hook
def Begin(request, session, spec):
    import late
    assert late.VERSION == helper.VERSION
    request.add_header('X-Begin', helper.VERSION + ' ' + json.loads(spec['config_data'])['n'])
    return request, session

@Hook
def End(request, response, session, metadata, spec):
    response.headers['X-End'] = helper.VERSION + ' ' + json.loads(spec['config_data'])['n']
    return response
`

// steadyHooks has a thread and global state.
const steadyHooks = `
import threading, time, uuid
from tyk.decorators import *
LOADED = str(uuid.uuid4())
TICKS = [0]

def tick():
    while True:
        time.sleep(0.005)
        TICKS[0] += 1

threading.Thread(target=tick, daemon=True).start()

@Hook
def Steady(request, session, spec):
    request.add_header('X-Loaded', LOADED)
    request.add_header('X-Ticks', str(TICKS[0]))
    return request, session
`

// slowHooks answers with its version after the file "go" has come.
const slowHooks = `
import os, time
from tyk.decorators import *
VERSION = '%s'

@Hook
def Slow(request, session, spec):
    while not os.path.exists(request.object.params['until']):
        time.sleep(0.01)
    request.object.return_overrides.response_code = 200
    request.object.return_overrides.response_body = VERSION
    return request, session
`

// reload reloads and waits for it.
func (g *gateway) reload() {
	g.t.Helper()
	r := g.get("/tyk/reload/?block=true", "X-Tyk-Authorization", "test-secret")
	require.Equal(g.t, http.StatusOK, r.status, r.body)
	require.JSONEq(g.t, `{"status": "ok", "message": ""}`, r.body)
}

// status returns what /tyk/apis says of an API.
func (g *gateway) status(id string) (status, reason string) {
	g.t.Helper()
	var all []struct{ API_ID, Status, Reason string } //nolint:revive,staticcheck // the name in JSON
	r := g.get("/tyk/apis", "X-Tyk-Authorization", "test-secret")
	require.NoError(g.t, json.Unmarshal([]byte(r.body), &all), r.body)
	for _, one := range all {
		if one.API_ID == id {
			return one.Status, one.Reason
		}
	}
	return "", ""
}

// versionBundle makes the bundle flip.zip of that version.
func (s *site) versionBundle(version string) {
	s.t.Helper()
	module := "VERSION = '" + version + "'\n"
	s.bundle("flip.zip", object{"pre": hooks("Begin"), "response": hooks("End")},
		map[string]string{"middleware.py": versionHooks, "helper.py": module, "late.py": module})
}

func (s *site) slowBundle(version string) {
	s.t.Helper()
	s.bundle("slow.zip", object{"pre": hooks("Slow")}, map[string]string{"middleware.py": fmt.Sprintf(slowHooks, version)})
}

// traffic is clients that send requests all the time and expect 200.
type traffic struct {
	stop     chan struct{}
	clients  sync.WaitGroup
	requests atomic.Int64
}

// send has n clients with one connection each ask check again and again.
func (g *gateway) traffic(n int, check func(t *testing.T, get func(path string) (reply, error))) *traffic {
	tr := &traffic{stop: make(chan struct{})}
	for range n {
		tr.clients.Go(func() {
			transport := &http.Transport{MaxConnsPerHost: 1}
			defer transport.CloseIdleConnections()
			client := http.Client{Transport: transport, Timeout: patience}
			get := func(path string) (reply, error) {
				response, err := client.Get(g.url + path)
				if err != nil {
					return reply{}, err
				}
				defer response.Body.Close()
				body, err := io.ReadAll(response.Body)
				tr.requests.Add(1)
				return reply{response.StatusCode, response.Header, string(body)}, err
			}
			for {
				select {
				case <-tr.stop:
					return
				default:
				}
				if check(g.t, get); g.t.Failed() {
					return
				}
			}
		})
	}
	return tr
}

func (tr *traffic) end() int64 {
	close(tr.stop)
	tr.clients.Wait()
	return tr.requests.Load()
}

// header reads a header that the upstream got.
func upstreamHeader(t *testing.T, r reply, name string) string {
	var s seen
	if !assert.NoError(t, json.Unmarshal([]byte(r.body), &s), r.body) {
		return ""
	}
	return s.Header.Get(name)
}

// TestContract5ReloadUnderLoad is the last rows of section 5 of the plugin
// contract: a hundred reloads of changed, broken and unchanged bundles fail no
// request, mix no versions, and leave what works in service.
func TestContract5ReloadUnderLoad(t *testing.T) {
	const reloads, clients = 100, 12
	s := newSite(t)
	upstream := echo(t)
	flip := func(version string) object {
		return object{"custom_middleware_bundle": "flip.zip", "config_data": object{"n": version}}
	}
	s.versionBundle("0")
	s.slowBundle("0")
	s.bundle("steady.zip", object{"pre": hooks("Steady")}, map[string]string{"middleware.py": steadyHooks})
	s.api("flip", upstream, flip("0"))
	s.api("plain", upstream, nil)
	s.api("slow", upstream, object{"custom_middleware_bundle": "slow.zip"})
	s.api("steady", upstream, object{"custom_middleware_bundle": "steady.zip"})
	s.conf["coprocess_options"].(object)["hook_timeout"] = "60s" // for the slow one
	g := s.start()
	loaded := g.get("/steady/").echoed(t).Header.Get("X-Loaded")

	tr := g.traffic(clients, func(t *testing.T, get func(string) (reply, error)) {
		for _, path := range []string{"/flip/", "/plain/", "/steady/"} {
			r, err := get(path)
			if !assert.NoError(t, err) || !assert.Equal(t, http.StatusOK, r.status, r.body) {
				return
			}
			switch path {
			case "/flip/":
				began, ended := upstreamHeader(t, r, "X-Begin"), r.header.Get("X-End")
				code, definition, _ := strings.Cut(began, " ")
				assert.Equal(t, began, ended, "one request, one version")
				assert.Equal(t, code, definition, "code and definition of one version")
			case "/steady/":
				assert.Equal(t, loaded, upstreamHeader(t, r, "X-Loaded"), "an unchanged plugin is not loaded again")
			}
		}
	})

	until := filepath.Join(t.TempDir(), "go")
	slow := make(chan reply, 1)
	go func() {
		r, err := g.try(http.MethodGet, "/slow/?until="+until, nil)
		assert.NoError(t, err)
		slow <- r
	}()
	socket := openSocket(t, g, s)
	ticks := number(t, g.get("/steady/").echoed(t).Header.Get("X-Ticks"))

	good := "0" // the version that has to be in service
	for i := range reloads {
		version := strconv.Itoa(i + 1)
		broken := ""
		switch i % 5 {
		case 0, 2: // a new bundle and a new definition
			good = version
			s.versionBundle(version)
			s.api("flip", upstream, flip(version))
			s.slowBundle(version)
		case 1: // code that does not load
			s.bundle("flip.zip", object{"pre": hooks("Begin")}, map[string]string{"middleware.py": "def broken(:\n"})
			broken = "SyntaxError"
		case 3: // no bundle at all, and half a definition
			require.NoError(t, os.WriteFile(filepath.Join(s.served, "flip.zip"), []byte("not a zip"), 0o600))
			s.write("apps/flip.json", `{"api_id": "flip", "name": `)
			broken = "flip.json"
		case 4: // a changed definition and the bundle as it was
			good = version
			s.versionBundle(version)
			s.api("flip", upstream, flip(version))
		}
		g.reload()
		require.False(t, t.Failed())
		require.Equal(t, good+" "+good, g.get("/flip/").header.Get("X-End"))
		status, reason := g.status("flip")
		require.Equal(t, "active", status)
		require.Contains(t, reason, broken)
		require.Equal(t, broken == "", reason == "", reason)
		require.NoError(t, socket(version))
		if i == reloads/5 {
			require.NoError(t, os.WriteFile(until, nil, 0o600))
			require.Equal(t, "0", (<-slow).body, "it ends on the code it began with")
			require.NotEqual(t, "0", g.get("/slow/?until="+until).body)
		}
	}
	require.Greater(t, number(t, g.get("/steady/").echoed(t).Header.Get("X-Ticks")), ticks, "its thread runs on")
	require.Greater(t, tr.end(), int64(reloads*clients))
	g.awaitLog("the version before stays in service")
	g.awaitLog("SyntaxError")

	require.Eventually(t, func() bool {
		versions, err := filepath.Glob(filepath.Join(s.dir, "middleware", "bundles", ".krait", "v-*"))
		require.NoError(t, err)
		return len(versions) <= 4 // three bundles, and a broken one that is on disk
	}, patience, 20*time.Millisecond, "old versions are removed")
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// openSocket opens a websocket through a gateway and returns a function that
// sends a message over it and awaits its echo.
func openSocket(t *testing.T, g *gateway, s *site) func(message string) error {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	}))
	t.Cleanup(upstream.Close)
	s.api("socket", upstream.URL, nil)
	g.reload()
	c, _, err := websocket.Dial(t.Context(), g.url+"/socket/", nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.CloseNow() })
	return func(message string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := c.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
			return err
		}
		_, got, err := c.Read(ctx)
		if err == nil && string(got) != message {
			err = fmt.Errorf("got %q", got)
		}
		return err
	}
}

func TestSIGHUPReloads(t *testing.T) {
	s := newSite(t)
	upstream := echo(t)
	s.versionBundle("1")
	s.api("flip", upstream, object{"custom_middleware_bundle": "flip.zip", "config_data": object{"n": "1"}})
	g := s.start()
	s.versionBundle("2")
	require.NoError(t, g.command.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool { return g.get("/flip/").header.Get("X-End") == "2 1" }, patience, 10*time.Millisecond)
	g.awaitLog(`"origin":"hangup"`)
	require.NoError(t, g.stop())
}

func TestGroupOfGatewaysReloadsOverRedis(t *testing.T) {
	server := redisserver.Start(t)
	upstream := echo(t)
	var sites []*site
	var group []*gateway
	for range 2 {
		s := newSite(t)
		s.conf["storage"] = object{"type": "redis", "host": "127.0.0.1", "port": server.Port()}
		s.versionBundle("1")
		s.api("flip", upstream, object{"custom_middleware_bundle": "flip.zip", "config_data": object{"n": "1"}})
		sites, group = append(sites, s), append(group, s.start())
	}
	reloaded := func(version string) {
		for _, s := range sites {
			s.versionBundle(version)
		}
		r := group[0].get("/tyk/reload/group", "X-Tyk-Authorization", "test-secret")
		require.Equal(t, http.StatusOK, r.status, r.body)
		for _, g := range group {
			require.Eventually(t, func() bool { return g.get("/flip/").header.Get("X-End") == version+" 1" }, patience, 10*time.Millisecond)
		}
	}
	reloaded("2")
	server.Stop()
	r := group[0].get("/tyk/reload/group", "X-Tyk-Authorization", "test-secret")
	require.Equal(t, http.StatusInternalServerError, r.status, "nobody would hear it")
	server.Restart()
	reloaded("3")
}

func TestWatchReloadsWhatIsEdited(t *testing.T) {
	s := newSite(t)
	upstream := echo(t)
	plugins := filepath.Join(s.dir, "plugins")
	s.conf["bundle_base_url"] = "file://" + plugins
	edit := func(version string) {
		s.write("plugins/mine/middleware.py", strings.ReplaceAll(hookSettingHeader, "VERSION", version))
	}
	s.writeJSON("plugins/mine/manifest.json", object{
		"file_list": []string{"middleware.py"}, "custom_middleware": object{"driver": "python", "pre": hooks("Mine")},
	})
	edit("1")
	s.api("mine", upstream, object{"custom_middleware_bundle": "mine"})
	s.flags = []string{"--watch"}
	g := s.start()
	sees := func(version string) {
		t.Helper()
		require.Eventually(t, func() bool { return g.get("/mine/").echoed(t).Header.Get("X-Version") == version },
			patience, 10*time.Millisecond, "version %s", version)
	}
	sees("1")
	edit("2")
	sees("2")
	s.write("plugins/mine/middleware.py", "def half(")
	g.awaitLog("SyntaxError")
	sees("2")
	edit("3")
	sees("3")
	s.api("other", upstream, nil)
	require.Eventually(t, func() bool { return g.get("/other/").status == http.StatusOK }, patience, 10*time.Millisecond)
	require.NoError(t, os.Remove(filepath.Join(s.dir, "apps", "other.json")))
	require.Eventually(t, func() bool { return g.get("/other/").status == http.StatusNotFound }, patience, 10*time.Millisecond)
}

const hookSettingHeader = `
from tyk.decorators import *

@Hook
def Mine(request, session, spec):
    request.add_header('X-Version', 'VERSION')
    return request, session
`
