package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/coprocesspb"
)

// raised is a plugin error with a traceback.
type raised struct{}

func (raised) Error() string     { return "ValueError: boom" }
func (raised) Traceback() string { return "Traceback (most recent call last):\n  middleware.py line 7" }
func (raised) Unwrap() error     { return coprocess.ErrHook }

func failing(err error) hookFunc {
	return func(context.Context, *coprocesspb.Object) error { return err }
}

func TestFailuresOfHooks(t *testing.T) {
	up := newUpstream(t)
	for _, c := range []struct {
		name  string
		hook  string
		err   error
		code  int
		body  string
		retry string
	}{
		{"auth_check raises", "Auth", raised{}, 403, "Key not authorised", ""},
		{"pre raises", "Pre1", raised{}, 500, "Middleware error", ""},
		{"post_key_auth raises", "PostKeyAuth", raised{}, 500, "Middleware error", ""},
		{"post raises", "Post1", raised{}, 500, "Middleware error", ""},
		{"response raises", "Response1", raised{}, 500, "Middleware error", ""},
		{"pre times out", "Pre1", fmt.Errorf("x: %w", coprocess.ErrTimeout), 504, "Middleware error", ""},
		{"auth_check times out", "Auth", coprocess.ErrTimeout, 504, "Middleware error", ""},
		{"response times out", "Response2", coprocess.ErrTimeout, 504, "Middleware error", ""},
		{"runtime is busy", "Pre1", coprocess.ErrBusy, 503, "Service is busy, please retry", "1"},
		{"runtime is busy at auth_check", "Auth", coprocess.ErrBusy, 503, "Service is busy, please retry", "1"},
		{"runtime is stopping", "Post1", coprocess.ErrNotReady, 503, "Service is busy, please retry", "1"},
		{"hook vanished", "Post1", coprocess.ErrHookNotFound, 503, "This API is not available", ""},
		{"unknown error", "Pre1", errors.New("surprise"), 500, "Middleware error", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			hooks := hookSet(&trail{}, accept("tok", nil))
			hooks[c.hook] = failing(c.err)
			f := start(t, setup{
				hooks: hooks, bundles: bundles{"b.zip": allHooks},
				apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))},
			})
			got := f.get("/a/x", "X-Request-Id", "req-1")
			require.Equal(t, c.code, got.code)
			require.JSONEq(t, `{"error": "`+c.body+`"}`, got.body)
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
			require.Equal(t, "req-1", got.header.Get("X-Request-Id"))
			require.Equal(t, c.retry, got.header.Get("Retry-After"))
			require.Empty(t, got.header.Get("X-Upstream"), "nothing of the upstream's answer is left")
			log := f.logs.String()
			require.Equal(t, 1, strings.Count(log, "hook failed"), "logged once")
			for _, want := range []string{"level=ERROR", "request_id=req-1", "api_id=a", "bundle=b.zip", "hook=" + c.hook} {
				require.Contains(t, log, want)
			}
			if errors.Is(c.err, coprocess.ErrHook) {
				require.Contains(t, log, "middleware.py line 7")
			}
		})
	}
}

func TestStandardErrorBody(t *testing.T) {
	up := newUpstream(t)
	message := `say "hi" <b>&'ü'` + "\n\t\\"
	hooks := hookSet(&trail{}, accept("tok", nil))
	hooks["Pre1"] = func(_ context.Context, obj *coprocesspb.Object) error {
		obj.Request.ReturnOverrides.ResponseCode = 418
		obj.Request.ReturnOverrides.ResponseError = message
		return nil
	}
	f := start(t, setup{
		hooks: hooks, bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))},
	})
	for _, c := range []struct{ name, sent, contentType, body string }{
		{"JSON by default", "", "application/json", `{"error":"say \"hi\" <b>&'ü'\n\t\\"}`},
		{"JSON for other types", "text/plain", "application/json", `{"error":"say \"hi\" <b>&'ü'\n\t\\"}`},
		{"XML", "application/xml", "application/xml", "<error>say &#34;hi&#34; &lt;b&gt;&amp;&#39;ü&#39;&#xA;&#x9;\\</error>"},
		{"XML with parameters", "text/xml; charset=utf-8", "text/xml", "<error>say &#34;hi&#34; &lt;b&gt;&amp;&#39;ü&#39;&#xA;&#x9;\\</error>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.sent != "" {
				header = []string{"Content-Type", c.sent}
			}
			got := f.get("/a/x", header...)
			require.Equal(t, 418, got.code)
			require.Equal(t, c.contentType, got.header.Get("Content-Type"))
			require.Equal(t, c.body, strings.TrimSpace(got.body))
		})
	}
}

