package tests_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
)

// telling is a script in which the hook tells what it was shown.
func telling(name string) script { return script{name: {Tell: true}} }

// TestContract2Object is section 2 of the plugin contract: what hooks are given.
func TestContract2Object(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	keyless := everyHook()
	delete(keyless, "auth_check")
	p.api("open", keyless, object{"org_id": "my-org", "config_data": object{"list": []int{1, 2}, "text": "grüße"}})
	p.api("unset", object{"pre": hooks("Pre")}, nil)
	p.api("empty", object{"pre": hooks("Pre")}, object{"config_data": object{}})
	p.api("disabled", object{"pre": hooks("Pre")}, object{"config_data": object{"a": 1}, "config_data_disabled": true})
	p.api("raw", object{
		"pre":      []object{{"name": "Pre", "raw_body_only": true}},
		"response": []object{{"name": "Response", "raw_body_only": true}},
	}, nil)
	p.api("protected", everyHook(), nil)
	p.start()
	// told is what the hook Pre of the API open was shown of r.
	told := func(t *testing.T, c caller, r request) *coprocesspb.Object {
		t.Helper()
		r.script = telling("Pre")
		return shown(t, c.give("open", r).Header, "Pre")
	}

	p.row(t, "hook_type and hook_name as configured", func(t *testing.T, c caller) {
		s := letIn("1", nil).and(telling("Pre"), telling("PostKeyAuth2"), telling("Post"), telling("Response"))
		r := c.do("protected", s)
		for name, kind := range map[string]coprocesspb.HookType{
			"Pre": coprocesspb.HookType_Pre, "PostKeyAuth2": coprocesspb.HookType_PostKeyAuth,
			"Post": coprocesspb.HookType_Post, "Response": coprocesspb.HookType_Response,
		} {
			header := r.echoed(t).Header
			if name == "Response" {
				header = r.header
			}
			obj := shown(t, header, name)
			require.Equal(t, name, obj.GetHookName())
			if c.driver == "grpc" { // a Python hook is not shown its type
				require.Equal(t, kind, obj.GetHookType())
			}
		}
	})
	p.row(t, "request.headers: first value of each header, canonical names, plus Host", func(t *testing.T, c caller) {
		headers := told(t, c, request{headers: []string{"x-tWO", "first", "x-tWO", "second"}}).GetRequest().GetHeaders()
		require.Equal(t, "first", headers["X-Two"])
		require.Equal(t, strings.TrimPrefix(p.g.url, "http://"), headers["Host"])
	})
	p.row(t, "request.params: first value of each query parameter", func(t *testing.T, c caller) {
		params := told(t, c, request{path: "?a=first&a=second&empty=&enc%20oded=x+y"}).GetRequest().GetParams()
		require.Equal(t, map[string]string{"a": "first", "empty": "", "enc oded": "x y"}, params)
	})
	p.row(t, "request.url, request_uri, method, scheme as at this point of the chain", func(t *testing.T, c caller) {
		base := "/" + c.driver + "-open/"
		s := telling("Pre").and(changing("Pre2", &coprocesspb.MiniRequestObject{Url: base + "other?b=2", Method: "PUT"}), telling("Post"))
		got := c.give("open", request{path: "x?a=1", script: s})
		first, later := shown(t, got.Header, "Pre").GetRequest(), shown(t, got.Header, "Post").GetRequest()
		require.Equal(t, []string{base + "x?a=1", base + "x?a=1", "GET", "http"},
			[]string{first.GetUrl(), first.GetRequestUri(), first.GetMethod(), first.GetScheme()})
		require.Equal(t, []string{base + "other?b=2", base + "x?a=1", "PUT", "http"},
			[]string{later.GetUrl(), later.GetRequestUri(), later.GetMethod(), later.GetScheme()}, "request_uri stays what the client sent")
		require.Equal(t, map[string]string{"b": "2"}, later.GetParams())
	})
	bodies := map[string][]byte{
		"no body": {}, "text": []byte("grüße"), "not UTF-8": {0xff, 0xfe, 0, 1}, "long": nil,
	}
	lengths := map[string]int{"python": 10 << 20, "grpc": 256 << 10} // a message over gRPC has up to 4 MiB
	p.row(t, "request.raw_body is always the body bytes, and reaches the upstream", func(t *testing.T, c caller) {
		for name, body := range bodies {
			if name == "long" {
				body = bytes.Repeat([]byte("0123456789abcdef"), lengths[c.driver]/16)
			}
			if len(body) > 1000 {
				// Too long for the header in which hooks tell.
				require.True(t, bytes.Equal(body, c.give("unset", request{method: "POST", body: string(body)}).Body), name)
				continue
			}
			r := request{method: "POST", body: string(body), script: telling("Pre")}
			got := c.give("open", r)
			require.True(t, bytes.Equal(body, shown(t, got.Header, "Pre").GetRequest().GetRawBody()), name)
			require.True(t, bytes.Equal(body, got.Body), name)
			require.EqualValues(t, len(body), got.Length, name)
		}
	})
	p.row(t, "request.raw_body of a chunked body", func(t *testing.T, c caller) {
		body := struct{ *strings.Reader }{strings.NewReader("in chunks")} // of a type whose length net/http does not know
		got := p.g.send(http.MethodPost, "/"+c.driver+"-open/", body, telling("Pre").header(t)...).echoed(t)
		require.Equal(t, "in chunks", string(shown(t, got.Header, "Pre").GetRequest().GetRawBody()))
		require.Equal(t, "in chunks", string(got.Body))
	})
	p.row(t, "request.body: the same as text when it is valid UTF-8, otherwise empty", func(t *testing.T, c caller) {
		require.Equal(t, "grüße", told(t, c, request{method: "POST", body: "grüße"}).GetRequest().GetBody())
		require.Empty(t, told(t, c, request{method: "POST", body: "\xff\xfe"}).GetRequest().GetBody())
	})
	p.row(t, "request.body is empty for raw_body_only", func(t *testing.T, c caller) {
		r := c.send("raw", request{method: "POST", body: "text", script: telling("Pre").and(telling("Response"))})
		pre := shown(t, r.echoed(t).Header, "Pre").GetRequest()
		require.Empty(t, pre.GetBody())
		require.Equal(t, "text", string(pre.GetRawBody()))
		response := shown(t, r.header, "Response").GetResponse()
		require.Empty(t, response.GetBody())
		require.NotEmpty(t, response.GetRawBody())
	})
	p.row(t, "return_overrides.response_code is -1 before the hook runs", func(t *testing.T, c caller) {
		require.EqualValues(t, -1, told(t, c, request{}).GetRequest().GetReturnOverrides().GetResponseCode())
	})
	p.row(t, "session and metadata are absent for pre and auth_check", func(t *testing.T, c caller) {
		s := letIn("token", &coprocesspb.SessionState{Alias: "me"}).and(telling("Pre"))
		check := s["Auth"]
		check.Tell = true
		s["Auth"] = check
		for range 2 { // also when there is a session of before
			got := c.give("protected", request{script: s})
			for _, name := range []string{"Pre", "Auth"} {
				obj := shown(t, got.Header, name)
				require.True(t, obj.GetSession().EqualVT(&coprocesspb.SessionState{}) || obj.GetSession() == nil, name)
				require.Empty(t, obj.GetMetadata(), name)
			}
		}
	})
	p.row(t, "other hooks see the current session; metadata is the session's", func(t *testing.T, c caller) {
		s := letIn("token", &coprocesspb.SessionState{Alias: "first", Metadata: map[string]string{"a": "1"}}).and(
			script{"PostKeyAuth": {Tell: true, Change: &coprocesspb.Object{Session: &coprocesspb.SessionState{Alias: "changed"}}}},
			telling("Post"), telling("Response"))
		r := c.do("protected", s)
		header := r.echoed(t).Header
		metadata := map[string]string{"a": "1", "token": "token"}
		for name, want := range map[string]struct {
			header http.Header
			alias  string
		}{"PostKeyAuth": {header, "first"}, "Post": {header, "changed"}, "Response": {r.header, "changed"}} {
			obj := shown(t, want.header, name)
			require.Equal(t, want.alias, obj.GetSession().GetAlias(), name)
			require.Equal(t, "default", obj.GetSession().GetOrgId(), name)
			require.Equal(t, metadata, obj.GetSession().GetMetadata(), name)
			require.Equal(t, metadata, obj.GetMetadata(), name)
		}
	})
	p.row(t, "spec: OrgID, APIID, bundle_hash, config_data", func(t *testing.T, c caller) {
		spec := told(t, c, request{}).GetSpec()
		hash := md5.Sum([]byte(c.driver + "-open.zip"))
		require.JSONEq(t, `{"list": [1, 2], "text": "grüße"}`, spec["config_data"])
		delete(spec, "config_data")
		require.Equal(t, map[string]string{"OrgID": "my-org", "APIID": c.driver + "-open", "bundle_hash": hex.EncodeToString(hash[:])}, spec)
	})
	p.row(t, "spec.config_data is {} when it is empty or disabled", func(t *testing.T, c caller) {
		for _, id := range []string{"unset", "empty", "disabled"} {
			require.Equal(t, "{}", shown(t, c.give(id, request{script: telling("Pre")}).Header, "Pre").GetSpec()["config_data"], id)
		}
	})
	p.row(t, "response: status_code, headers, multivalue_headers, raw_body, body", func(t *testing.T, c caller) {
		r := c.send("open", request{path: "x", script: telling("Response")})
		obj := shown(t, r.header, "Response")
		response := obj.GetResponse()
		require.EqualValues(t, 200, response.GetStatusCode())
		require.Equal(t, "a=1", response.GetHeaders()["Set-Cookie"])
		all := map[string][]string{}
		for _, header := range response.GetMultivalueHeaders() {
			all[header.GetKey()] = header.GetValues()
		}
		require.Equal(t, []string{"a=1", "b=2"}, all["Set-Cookie"])
		require.Equal(t, []string{"application/json"}, all["Content-Type"])
		require.Equal(t, r.body, string(response.GetRawBody()))
		require.Equal(t, r.body, response.GetBody())
		require.Equal(t, "/x", reply{status: 200, body: response.GetBody()}.echoed(t).Path)
	})
	p.row(t, "response is there for response hooks only", func(t *testing.T, c caller) {
		require.Nil(t, told(t, c, request{}).GetResponse())
	})
	p.row(t, "bytes that are not UTF-8 in headers and parameters pass", func(t *testing.T, c caller) {
		got := c.give("open", request{path: "?q=%ff", headers: []string{"X-Latin", "caf\xe9"}, script: telling("Pre")})
		require.Equal(t, "q=%ff", got.Query)
		require.Equal(t, "café", shown(t, got.Header, "Pre").GetRequest().GetHeaders()["X-Latin"])
	})
}
