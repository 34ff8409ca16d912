package hook_test

import (
	"crypto/tls"
	"net/http"
	"net/url"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
)

func TestObjectOfARequestHook(t *testing.T) {
	r := newRequest("POST", "/a%20b?x=1&x=2&y=%C3%A9&z", "text")
	r.Host = "api.example.com:8080"
	r.Header["X-Many"] = []string{"one", "two"}
	r.Header.Set("content-type", "text/plain")
	got := seen(t, newHook(coprocesspb.HookType_Pre, nil), r, nil)
	want := &coprocesspb.Object{
		HookType: coprocesspb.HookType_Pre,
		HookName: "MyHook",
		Request: &coprocesspb.MiniRequestObject{
			Headers: map[string]string{
				"X-Many": "one", "Content-Type": "text/plain",
				"Content-Length": "4", "Host": "api.example.com:8080",
			},
			Params:          map[string]string{"x": "1", "y": "é", "z": ""},
			Url:             "/a%20b?x=1&x=2&y=%C3%A9&z",
			RequestUri:      "/a%20b?x=1&x=2&y=%C3%A9&z",
			Method:          "POST",
			Scheme:          "http",
			Body:            "text",
			RawBody:         []byte("text"),
			ReturnOverrides: &coprocesspb.ReturnOverrides{ResponseCode: -1},
		},
		Spec: map[string]string{"OrgID": "org1", "APIID": "api1", "bundle_hash": "abc", "config_data": `{"a":1}`},
	}
	require.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
}

func TestRequestFields(t *testing.T) {
	pre := func() *hook.Hook { return newHook(coprocesspb.HookType_Pre, nil) }
	t.Run("url is the current one, request_uri the original one", func(t *testing.T) {
		r := newRequest("GET", "/old?a=b", "")
		r.URL = &url.URL{Path: "/new", RawQuery: "c=d"}
		got := seen(t, pre(), r, nil).Request
		require.Equal(t, "/new?c=d", got.Url)
		require.Equal(t, "/old?a=b", got.RequestUri)
		require.Equal(t, map[string]string{"c": "d"}, got.Params)
	})
	t.Run("scheme is https on a TLS connection", func(t *testing.T) {
		r := newRequest("GET", "/", "")
		r.TLS = &tls.ConnectionState{}
		require.Equal(t, "https", seen(t, pre(), r, nil).Request.Scheme)
	})
	t.Run("scheme is that of an absolute URL", func(t *testing.T) {
		r := newRequest("GET", "/", "")
		r.URL = &url.URL{Scheme: "https", Host: "other", Path: "/"}
		got := seen(t, pre(), r, nil).Request
		require.Equal(t, "https", got.Scheme)
		require.Equal(t, "https://other/", got.Url)
	})
	t.Run("a body that is not UTF-8 is in raw_body only", func(t *testing.T) {
		got := seen(t, pre(), newRequest("POST", "/", "\xff\x00"), nil).Request
		require.Equal(t, []byte("\xff\x00"), got.RawBody)
		require.Empty(t, got.Body)
	})
	t.Run("raw_body_only leaves body empty", func(t *testing.T) {
		h := pre()
		h.RawBodyOnly = true
		got := seen(t, h, newRequest("POST", "/", "text"), nil).Request
		require.Equal(t, []byte("text"), got.RawBody)
		require.Empty(t, got.Body)
	})
	t.Run("parameters that net/url refuses are left out", func(t *testing.T) {
		got := seen(t, pre(), newRequest("GET", "/?a=1;b=2&c=%zz&=5&&d=%C3%A9", ""), nil).Request
		require.Equal(t, map[string]string{"": "5", "d": "é"}, got.Params)
	})
	t.Run("earlier hooks' changes are visible", func(t *testing.T) {
		r := newRequest("POST", "/old", "old")
		body := hook.NewBody(0)
		h := newHook(coprocesspb.HookType_Pre, plugin(func(o *coprocesspb.Object) {
			o.Request.Url = "/new?q=1"
			o.Request.SetHeaders = map[string]string{"X-A": "1", "Host": "other"}
			o.Request.Method = "PUT"
			o.Request.Body = "newer"
		}))
		_, err := h.Request(t.Context(), r, body, nil)
		require.NoError(t, err)
		var got *coprocesspb.MiniRequestObject
		h.Dispatcher = plugin(func(o *coprocesspb.Object) { got = o.Request.CloneVT() })
		_, err = h.Request(t.Context(), r, body, nil)
		require.NoError(t, err)
		require.Equal(t, "/new?q=1", got.Url)
		require.Equal(t, "/old", got.RequestUri)
		require.Equal(t, "PUT", got.Method)
		require.Equal(t, "newer", got.Body)
		require.Equal(t, map[string]string{"X-A": "1", "Host": "other", "Content-Length": "5"}, got.Headers)
	})
}

