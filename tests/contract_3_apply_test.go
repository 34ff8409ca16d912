package tests_test

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
)

// TestContract3Apply is section 3 of the plugin contract: what request hooks
// change.
func TestContract3Apply(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	p.api("a", object{"pre": hooks("Pre", "Pre2"), "post": hooks("Post")}, nil)
	p.api("protected", object{"auth_check": hook("Auth"), "post": hooks("Post")}, nil)
	p.api("target", object{"pre": hooks("Pre2")}, object{"name": "The Target's Name"})
	elsewhere := echo(t)
	p.start()
	// give is what the upstream got when the hook Pre changed a request.
	give := func(t *testing.T, c caller, r request, change *coprocesspb.MiniRequestObject) seen {
		t.Helper()
		r.script = changing("Pre", change)
		return c.give("a", r)
	}

	p.row(t, "delete_headers, then set_headers, which replace", func(t *testing.T, c caller) {
		got := give(t, c, request{headers: []string{"X-Gone", "1", "X-Both", "old", "X-Many", "1", "X-Many", "2", "X-Kept", "k", "X-Kept", "l"}},
			&coprocesspb.MiniRequestObject{
				DeleteHeaders: []string{"x-gone", "X-Both"},
				SetHeaders:    map[string]string{"X-Both": "new", "x-many": "only", "X-Fresh": "f"},
			})
		require.Empty(t, got.Header.Values("X-Gone"))
		require.Equal(t, []string{"new"}, got.Header["X-Both"])
		require.Equal(t, []string{"only"}, got.Header["X-Many"])
		require.Equal(t, []string{"k", "l"}, got.Header["X-Kept"])
		require.Equal(t, []string{"f"}, got.Header["X-Fresh"])
	})
	p.row(t, "delete_params, then add_params, which replace", func(t *testing.T, c caller) {
		got := give(t, c, request{path: "?gone=1&both=old&many=1&many=2&kept=a%20b"}, &coprocesspb.MiniRequestObject{
			DeleteParams: []string{"gone", "both"},
			AddParams:    map[string]string{"both": "new", "many": "only"},
		})
		require.ElementsMatch(t, []string{"kept=a%20b", "both=new", "many=only"}, strings.Split(got.Query, "&"))
	})
	p.row(t, "what a hook writes into headers and params themselves is ignored", func(t *testing.T, c caller) {
		got := give(t, c, request{path: "?a=1", headers: []string{"X-A", "1"}}, &coprocesspb.MiniRequestObject{
			Headers: map[string]string{"X-A": "2", "X-B": "2"}, Params: map[string]string{"a": "2", "b": "2"},
		})
		require.Equal(t, "a=1", got.Query)
		require.Equal(t, []string{"1"}, got.Header["X-A"])
		require.Empty(t, got.Header["X-B"])
	})
	p.row(t, "url and method", func(t *testing.T, c caller) {
		got := give(t, c, request{path: "x"}, &coprocesspb.MiniRequestObject{Url: "/" + c.driver + "-a/other", Method: "DELETE"})
		require.Equal(t, []string{"DELETE", "/other"}, []string{got.Method, got.Path})
	})
	p.row(t, "body: raw_body if the plugin changed it", func(t *testing.T, c caller) {
		for _, body := range []string{"longer than before", "s", "\x00\xff"} {
			got := give(t, c, request{method: "POST", body: "before"}, &coprocesspb.MiniRequestObject{RawBody: []byte(body)})
			require.Equal(t, body, string(got.Body))
			require.EqualValues(t, len(body), got.Length, "Content-Length matches")
		}
	})
	p.row(t, "body: else body if the plugin changed that", func(t *testing.T, c caller) {
		got := give(t, c, request{method: "POST", body: "before"}, &coprocesspb.MiniRequestObject{Body: "grüße"})
		require.Equal(t, "grüße", string(got.Body))
		require.EqualValues(t, len("grüße"), got.Length)
		got = give(t, c, request{method: "POST", body: "before"}, &coprocesspb.MiniRequestObject{Body: "text", RawBody: []byte("raw")})
		require.Equal(t, "raw", string(got.Body), "raw_body wins")
	})
	p.row(t, "Content-Length always matches", func(t *testing.T, c caller) {
		change := &coprocesspb.MiniRequestObject{SetHeaders: map[string]string{"Content-Length": "3", "Transfer-Encoding": "chunked"}}
		got := give(t, c, request{method: "POST", body: "the whole body"}, change)
		require.Equal(t, "the whole body", string(got.Body))
		require.EqualValues(t, len("the whole body"), got.Length)
		got = give(t, c, request{}, &coprocesspb.MiniRequestObject{RawBody: bytes.Repeat([]byte("x"), 100_000)})
		require.EqualValues(t, 100_000, got.Length, "a GET that gets a body")
	})
	p.row(t, "a query that the plugin put into url is kept", func(t *testing.T, c caller) {
		got := give(t, c, request{path: "x?original=1"}, &coprocesspb.MiniRequestObject{Url: "/" + c.driver + "-a/y?own=2"})
		require.Equal(t, []string{"/y", "own=2"}, []string{got.Path, got.Query})
	})
	p.row(t, "add_params and delete_params apply on top of that query", func(t *testing.T, c caller) {
		got := give(t, c, request{path: "x?original=1"}, &coprocesspb.MiniRequestObject{
			Url: "/" + c.driver + "-a/y?own=2&gone=3", AddParams: map[string]string{"added": "4"}, DeleteParams: []string{"gone"},
		})
		require.Equal(t, "own=2&added=4", got.Query)
	})
	p.row(t, "a url that cannot be parsed is 500 for this request, logged, and nothing else", func(t *testing.T, c caller) {
		for _, url := range []string{"http://[::1", "%zz", "/\x7f", "ftp://example.com/"} {
			r := c.do("a", changing("Pre", &coprocesspb.MiniRequestObject{Url: url}))
			require.Equal(t, http.StatusInternalServerError, r.status, url)
			require.JSONEq(t, `{"error": "Middleware error"}`, r.body)
			p.g.awaitLog("request.url")
			c.give("a", request{})
		}
	})
	p.row(t, "tyk://self/path is routed to the same API", func(t *testing.T, c caller) {
		own := "tyk://self/" + c.driver + "-a/again?b=1"
		require.Equal(t, http.StatusInternalServerError, c.do("a", changing("Pre", &coprocesspb.MiniRequestObject{Url: own})).status,
			"it goes through the chain anew: this one never ends")
		got := c.give("a", request{path: "x", script: changing("Post", &coprocesspb.MiniRequestObject{
			Url: own, DeleteHeaders: []string{scriptHeader},
		})})
		require.Equal(t, []string{"/again", "b=1"}, []string{got.Path, got.Query})
		require.Equal(t, "Pre Pre2 Post Pre Pre2 Post", got.Header.Get("X-Order"))
	})
	p.row(t, "tyk://id/path and tyk://name/path are routed to that API inside the gateway", func(t *testing.T, c caller) {
		for _, name := range []string{c.driver + "-target", "The-Target-s-Name"} {
			got := c.give("a", request{method: "POST", path: "x", body: "the body", script: changing("Pre", &coprocesspb.MiniRequestObject{
				Url: "tyk://" + name + "/inner?b=1", SetHeaders: map[string]string{"X-Set": "1"},
			})})
			require.Equal(t, []string{"POST", "/inner", "b=1", "the body", "1"},
				[]string{got.Method, got.Path, got.Query, string(got.Body), got.Header.Get("X-Set")}, name)
			require.Equal(t, "Pre Pre2 Post Pre2", got.Header.Get("X-Order"), "its own chain follows")
		}
		require.Equal(t, http.StatusInternalServerError, c.do("a", changing("Pre", &coprocesspb.MiniRequestObject{Url: "tyk://nobody/"})).status)
		protected := changing("Pre", &coprocesspb.MiniRequestObject{Url: "tyk://" + c.driver + "-protected/"})
		require.Equal(t, http.StatusForbidden, c.do("a", protected).status, "it asks for its own credentials")
	})
	p.row(t, "a loop of tyk:// urls ends after 5", func(t *testing.T, c caller) {
		r := c.do("a", changing("Pre", &coprocesspb.MiniRequestObject{Url: "tyk://self/"}))
		require.Equal(t, http.StatusInternalServerError, r.status)
		require.JSONEq(t, `{"error": "Loop level too deep"}`, r.body)
	})
	p.row(t, "a new absolute url sends the request to that target", func(t *testing.T, c caller) {
		got := c.give("a", request{method: "POST", path: "x?a=1", body: "the body", script: changing("Pre", &coprocesspb.MiniRequestObject{
			Url: elsewhere + "/there?b=2",
		})})
		require.Equal(t, strings.TrimPrefix(elsewhere, "http://"), got.Host)
		require.Equal(t, []string{"POST", "/there", "b=2", "the body"}, []string{got.Method, got.Path, got.Query, string(got.Body)})
	})
	p.row(t, "auth_check changes the request too", func(t *testing.T, c caller) {
		s := letIn("1", nil)
		s["Auth"].Change.Request = &coprocesspb.MiniRequestObject{SetHeaders: map[string]string{"X-Set": "by auth_check"}, RawBody: []byte("new")}
		got := c.give("protected", request{method: "POST", body: "old", script: s})
		require.Equal(t, []string{"by auth_check", "new"}, []string{got.Header.Get("X-Set"), string(got.Body)})
	})
}