func TestReturnOverrides(t *testing.T) {
	up := newUpstream(t)
	for _, c := range []struct {
		name   string
		o      *coprocesspb.ReturnOverrides
		code   int
		body   string
		json   bool
		events []string
	}{
		{"400 and above: standard body and event", &coprocesspb.ReturnOverrides{ResponseCode: 400, ResponseError: "no"}, 400, "no", true, []string{"AuthFailure"}},
		{"default message", &coprocesspb.ReturnOverrides{ResponseCode: 401}, 401, "Key not authorised", true, []string{"AuthFailure"}},
		{"response_body when there is no error", &coprocesspb.ReturnOverrides{ResponseCode: 402, ResponseBody: "pay"}, 402, "pay", true, []string{"AuthFailure"}},
		{"override_error writes as it is", &coprocesspb.ReturnOverrides{ResponseCode: 429, OverrideError: true, ResponseBody: "slow"}, 429, "slow", false, []string{}},
		{"below 400 writes as it is", &coprocesspb.ReturnOverrides{ResponseCode: 302, ResponseBody: "moved"}, 302, "moved", false, []string{}},
		{"error wins over body", &coprocesspb.ReturnOverrides{ResponseCode: 200, ResponseBody: "b", ResponseError: "e"}, 200, "e", false, []string{}},
		{"no content has no body", &coprocesspb.ReturnOverrides{ResponseCode: 204, ResponseBody: "b"}, 204, "", false, []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, at := range []string{"Pre1", "Auth", "Post1"} {
				hooks := hookSet(&trail{}, accept("tok", nil))
				hooks[at] = func(_ context.Context, obj *coprocesspb.Object) error {
					obj.Request.ReturnOverrides = c.o.CloneVT()
					obj.Request.ReturnOverrides.Headers = map[string]string{"X-Own": "1", "Content-Type": "text/x-own", "Content-Length": "9999"}
					return nil
				}
				f := start(t, setup{
					hooks: hooks, bundles: bundles{"b.zip": allHooks},
					apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom()))},
				})
				got := f.get("/a/x")
				require.Equal(t, c.code, got.code)
				require.Equal(t, "1", got.header.Get("X-Own"))
				require.Equal(t, "text/x-own", got.header.Get("Content-Type"))
				if c.json {
					require.JSONEq(t, `{"error": "`+c.body+`"}`, got.body)
				} else {
					require.Equal(t, c.body, got.body)
				}
				require.NotEmpty(t, got.header.Get("X-Request-Id"))
				require.Equal(t, c.events, f.events.names(), at)
			}
		})
	}
	require.Zero(t, up.count())
}

func TestRequestBodyLimits(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		config:  func(c *config.Config) { c.HTTPServerOptions.MaxRequestBodySize = 10 },
		hooks:   hookSet(&trail{}, nil),
		bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{
			definition(t, "hooks", "/hooks/", up.URL, withHooks()),
			definition(t, "plain", "/plain/", up.URL, nil),
		},
	})
	for _, path := range []string{"/hooks/", "/plain/"} {
		for _, c := range []struct {
			name, body string
			chunked    bool
			code       int
		}{
			{"at the limit", "0123456789", false, 200},
			{"at the limit, length unknown", "0123456789", true, 200},
			{"over the limit", "0123456789a", false, 413},
			{"over the limit, length unknown", "0123456789a", true, 413},
		} {
			t.Run(path+c.name, func(t *testing.T) {
				var body io.Reader = strings.NewReader(c.body)
				if c.chunked {
					body = io.MultiReader(body)
				}
				resp, err := f.client.Post(f.url+path, "", body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				require.Equal(t, c.code, resp.StatusCode)
			})
		}
	}
}

func TestClientThatGoesAway(t *testing.T) {
	up := newUpstream(t)
	entered, left := make(chan struct{}), make(chan struct{})
	hooks := hookSet(&trail{}, nil)
	hooks["Pre1"] = func(ctx context.Context, _ *coprocesspb.Object) error {
		close(entered)
		<-ctx.Done()
		close(left)
		return ctx.Err()
	}
	f := start(t, setup{
		hooks: hooks, bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks())},
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/a/", nil)
	require.NoError(t, err)
	go func() {
		<-entered
		cancel()
	}()
	_, err = f.client.Do(r)
	require.ErrorIs(t, err, context.Canceled)
	<-left
	require.Eventually(t, func() bool { return strings.Contains(f.logs.String(), "request served") }, limit, limit/1000)
	require.NotContains(t, f.logs.String(), "level=ERROR")
	require.Zero(t, up.count())
}
