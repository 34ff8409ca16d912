package tests_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
)

// firedEvent is what a plugin's event function is given.
type firedEvent struct {
	Message struct {
		Event     string
		MetaData  map[string]any
		TimeStamp string
	} `json:"message"`
	HandlerName string            `json:"handler_name"`
	Spec        map[string]string `json:"spec"`
}

// events lists the events that the plugins of c were given, of its API id.
func (c caller) events(id string) []firedEvent {
	texts := c.probe.seen.String()
	if c.driver == "python" {
		var messages strings.Builder
		for line := range strings.Lines(c.probe.g.log.String()) {
			var logged struct{ Msg, Message string }
			if json.Unmarshal([]byte(line), &logged) == nil {
				messages.WriteString(logged.Msg + logged.Message + "\n")
			}
		}
		texts = messages.String()
	}
	var found []firedEvent
	for line := range strings.Lines(texts) {
		text, ok := strings.CutPrefix(line, "event ")
		var e firedEvent
		if ok && json.Unmarshal([]byte(text), &e) == nil && e.Spec["APIID"] == c.driver+"-"+id {
			found = append(found, e)
		}
	}
	return found
}

// awaitEvent waits for the next event of that name after the first seen.
func (c caller) awaitEvent(id, name string, seen int) firedEvent {
	c.t.Helper()
	var found firedEvent
	require.Eventually(c.t, func() bool {
		for _, e := range c.events(id)[seen:] {
			if e.Message.Event == name {
				found = e
				return true
			}
		}
		return false
	}, patience, 10*time.Millisecond, "no event %s", name)
	return found
}

// hookRecorder is the server behind a webhook.
type hookRecorder struct {
	mu       sync.Mutex
	requests []*http.Request
	bodies   []string
}

func (h *hookRecorder) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body) // what came of it is looked at
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests, h.bodies = append(h.requests, r), append(h.bodies, string(body))
}

// to lists the bodies that came to the path and hold text.
func (h *hookRecorder) to(path, text string) (found []string, last *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, r := range h.requests {
		if r.URL.Path == path && strings.Contains(h.bodies[i], text) {
			found, last = append(found, h.bodies[i]), r
		}
	}
	return found, last
}

