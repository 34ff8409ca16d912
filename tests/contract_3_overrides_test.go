package tests_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
)

// overriding is a script of one hook that answers the request.
func overriding(name string, o *coprocesspb.ReturnOverrides) script {
	if o.Headers == nil {
		o.Headers = map[string]string{"X-Override": "yes"}
	}
	return changing(name, &coprocesspb.MiniRequestObject{ReturnOverrides: o})
}

// TestContract3ReturnOverrides is section 3 of the plugin contract: answers of
// hooks.
func TestContract3ReturnOverrides(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	events := object{"event_handlers": object{"events": object{"AuthFailure": []object{
		{"handler_name": "eh_log_handler", "handler_meta": object{"prefix": "noted"}},
	}}}}
	keyless := everyHook()
	delete(keyless, "auth_check")
	p.api("open", keyless, events)
	p.api("protected", everyHook(), events)
	p.start()
	// failures counts the AuthFailure events of an API.
	failures := func(c caller, id string) int {
		return p.g.countLog(`"prefix":"noted"`, `"AuthFailure"`, `"`+c.driver+"-"+id+`"`)
	}
	// requireAnswer requires that hooks of all places answer o with want, and
	// that the chain stops.
	requireAnswer := func(t *testing.T, c caller, o *coprocesspb.ReturnOverrides, want string) reply {
		t.Helper()
		var r reply
		for _, name := range []string{"Pre", "Auth", "PostKeyAuth", "Post"} {
			s := overriding(name, o)
			if name != "Auth" {
				s = s.and(letIn("1", nil))
			}
			r = c.do("protected", s)
			require.Equal(t, int(o.ResponseCode), r.status, name)
			if strings.HasPrefix(want, "{") {
				require.JSONEq(t, want, r.body, name)
			} else {
				require.Equal(t, want, r.body, name)
			}
			require.Equal(t, "yes", r.header.Get("X-Override"), name)
			require.Empty(t, r.header.Get("X-Order"), "no response hook has run")
		}
		return r
	}

	p.row(t, "response_code >= 400 without override_error: headers, standard error body, AuthFailure", func(t *testing.T, c caller) {
		before := failures(c, "protected")
		requireAnswer(t, c, &coprocesspb.ReturnOverrides{ResponseCode: 418, ResponseError: "short and \"stout\""}, `{"error": "short and \"stout\""}`)
		require.Eventually(t, func() bool { return failures(c, "protected") == before+4 }, patience, 10*time.Millisecond, "an event for each")
	})
	p.row(t, "the message is response_error, response_body, or Key not authorised", func(t *testing.T, c caller) {
		for want, o := range map[string]*coprocesspb.ReturnOverrides{
			"from the error":     {ResponseError: "from the error", ResponseBody: "from the body"},
			"from the body":      {ResponseBody: "from the body"},
			"Key not authorised": {},
		} {
			o.ResponseCode = 403
			r := c.do("open", overriding("Pre", o))
			require.Equal(t, http.StatusForbidden, r.status)
			require.JSONEq(t, `{"error": "`+want+`"}`, r.body)
		}
	})
	p.row(t, "response_code > 0 otherwise: headers, code and body as they are, no event", func(t *testing.T, c caller) {
		before := failures(c, "protected")
		r := requireAnswer(t, c, &coprocesspb.ReturnOverrides{ResponseCode: 418, OverrideError: true, ResponseBody: "short & stout"}, "short & stout")
		require.Equal(t, http.StatusTeapot, r.status)
		requireAnswer(t, c, &coprocesspb.ReturnOverrides{ResponseCode: 201, ResponseBody: "made"}, "made")
		require.Equal(t, before, failures(c, "protected"))
	})
	p.row(t, "response_code <= 0: the chain goes on", func(t *testing.T, c caller) {
		r := c.do("open", overriding("Pre", &coprocesspb.ReturnOverrides{ResponseCode: -7, ResponseBody: "unused"}))
		require.Equal(t, "Pre Pre2 Post Post2", r.echoed(t).Header.Get("X-Order"))
		require.Empty(t, r.header.Get("X-Override"))
	})
	p.row(t, "response_error wins over response_body", func(t *testing.T, c caller) {
		r := c.do("open", overriding("Post", &coprocesspb.ReturnOverrides{
			ResponseCode: 200, ResponseError: "the error", ResponseBody: "the body",
		}))
		require.Equal(t, "the error", r.body)
	})
	p.row(t, "standard error body in XML when the request's Content-Type is XML", func(t *testing.T, c caller) {
		for _, kind := range []string{"application/xml", "text/xml; charset=utf-8"} {
			r := c.send("open", request{
				method: "POST", headers: []string{"Content-Type", kind},
				script: overriding("Pre", &coprocesspb.ReturnOverrides{ResponseCode: 400, ResponseError: "a < b & c"}),
			})
			require.Contains(t, r.header.Get("Content-Type"), "xml")
			require.Contains(t, r.body, "<error>a &lt; b &amp; c</error>")
		}
	})
	p.row(t, "ignored in response hooks", func(t *testing.T, c caller) {
		r := c.do("open", overriding("Response", &coprocesspb.ReturnOverrides{ResponseCode: 418, OverrideError: true, ResponseBody: "x"}))
		require.Equal(t, http.StatusOK, r.status)
		require.Equal(t, "Response Response2", r.header.Get("X-Order"))
	})
}
