package tests_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const failingHooks = `
import sys
import time
from tyk.decorators import *

@Hook
def Good(request, session, spec):
    request.add_header('X-Good', 'yes')
    return request, session

@Hook
def Raises(request, session, spec):
    return inner({})

def inner(mapping):
    return mapping['the missing key']

@Hook
def RaisesInAuth(request, session, metadata, spec):
    raise RuntimeError('auth is broken')

@Hook
def Exits(request, session, spec):
    sys.exit(0)

@Hook
def NeverReturns(request, session, spec):
    while True:
        time.sleep(0.01)

@Hook
def ReturnsNothing(request, session, spec):
    request.add_header('X-Nothing', 'yes')

@Hook
def ReturnsNonsense(request, session, spec):
    return 42
`

// TestFailuresStayWithTheirAPI has one API per way to fail beside one that
// works, and asks the good one after each.
func TestFailuresStayWithTheirAPI(t *testing.T) {
	s := newSite(t)
	upstream := echo(t)
	s.conf["coprocess_options"].(object)["hook_timeout"] = "500ms"
	files := map[string]string{"middleware.py": failingHooks}
	pre := func(id, name string) {
		s.bundle(id+".zip", object{"pre": hooks(name)}, files)
		s.api(id, upstream, object{"custom_middleware_bundle": id + ".zip"})
	}
	pre("good", "Good")
	pre("raises", "Raises")
	pre("exits", "Exits")
	pre("never", "NeverReturns")
	pre("nothing", "ReturnsNothing")
	pre("nonsense", "ReturnsNonsense")
	pre("missing", "NoSuchHook")
	s.bundle("auth.zip", object{"auth_check": hook("RaisesInAuth")}, files)
	s.api("auth", upstream, object{
		"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "auth.zip",
	})
	s.bundle("syntax.zip", object{"pre": hooks("Good")}, map[string]string{"middleware.py": "def broken(:\n"})
	s.api("syntax", upstream, object{"custom_middleware_bundle": "syntax.zip"})
	s.api("absent", upstream, object{"custom_middleware_bundle": "absent.zip"})
	require.NoError(t, os.WriteFile(filepath.Join(s.served, "garbage.zip"), []byte("not a zip"), 0o600))
	s.api("garbage", upstream, object{"custom_middleware_bundle": "garbage.zip"})
	s.write("apps/broken.json", `{"api_id": "broken", "proxy": {"listen_path": "/broken/", "target_url": 7}}`)
	s.write("apps/nojson.json", `{"api_id": `)
	g := s.start()

	for id, c := range map[string]struct {
		status int
		body   string
		log    []string
	}{
		"raises":   {500, "Middleware error", []string{"Traceback (most recent call last)", "in inner", "KeyError: 'the missing key'", `"hook":"Raises"`, `"bundle":"raises.zip"`}},
		"exits":    {500, "Middleware error", []string{"SystemExit"}},
		"never":    {504, "Middleware error", []string{"timed out", "hook is overdue and interrupted", "in NeverReturns"}},
		"nonsense": {500, "Middleware error", []string{"ReturnsNonsense"}},
		"auth":     {403, "Key not authorised", []string{"auth is broken"}},
		"missing":  {503, "", []string{"NoSuchHook"}},
		"syntax":   {503, "", []string{"SyntaxError", "middleware.py"}},
		"absent":   {503, "", []string{"absent.zip"}},
		"garbage":  {503, "", []string{"garbage.zip"}},
		"broken":   {503, "", []string{"target_url"}},
	} {
		t.Run(id, func(t *testing.T) {
			for range 2 { // the second time like the first
				r := g.get("/" + id + "/")
				require.Equal(t, c.status, r.status, r.body)
				require.Contains(t, r.body, `"error"`)
				require.Contains(t, r.body, c.body)
				require.NotContains(t, r.body, "Traceback")
				require.NotEmpty(t, r.header.Get("X-Request-Id"))
			}
			for _, text := range c.log {
				g.awaitLog(text)
			}
			require.Equal(t, "yes", g.get("/good/").echoed(t).Header.Get("X-Good"))
		})
	}
	t.Run("a hook that returns None has changed its arguments in place", func(t *testing.T) {
		require.Equal(t, "yes", g.get("/nothing/").echoed(t).Header.Get("X-Nothing"))
	})
	t.Run("the status endpoint tells the reasons, to who has the secret", func(t *testing.T) {
		require.Equal(t, http.StatusForbidden, g.get("/tyk/apis").status)
		require.Equal(t, http.StatusForbidden, g.get("/tyk/apis", "x-tyk-authorization", "wrong").status)
		r := g.get("/tyk/apis", "x-tyk-authorization", "test-secret")
		require.Equal(t, http.StatusOK, r.status)
		require.Contains(t, r.body, "NoSuchHook")
		require.Contains(t, r.body, "absent.zip")
	})
	t.Run("many at once", func(t *testing.T) {
		var group sync.WaitGroup
		for range 16 {
			for id, status := range map[string]int{"good": 200, "raises": 500, "exits": 500, "never": 504, "syntax": 503} {
				group.Go(func() {
					r, err := g.try(http.MethodGet, "/"+id+"/", nil)
					if assert.NoError(t, err) {
						assert.Equal(t, status, r.status, id)
					}
				})
			}
		}
		group.Wait()
	})
	require.NoError(t, g.stop())
}