func TestSpec(t *testing.T) {
	for name, api := range map[string]*hook.API{
		"config_data is {} when empty":     {},
		"config_data is {} without an API": nil,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(coprocesspb.HookType_Pre, nil)
			h.API = api
			got := seen(t, h, newRequest("GET", "/", ""), nil).Spec
			require.Equal(t, "{}", got["config_data"])
			require.Len(t, got, 4)
		})
	}
}

func TestSessionInTheMessage(t *testing.T) {
	s := &coprocesspb.SessionState{Alias: "me", Metadata: map[string]string{"token": "t"}}
	for typ, shown := range map[coprocesspb.HookType]bool{
		coprocesspb.HookType_Pre:            false,
		coprocesspb.HookType_CustomKeyCheck: false,
		coprocesspb.HookType_PostKeyAuth:    true,
		coprocesspb.HookType_Post:           true,
	} {
		t.Run(typ.String(), func(t *testing.T) {
			got := seen(t, newHook(typ, nil), newRequest("GET", "/", ""), s)
			if !shown {
				require.Nil(t, got.Session)
				require.Empty(t, got.Metadata)
				return
			}
			require.Equal(t, "me", got.Session.Alias)
			require.Equal(t, map[string]string{"token": "t"}, got.Metadata)
			require.Equal(t, map[string]string{"token": "t"}, got.Session.Metadata)
		})
	}
	t.Run("without a session both are absent", func(t *testing.T) {
		got := seen(t, newHook(coprocesspb.HookType_Post, nil), newRequest("GET", "/", ""), nil)
		require.Nil(t, got.Session)
		require.Empty(t, got.Metadata)
	})
}

func TestBytesThatAreNotUTF8(t *testing.T) {
	request := func() *http.Request {
		r := newRequest("GET", "/?q=\xe9&p=%E9&k%E9=1", "")
		r.Header["X-Latin"] = []string{"caf\xe9"}
		r.Header["X-Utf8"] = []string{"café"}
		return r
	}
	t.Run("are shown as ISO-8859-1", func(t *testing.T) {
		got := seen(t, newHook(coprocesspb.HookType_Pre, nil), request(), nil).Request
		require.Equal(t, "café", got.Headers["X-Latin"])
		require.Equal(t, "café", got.Headers["X-Utf8"])
		require.Equal(t, map[string]string{"q": "é", "p": "é", "ké": "1"}, got.Params)
		require.True(t, utf8.ValidString(got.Url))
		require.True(t, utf8.ValidString(got.RequestUri))
	})
	t.Run("reach the upstream unchanged", func(t *testing.T) {
		r := request()
		_, err := run(t, r, func(o *coprocesspb.Object) {
			o.Request.SetHeaders = map[string]string{"X-Latin": o.Request.Headers["X-Latin"], "X-New": "é"}
			o.Request.AddParams = map[string]string{"p": o.Request.Params["p"]}
			o.Request.Url = "/new" + o.Request.Url[1:] + "&r=é"
		})
		require.NoError(t, err)
		require.Equal(t, "caf\xe9", r.Header.Get("X-Latin"))
		require.Equal(t, "é", r.Header.Get("X-New"))
		require.Equal(t, "/new", r.URL.Path)
		require.Equal(t, "q=\xe9&p=%E9&k%E9=1&r=%C3%A9", r.URL.RawQuery)
	})
	t.Run("can be addressed by the names shown", func(t *testing.T) {
		r := request()
		_, err := run(t, r, func(o *coprocesspb.Object) { o.Request.DeleteParams = []string{"ké", "q"} })
		require.NoError(t, err)
		require.Equal(t, "p=%E9", r.URL.RawQuery)
	})
}
