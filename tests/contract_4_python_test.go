package tests_test

import (
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestContract4PythonAPI is section 4 of the plugin contract: what Python code
// finds. Its hooks are in testdata/python.
func TestContract4PythonAPI(t *testing.T) {
	t.Parallel()
	code, err := os.ReadFile("testdata/python/middleware.py")
	require.NoError(t, err)
	s := newSite(t)
	upstream := echo(t)
	protected := object{"use_keyless": false, "enable_coprocess_auth": true}
	for id, api := range map[string]struct{ hooks, changes object }{
		"arity":         {object{"pre": hooks("Three", "Four", "Five"), "post": hooks("Five", "Three"), "response": hooks("Three", "Four", "Five")}, nil},
		"in-place":      {object{"auth_check": hook("ReturnsOnlyTheRequest")}, protected},
		"another":       {object{"pre": hooks("ReturnsAnother")}, nil},
		"nothing":       {object{"pre": hooks("ReturnsNothing")}, nil},
		"five-values":   {object{"response": hooks("ReturnsFiveValues")}, nil},
		"async":         {object{"pre": hooks("Together")}, nil},
		"legacy":        {object{"pre": hooks("LegacyPre"), "auth_check": hook("LegacyCheck"), "post_key_auth": hooks("LegacyPostKeyAuth"), "post": hooks("LegacyPost")}, protected},
		"events":        {object{"pre": hooks("Fires")}, pluginEvent("Custom", "OnCustom")},
		"request":       {object{"pre": hooks("UsesTheRequest")}, nil},
		"protobuf":      {object{"pre": hooks("UsesProtobuf")}, nil},
		"log":           {object{"pre": hooks("Logs")}, nil},
		"thread":        {object{"pre": hooks("Ticks")}, nil},
		"event-missing": {object{"pre": hooks("Fires")}, pluginEvent("Custom", "Absent")},
	} {
		s.bundle(id+".zip", api.hooks, map[string]string{"middleware.py": string(code)})
		changes := object{"custom_middleware_bundle": id + ".zip"}
		for key, value := range api.changes {
			changes[key] = value
		}
		s.api(id, upstream, changes)
	}
	g := s.start()

	t.Run("@Hook: 3, 4 or 5 arguments decide what it gets, whatever the hook type", func(t *testing.T) {
		r := g.get("/arity/")
		for _, name := range []string{"X-Three", "X-Four", "X-Five"} {
			require.Equal(t, "yes", r.echoed(t).Header.Get(name), name)
		}
		require.Equal(t, "yes", r.header.Get("X-Five"), "what the hook of five arguments did to response")
		for text, times := range map[string]int{
			"Three got TykCoProcessRequest SessionState map": 3, "Four got TykCoProcessRequest SessionState map map": 2,
			"Five got TykCoProcessRequest ResponseObject SessionState map map": 3,
		} {
			require.Eventually(t, func() bool { return g.countLog(text) == times }, patience, 10*time.Millisecond, text)
		}
	})
	t.Run("in-place changes count even when something else is returned", func(t *testing.T) {
		require.Equal(t, "yes", g.get("/in-place/").echoed(t).Header.Get("X-In-Place"))
	})
	t.Run("a returned message of the right type replaces the original", func(t *testing.T) {
		got := g.send(http.MethodPost, "/another/", strings.NewReader("body")).echoed(t)
		require.Equal(t, "yes", got.Header.Get("X-New"))
		require.Empty(t, got.Header.Get("X-Old"))
		require.Equal(t, "body", string(got.Body))
	})
	t.Run("None means as changed in place", func(t *testing.T) {
		require.Equal(t, "yes", g.get("/nothing/").echoed(t).Header.Get("X-In-Place"))
	})
	t.Run("a response hook may return a tuple of five", func(t *testing.T) {
		require.Equal(t, http.StatusAccepted, g.get("/five-values/").status)
	})
	t.Run("async def hooks run on one event loop, many at a time", func(t *testing.T) {
		var loops sync.Map
		var group sync.WaitGroup
		for range 10 { // none ends before all have begun
			group.Go(func() {
				r, err := g.try(http.MethodGet, "/async/", nil)
				if assert.NoError(t, err) && assert.Equal(t, http.StatusOK, r.status) {
					loops.Store(r.echoed(t).Header.Get("X-Loop"), true)
				}
			})
		}
		group.Wait()
		count := 0
		loops.Range(func(any, any) bool { count++; return true })
		require.Equal(t, 1, count)
	})
	t.Run("@Pre, @Post, @PostKeyAuth, @CustomKeyCheck", func(t *testing.T) {
		got := g.get("/legacy/", "Authorization", "a-token").echoed(t)
		require.Equal(t, []string{"yes", "a-token", "yes"},
			[]string{got.Header.Get("X-Pre"), got.Header.Get("X-Post-Key-Auth"), got.Header.Get("X-Post")})
		require.Equal(t, http.StatusForbidden, g.get("/legacy/").status)
	})
	t.Run("@Event functions run; trigger_event fires; the request's id is in the log", func(t *testing.T) {
		r := g.get("/events/")
		r.echoed(t)
		spec := `{\"APIID\": \"events\", \"OrgID\": \"default\"}`
		want := `[\"noted\", \"Custom\", {\"Message\": \"the payload\"}, \"OnCustom\", ` + spec + `, ` + spec + `]`
		require.Eventually(t, func() bool { return g.countLog(want, r.header.Get("X-Request-Id")) == 1 }, patience, 10*time.Millisecond)
	})
	t.Run("an @Event function that is not defined refuses the API", func(t *testing.T) { requireRefused(t, g, "event-missing", "Absent") })
	t.Run("request: get_header, add_header, delete_header, add_param, delete_param", func(t *testing.T) {
		got := g.get("/request/?gone=1&kept=2", "X-Given", "1", "X-Gone", "1").echoed(t)
		require.Equal(t, []string{"yes", "", "1"}, []string{got.Header.Get("X-Added"), got.Header.Get("X-Gone"), got.Header.Get("X-Given")})
		require.Equal(t, "kept=2&added=yes", got.Query)
	})
	t.Run("request.object, session, response are genuine protobuf messages", func(t *testing.T) {
		require.Equal(t, "/x", g.get("/protobuf/", "X-Given", "1").echoed(t).Header.Get("X-Protobuf"))
	})
	t.Run("tyk.log levels, anything else is info; log_error; print() goes to the log", func(t *testing.T) {
		id := g.get("/log/").header.Get("X-Request-Id")
		for text, level := range map[string]string{
			"logged as debug": "DEBUG", "logged as info": "INFO", "logged as warning": "WARN", "logged as error": "ERROR",
			"logged as loud": "INFO", "printed": "INFO", "it failed: ValueError: the reason": "ERROR",
		} {
			require.Eventually(t, func() bool {
				return g.countLog(`"`+text+`"`, `"level":"`+level+`"`, id, `"api_id":"log"`, `"bundle":"log.zip"`, `"hook":"Logs"`) == 1
			}, patience, 10*time.Millisecond, text)
		}
	})
	t.Run("a thread that a plugin started keeps running between requests", func(t *testing.T) {
		ticks := func() int {
			n, err := strconv.Atoi(g.get("/thread/").echoed(t).Header.Get("X-Ticks"))
			require.NoError(t, err)
			return n
		}
		first := ticks()
		require.Eventually(t, func() bool { return ticks() > first+20 }, patience, 200*time.Millisecond, "with one request in 200 ms")
	})
}

// pluginEvent is event_handlers with one function of a plugin.
func pluginEvent(name, function string) object {
	return object{"event_handlers": object{"events": object{name: []object{
		{"handler_name": "cp_dynamic_handler", "handler_meta": object{"name": function}},
	}}}}
}