// TestDriverThatIsNotConfigured is the forum's case: an API with a plugin on a
// gateway without the driver answered with a nil pointer panic.
func TestDriverThatIsNotConfigured(t *testing.T) {
	s := newSite(t)
	s.conf["coprocess_options"] = object{"enable_coprocess": false}
	s.bundle("plugin.zip", object{"auth_check": hook("MyAuthMiddleware")}, map[string]string{"middleware.py": tutorialMiddleware})
	s.api("plugin", echo(t), object{
		"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "plugin.zip",
	})
	s.api("plain", echo(t), nil)
	g := s.start()
	for range 3 {
		r := g.get("/plugin/", "Authorization", goodToken)
		require.Equal(t, http.StatusServiceUnavailable, r.status)
		require.Contains(t, r.body, `"error"`)
		g.get("/plain/").echoed(t)
	}
	g.awaitLog("enable_coprocess")
	require.NotContains(t, g.log.String(), "panic")
}

func TestUpstreamThatIsDown(t *testing.T) {
	s := newSite(t)
	s.api("down", "http://127.0.0.1:1", nil)
	s.api("up", echo(t), nil)
	g := s.start()
	require.GreaterOrEqual(t, g.get("/down/").status, 500)
	g.get("/up/").echoed(t)
}

func TestStart(t *testing.T) {
	for name, c := range map[string]struct {
		change func(object)
		want   string
	}{
		"a port that is none":      {func(c object) { c["listen_port"] = 99999 }, "listen_port"},
		"a wrong type":             {func(c object) { c["listen_port"] = "eighty" }, "listen_port"},
		"an unknown storage":       {func(c object) { c["storage"] = object{"type": "carrier pigeon"} }, "storage.type"},
		"a key that is missing":    {func(c object) { c["public_key_path"] = "/nonexistent.pem" }, "public_key_path"},
		"a setting not available":  {func(c object) { c["coprocess_options"].(object)["isolation"] = "process" }, "isolation"},
		"a directory that is none": {func(c object) { c["app_path"] = "/nonexistent" }, "/nonexistent"},
	} {
		t.Run(name+" ends the start with one line", func(t *testing.T) {
			s := newSite(t)
			c.change(s.conf)
			g := s.launch()
			select {
			case err := <-g.ended:
				g.ended <- err
				require.Error(t, err)
			case <-time.After(patience):
				require.Fail(t, "it did not end")
			}
			require.Contains(t, g.log.String(), c.want)
			require.Len(t, strings.Split(strings.TrimSpace(g.log.String()), "\n"), 1, g.log.String())
		})
	}
	t.Run("a port in use", func(t *testing.T) {
		s := newSite(t)
		s.start()
		output, err := krait(t, s.dir, "gateway", "--conf", filepath.Join(s.dir, "tyk.conf"))
		require.Error(t, err)
		require.Contains(t, output, "address already in use")
	})
	t.Run("a file that is missing or no JSON", func(t *testing.T) {
		dir := t.TempDir()
		output, err := krait(t, dir, "gateway", "--conf", "absent.conf")
		require.Error(t, err)
		require.Contains(t, output, "absent.conf")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "bad.conf"), []byte("{\n  \"listen_port\": ,\n}"), 0o600))
		output, err = krait(t, dir, "gateway", "--conf", "bad.conf")
		require.Error(t, err)
		require.Contains(t, output, "bad.conf:2:")
	})
	t.Run("the environment overrides the file", func(t *testing.T) {
		s := newSite(t)
		s.conf["listen_port"] = 1
		port := freePort(t)
		s.writeJSON("tyk.conf", s.conf)
		override := "TYK_GW_LISTENPORT=" + strconv.Itoa(port)
		s.conf["listen_port"] = port // where start asks; the file is rewritten
		s.conf["secret"] = "from the file"
		g := s.start(override, "TYK_GW_SECRET=from the environment")
		require.Equal(t, http.StatusOK, g.get("/tyk/apis", "x-tyk-authorization", "from the environment").status)
		require.Equal(t, http.StatusForbidden, g.get("/tyk/apis", "x-tyk-authorization", "from the file").status)
	})
}

func TestStopDrains(t *testing.T) {
	s := newSite(t)
	s.bundle("slow.zip", object{"pre": hooks("Slow")}, map[string]string{
		"middleware.py": "import time\nfrom tyk.decorators import *\nfrom gateway import TykGateway as tyk\n@Hook\ndef Slow(request, session, spec):\n    tyk.log('slow begins', 'info')\n    time.sleep(1)\n    return request, session\n",
	})
	s.api("slow", echo(t), object{"custom_middleware_bundle": "slow.zip"})
	g := s.start()
	results := make(chan reply, 1)
	go func() {
		r, err := g.try(http.MethodGet, "/slow/", nil)
		if assert.NoError(t, err) {
			results <- r
		}
	}()
	g.awaitLog("slow begins")
	require.NoError(t, g.stop())
	select {
	case r := <-results:
		require.Equal(t, http.StatusOK, r.status)
	case <-time.After(patience):
		require.Fail(t, "the request in flight got no answer")
	}
}

func TestStopWithAHookThatDoesNotEnd(t *testing.T) {
	s := newSite(t)
	s.conf["coprocess_options"].(object)["hook_timeout"] = "200ms"
	s.bundle("hang.zip", object{"pre": hooks("Hang")}, map[string]string{
		"middleware.py": "import time\nfrom tyk.decorators import *\n@Hook\ndef Hang(request, session, spec):\n    time.sleep(600)\n",
	})
	s.api("hang", echo(t), object{"custom_middleware_bundle": "hang.zip"})
	g := s.start()
	require.Equal(t, http.StatusGatewayTimeout, g.get("/hang/").status)
	require.NoError(t, g.stop(), "a plugin that hangs does not turn a stop into a failure")
	g.awaitLog("part of the gateway did not end in order")
}
