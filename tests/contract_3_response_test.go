package tests_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
)

// TestContract3ResponseHooks is section 3 of the plugin contract: what response
// hooks change.
func TestContract3ResponseHooks(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	p.api("a", object{"response": hooks("Response", "Response2")}, nil)
	p.start()
	do := func(c caller, response *coprocesspb.ResponseObject) reply {
		return c.do("a", answering("Response", response))
	}

	p.row(t, "changed headers are written onto the first value of multivalue_headers", func(t *testing.T, c caller) {
		r := do(c, &coprocesspb.ResponseObject{Headers: map[string]string{"Set-Cookie": "new=1", "X-Fresh": "f", "Content-Type": "text/plain"}})
		require.Equal(t, []string{"new=1", "b=2"}, r.header.Values("Set-Cookie"))
		require.Equal(t, []string{"f"}, r.header.Values("X-Fresh"))
		require.Equal(t, []string{"text/plain"}, r.header.Values("Content-Type"))
	})
	p.row(t, "removed keys go", func(t *testing.T, c caller) {
		r := c.do("a", script{"Response": {Drop: []string{"Set-Cookie"}}})
		require.Empty(t, r.header.Values("Set-Cookie"))
		require.Equal(t, "application/json", r.header.Get("Content-Type"))
	})
	p.row(t, "several Set-Cookie values survive untouched", func(t *testing.T, c caller) {
		require.Equal(t, []string{"a=1", "b=2"}, do(c, nil).header.Values("Set-Cookie"))
	})
	p.row(t, "changes of multivalue_headers", func(t *testing.T, c caller) {
		r := do(c, &coprocesspb.ResponseObject{MultivalueHeaders: []*coprocesspb.Header{
			{Key: "Set-Cookie", Values: []string{"a=1", "c=3", "d=4"}}, {Key: "Content-Type", Values: []string{"application/json"}},
		}})
		require.Equal(t, []string{"a=1", "c=3", "d=4"}, r.header.Values("Set-Cookie"))
	})
	p.row(t, "raw_body, else body; Content-Length is recomputed", func(t *testing.T, c caller) {
		for want, response := range map[string]*coprocesspb.ResponseObject{
			"raw":       {RawBody: []byte("raw")},
			"both: raw": {RawBody: []byte("both: raw"), Body: "text"},
			"grüße":     {Body: "grüße"},
			"\x00\xff":  {RawBody: []byte("\x00\xff")},
		} {
			r := do(c, response)
			require.Equal(t, want, r.body)
			require.Equal(t, strconv.Itoa(len(want)), r.header.Get("Content-Length"))
		}
	})
	p.row(t, "status_code is used", func(t *testing.T, c caller) {
		require.Equal(t, http.StatusAccepted, do(c, &coprocesspb.ResponseObject{StatusCode: 202}).status)
		require.Equal(t, http.StatusInternalServerError, do(c, &coprocesspb.ResponseObject{StatusCode: 42}).status, "no status")
	})
	p.row(t, "response hooks chain", func(t *testing.T, c caller) {
		s := answering("Response", &coprocesspb.ResponseObject{StatusCode: 202, RawBody: []byte("first")}).and(telling("Response2"))
		r := c.do("a", s)
		response := shown(t, r.header, "Response2").GetResponse()
		require.EqualValues(t, 202, response.GetStatusCode())
		require.Equal(t, "first", string(response.GetRawBody()))
		require.Equal(t, "Response Response2", r.header.Get("X-Order"))
	})
	p.row(t, "what response hooks change in the request is ignored", func(t *testing.T, c caller) {
		s := changing("Response", &coprocesspb.MiniRequestObject{Url: "/elsewhere", RawBody: []byte("x")})
		require.Equal(t, "/x", c.give("a", request{path: "x", script: s}).Path)
	})
}
