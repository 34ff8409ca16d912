package tests_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