// TestContract8Events is section 8 of the plugin contract.
func TestContract8Events(t *testing.T) {
	t.Parallel()
	recorder := &hookRecorder{}
	server := httptest.NewServer(recorder)
	t.Cleanup(server.Close)
	plugin := func(function string) object {
		return object{"handler_name": "cp_dynamic_handler", "handler_meta": object{"name": function}}
	}
	webhook := func(path string, more object) object {
		meta := object{"method": "PUT", "target_path": server.URL + path, "header_map": object{"X-Own": "1"}}
		maps.Copy(meta, more)
		return object{"handler_name": "eh_web_hook_handler", "handler_meta": meta}
	}
	p := newProbe(t)
	events := object{}
	for _, name := range []string{"AuthFailure", "KeyExpired", "QuotaExceeded", "RatelimitExceeded", "TriggerExceeded", "Custom"} {
		events[name] = []object{plugin("OnEvent")}
	}
	events["AuthFailure"] = []object{
		plugin("OnEvent"),
		{"handler_name": "eh_log_handler", "handler_meta": object{"prefix": "noted"}},
		webhook("/each", nil), webhook("/held-back", object{"event_timeout": 3600}),
	}
	p.api("a", object{"auth_check": hook("Auth"), "post": hooks("Post")}, object{"org_id": "my-org", "event_handlers": object{"events": events}})
	p.api("slow", object{"pre": hooks("Pre")}, object{"event_handlers": object{"events": object{
		"AuthFailure": []object{plugin("OnSlowEvent"), plugin("OnSlowEvent")},
	}}})
	driverOnly := object{"custom_middleware": object{"driver": "grpc"}, "use_keyless": false, "event_handlers": object{"events": object{
		"AuthFailure": []object{plugin("OnEvent")},
	}}}
	p.site.api("grpc-events-only", p.upstream, driverOnly)
	p.start()
	// refuse makes an AuthFailure at the path.
	refuse := func(c caller, path string) reply {
		return c.send("a", request{path: path, script: overriding("Auth", &coprocesspb.ReturnOverrides{ResponseCode: 403}), headers: []string{"X-Request-Id", "the-request"}})
	}

	p.row(t, "cp_dynamic_handler calls the @Event function or DispatchEvent, with the payload", func(t *testing.T, c caller) {
		require.Equal(t, http.StatusForbidden, refuse(c, "x").status)
		e := c.awaitEvent("a", "AuthFailure", 0)
		require.Equal(t, "OnEvent", e.HandlerName)
		require.Equal(t, map[string]string{"APIID": c.driver + "-a", "OrgID": "my-org"}, e.Spec)
		_, err := time.Parse(time.RFC3339Nano, e.Message.TimeStamp)
		require.NoError(t, err)
		require.Equal(t, "/"+c.driver+"-a/x", e.Message.MetaData["Path"])
	})
	t.Run("cp_dynamic_handler for an API that has a driver and no hook", func(t *testing.T) {
		require.Equal(t, http.StatusForbidden, p.g.get("/grpc-events-only/", "Authorization", "nobody's").status)
		caller{t, p, "grpc"}.awaitEvent("events-only", "AuthFailure", 0)
	})
	p.row(t, "eh_log_handler", func(t *testing.T, c caller) {
		refuse(c, "x")
		require.Eventually(t, func() bool {
			return p.g.countLog(`"prefix":"noted"`, `"AuthFailure"`, `"`+c.driver+`-a"`, `"the-request"`) > 0
		}, patience, 10*time.Millisecond)
	})
	p.row(t, "eh_web_hook_handler: method, target_path, header_map", func(t *testing.T, c caller) {
		refuse(c, "web-hook")
		var bodies []string
		var last *http.Request
		require.Eventually(t, func() bool {
			bodies, last = recorder.to("/each", c.driver+"-a/web-hook")
			return len(bodies) == 1
		}, patience, 10*time.Millisecond)
		require.Equal(t, []string{"PUT", "1"}, []string{last.Method, last.Header.Get("X-Own")})
		var e firedEvent
		require.NoError(t, json.Unmarshal([]byte(bodies[0]), &e))
		require.Equal(t, []string{"AuthFailure", c.driver + "-a"}, []string{e.Message.Event, e.Spec["APIID"]})
	})
	p.row(t, "eh_web_hook_handler: event_timeout holds repetitions back", func(t *testing.T, c caller) {
		text := c.driver + "-a/again"
		for range 3 {
			refuse(c, "again")
		}
		require.Eventually(t, func() bool {
			each, _ := recorder.to("/each", text)
			held, _ := recorder.to("/held-back", text)
			return len(each) == 3 && len(held) >= 1
		}, patience, 10*time.Millisecond)
		held, _ := recorder.to("/held-back", text)
		require.Len(t, held, 1)
	})
	p.row(t, "AuthFailure, KeyExpired, QuotaExceeded, RatelimitExceeded, TriggerExceeded", func(t *testing.T, c caller) {
		seen := len(c.events("a"))
		refuse(c, "x")
		c.do("a", letIn("expired", &coprocesspb.SessionState{Expires: 1}))
		for range 2 {
			c.do("a", letIn("rate "+c.driver, &coprocesspb.SessionState{Rate: 1, Per: 3600}))
			c.do("a", letIn("quota "+c.driver, &coprocesspb.SessionState{
				QuotaMax: 1, QuotaRenewalRate: 3600, Monitor: &coprocesspb.Monitor{TriggerLimits: []float64{80}},
			}))
		}
		for _, name := range []string{"AuthFailure", "KeyExpired", "QuotaExceeded", "RatelimitExceeded", "TriggerExceeded"} {
			c.awaitEvent("a", name, seen)
		}
	})
	t.Run("whatever a plugin fires", func(t *testing.T) {
		c := caller{t, p, "python"}
		s := letIn("1", nil)
		s["Post"] = part{Fire: "Custom"}
		c.give("a", request{script: s})
		require.Equal(t, map[string]any{"Message": "the payload"}, c.awaitEvent("a", "Custom", 0).Message.MetaData)
	})
	p.row(t, "events never block a request; a bounded queue drops and counts", func(t *testing.T, c caller) {
		header := overriding("Pre", &coprocesspb.ReturnOverrides{ResponseCode: 403}).header(t)
		const callers, each = 8, 150 // more than the queue holds
		begin := time.Now()
		var group sync.WaitGroup
		for range callers {
			group.Go(func() {
				for range each {
					r, err := p.g.try(http.MethodGet, "/"+c.driver+"-slow/", nil, header...)
					if !assert.NoError(t, err) || !assert.Equal(t, http.StatusForbidden, r.status) {
						return
					}
				}
			})
		}
		group.Wait()
		// Each event takes 2 s, and four are handled at a time.
		require.Less(t, time.Since(begin), callers*each*2*time.Second/4/10)
		p.g.awaitLog("events are dropped")
		p.g.awaitLog("dropped_total")
		c.do("slow", script{"Pre": {Release: true}})
	})
}
