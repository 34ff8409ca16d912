package hook_test

import (
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
)

func TestHeaders(t *testing.T) {
	type request = coprocesspb.MiniRequestObject
	for name, tt := range map[string]struct {
		change func(*request)
		want   http.Header
		host   string
	}{
		"nothing changed": {
			change: func(*request) {},
			want:   http.Header{"X-A": {"1", "2"}, "X-B": {"3"}},
		},
		"set_headers replaces all values": {
			change: func(q *request) { q.SetHeaders = map[string]string{"x-a": "9", "X-New": ""} },
			want:   http.Header{"X-A": {"9"}, "X-B": {"3"}, "X-New": {""}},
		},
		"delete_headers goes before set_headers": {
			change: func(q *request) {
				q.DeleteHeaders = []string{"x-a", "X-B", "X-None"}
				q.SetHeaders = map[string]string{"X-A": "9"}
			},
			want: http.Header{"X-A": {"9"}},
		},
		"Host sets the request's host": {
			change: func(q *request) { q.SetHeaders = map[string]string{"host": "other:81"} },
			want:   http.Header{"X-A": {"1", "2"}, "X-B": {"3"}},
			host:   "other:81",
		},
		"changes of the map headers itself are ignored": {
			change: func(q *request) { q.Headers["X-A"] = "9"; delete(q.Headers, "X-B") },
			want:   http.Header{"X-A": {"1", "2"}, "X-B": {"3"}},
		},
		"fields of one connection are not a hook's": {
			change: func(q *request) {
				q.SetHeaders = map[string]string{"connection": "X-A", "Keep-Alive": "1", "Upgrade": "h2c", "Te": "gzip", "Trailer": "X-A"}
			},
			want: http.Header{"X-A": {"1", "2"}, "X-B": {"3"}},
		},
		"framing headers follow the body": {
			change: func(q *request) {
				q.SetHeaders = map[string]string{"Content-Length": "99", "transfer-encoding": "chunked"}
			},
			want: http.Header{"X-A": {"1", "2"}, "X-B": {"3"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest("GET", "/", "")
			r.Header = http.Header{"X-A": {"1", "2"}, "X-B": {"3"}}
			_, err := run(t, r, func(o *coprocesspb.Object) { tt.change(o.Request) })
			require.NoError(t, err)
			require.Equal(t, tt.want, r.Header)
			if tt.host == "" {
				tt.host = "example.com"
			}
			require.Equal(t, tt.host, r.Host)
		})
	}
}

func TestParams(t *testing.T) {
	const query = "b=2&a=1&B=%zz&a=%31&&c;d&e=a+b%20c"
	for name, tt := range map[string]struct {
		url  string
		del  []string
		add  map[string]string
		want string
	}{
		"nothing changed":               {want: query},
		"delete_params deletes all":     {del: []string{"a", "none"}, want: "b=2&B=%zz&&c;d&e=a+b%20c"},
		"add_params replaces all":       {add: map[string]string{"a": "x y"}, want: "b=2&a=x+y&B=%zz&&c;d&e=a+b%20c"},
		"add_params appends":            {add: map[string]string{"z": "&=", "y": "é"}, want: query + "&y=%C3%A9&z=%26%3D"},
		"the same value keeps its text": {add: map[string]string{"e": "a b c"}, want: query},
		"delete before add":             {del: []string{"a"}, add: map[string]string{"a": "9"}, want: "b=2&B=%zz&&c;d&e=a+b%20c&a=9"},
		"on top of a new url's query": {
			url: "/new?x=1&y=2", del: []string{"x"}, add: map[string]string{"z": "3"}, want: "y=2&z=3",
		},
		"a query in url is kept":                   {url: "/new?only=this", want: "only=this"},
		"a url without a query":                    {url: "/new", want: ""},
		"all parameters can go":                    {url: "/new?a=1", del: []string{"a"}, want: ""},
		"text unfit for a request line is escaped": {url: "/new?a=b c\u00e9", want: "a=b%20c%C3%A9"},
		"a fragment is cut off":                    {url: "/new?a=b#d?e=f", want: "a=b"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest("GET", "/?"+query, "")
			_, err := run(t, r, func(o *coprocesspb.Object) {
				if tt.url != "" {
					o.Request.Url = tt.url
				}
				o.Request.DeleteParams = tt.del
				o.Request.AddParams = tt.add
				o.Request.Params["ignored"] = "yes"
			})
			require.NoError(t, err)
			require.Equal(t, tt.want, r.URL.RawQuery)
		})
	}
}

func TestURLAndMethod(t *testing.T) {
	for name, tt := range map[string]struct{ url, want string }{
		"a path":                            {"/new/a%2Fb", "/new/a%2Fb"},
		"a path with non-ASCII text":        {"/é", "/%C3%A9"},
		"a fragment is cut off":             {"/new#part?q=1", "/new"},
		"dots within segments":              {"/a..b/.c/d.", "/a..b/.c/d."},
		"a path with two slashes is a path": {"//host/a", "//host/a"},
		"an absolute URL":                   {"https://other:8443/a?b=c", "https://other:8443/a?b=c"},
		"an absolute URL without a path":    {"HTTP://other", "http://other"},
		"an IPv6 address":                   {"http://[::1]:80/", "http://[::1]:80/"},
		"this API":                          {"tyk://self/path?a=b", "tyk://self/path?a=b"},
		"another API":                       {"tyk://my-api/path", "tyk://my-api/path"},
	} {
		t.Run("url: "+name, func(t *testing.T) {
			r := newRequest("GET", "/old?q=1", "")
			_, err := run(t, r, func(o *coprocesspb.Object) { o.Request.Url = tt.url })
			require.NoError(t, err)
			require.Equal(t, tt.want, r.URL.String())
			require.Equal(t, "/old?q=1", r.RequestURI)
		})
	}
	t.Run("an unchanged url keeps the request's URL", func(t *testing.T) {
		r := newRequest("GET", "/a%2Fb/%7Euser?q=%zz", "")
		_, err := run(t, r, func(*coprocesspb.Object) {})
		require.NoError(t, err)
		require.Equal(t, "/a%2Fb/%7Euser?q=%zz", r.URL.String())
	})
	t.Run("method", func(t *testing.T) {
		r := newRequest("GET", "/", "")
		_, err := run(t, r, func(o *coprocesspb.Object) { o.Request.Method = "PROPFIND" })
		require.NoError(t, err)
		require.Equal(t, "PROPFIND", r.Method)
	})
}

func TestChangesThatAreRefused(t *testing.T) {
	type request = coprocesspb.MiniRequestObject
	for name, tt := range map[string]struct {
		change func(*request)
		want   string
	}{
		"line break in a value": {func(q *request) { q.SetHeaders = map[string]string{"X-A": "secret\r\nX-B: 1"} }, `request.set_headers["X-A"]`},
		"NUL in a value":        {func(q *request) { q.SetHeaders = map[string]string{"X-A": "a\x00"} }, `request.set_headers["X-A"]`},
		"line break in a name":  {func(q *request) { q.SetHeaders = map[string]string{"X\nA": "1"} }, `"X\nA" is not a header name`},
		"empty name":            {func(q *request) { q.SetHeaders = map[string]string{"": "1"} }, `"" is not a header name`},
		"host with a path":      {func(q *request) { q.SetHeaders = map[string]string{"Host": "a b"} }, `request.set_headers["Host"]`},
		"empty host":            {func(q *request) { q.SetHeaders = map[string]string{"Host": ""} }, `request.set_headers["Host"]`},
		"unparsable url":        {func(q *request) { q.Url = "/%zz?token=secret" }, "request.url"},
		"url with a line break": {func(q *request) { q.Url = "/a\r\nb?token=secret" }, "request.url"},
		"relative url":          {func(q *request) { q.Url = "a/b?token=secret" }, "request.url"},
		"empty url":             {func(q *request) { q.Url = "" }, "request.url"},
		"url of another scheme": {func(q *request) { q.Url = "file:///etc/passwd" }, `scheme "file"`},
		"url without a host":    {func(q *request) { q.Url = "http:///a" }, "needs //host"},
		"url with a port only":  {func(q *request) { q.Url = "http://:80/a" }, "needs //host"},
		"opaque url":            {func(q *request) { q.Url = "http:a" }, "needs //host"},
		"method with a space":   {func(q *request) { q.Method = "GET /x HTTP/1.1\r\n" }, "request.method"},
		"empty method":          {func(q *request) { q.Method = "" }, "request.method"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest("POST", "/old?q=1", "old")
			_, err := run(t, r, func(o *coprocesspb.Object) {
				o.Request.DeleteHeaders = []string{"Content-Type"}
				o.Request.DeleteParams = []string{"q"}
				o.Request.RawBody = []byte("new")
				tt.change(o.Request)
			})
			require.ErrorIs(t, err, coprocess.ErrHook)
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "secret")
			require.NotContains(t, err.Error(), "\n")
			require.Equal(t, "POST /old?q=1 example.com old", r.Method+" "+r.URL.String()+" "+r.Host+" "+readBody(t, r),
				"a refused change leaves the request as it was")
		})
	}
}

func TestRequestBody(t *testing.T) {
	type request = coprocesspb.MiniRequestObject
	for name, tt := range map[string]struct {
		body    string
		rawOnly bool
		change  func(*request)
		want    string
	}{
		"unchanged":                         {"old", false, func(*request) {}, "old"},
		"raw_body changed":                  {"old", false, func(q *request) { q.RawBody = []byte("n\xffw") }, "n\xffw"},
		"body changed":                      {"old", false, func(q *request) { q.Body = "newer" }, "newer"},
		"raw_body wins over body":           {"old", false, func(q *request) { q.RawBody = []byte("raw"); q.Body = "text" }, "raw"},
		"raw_body emptied":                  {"old", false, func(q *request) { q.RawBody = nil }, ""},
		"body left out beside raw_body":     {"old", false, func(q *request) { q.Body = "" }, "old"},
		"body set where it was not shown":   {"old", true, func(q *request) { q.Body = "new" }, "new"},
		"body untouched where not shown":    {"o\xffd", false, func(*request) {}, "o\xffd"},
		"body given to a request with none": {"", false, func(q *request) { q.RawBody = []byte("new") }, "new"},
		"Content-Length deleted":            {"old", false, func(q *request) { q.DeleteHeaders = []string{"Content-Length"} }, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest("POST", "/", tt.body)
			h := newHook(coprocesspb.HookType_Pre, plugin(func(o *coprocesspb.Object) { tt.change(o.Request) }))
			h.RawBodyOnly = tt.rawOnly
			_, err := h.Request(t.Context(), r, hook.NewBody(0), nil)
			require.NoError(t, err)
			require.Equal(t, int64(len(tt.want)), r.ContentLength)
			require.Equal(t, strconv.Itoa(len(tt.want)), r.Header.Get("Content-Length"))
			require.Equal(t, tt.want, readBody(t, r))
			again, err := r.GetBody()
			require.NoError(t, err)
			data, err := io.ReadAll(again)
			require.NoError(t, err)
			require.Equal(t, tt.want, string(data))
		})
	}
}

func TestSessionAndMetadata(t *testing.T) {
	given := func() *coprocesspb.SessionState {
		return &coprocesspb.SessionState{Alias: "me", Metadata: map[string]string{"a": "1", "b": "2"}}
	}
	for name, tt := range map[string]struct {
		typ          coprocesspb.HookType
		change       func(*coprocesspb.Object)
		want         map[string]string
		wantMetadata map[string]string
	}{
		"unchanged": {
			typ: coprocesspb.HookType_Post, change: func(*coprocesspb.Object) {},
			want: map[string]string{"a": "1", "b": "2"}, wantMetadata: map[string]string{"a": "1", "b": "2"},
		},
		"changed metadata is merged": {
			typ:          coprocesspb.HookType_PostKeyAuth,
			change:       func(o *coprocesspb.Object) { o.Metadata["a"] = "9"; o.Metadata["c"] = "3" },
			want:         map[string]string{"a": "9", "b": "2", "c": "3"},
			wantMetadata: map[string]string{"a": "9", "b": "2", "c": "3"},
		},
		"deleted metadata stays in the session": {
			typ:          coprocesspb.HookType_Post,
			change:       func(o *coprocesspb.Object) { delete(o.Metadata, "a") },
			want:         map[string]string{"a": "1", "b": "2"},
			wantMetadata: map[string]string{"b": "2"},
		},
		"changes of session.metadata count": {
			typ:          coprocesspb.HookType_Post,
			change:       func(o *coprocesspb.Object) { o.Session.Metadata["a"] = "9"; delete(o.Session.Metadata, "b") },
			want:         map[string]string{"a": "9"},
			wantMetadata: map[string]string{"a": "1", "b": "2"},
		},
		"a session that went is the given one": {
			typ:          coprocesspb.HookType_Post,
			change:       func(o *coprocesspb.Object) { o.Session = nil; o.Metadata["a"] = "9" },
			want:         map[string]string{"a": "9", "b": "2"},
			wantMetadata: map[string]string{"a": "9", "b": "2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := given()
			out, err := newHook(tt.typ, plugin(tt.change)).Request(t.Context(), newRequest("GET", "/", ""), hook.NewBody(0), s)
			require.NoError(t, err)
			require.Equal(t, "me", out.Session.GetAlias())
			require.Equal(t, tt.want, out.Session.GetMetadata())
			require.Equal(t, tt.wantMetadata, out.Metadata)
			require.Equal(t, given().Metadata, s.Metadata)
		})
	}
	t.Run("CustomKeyCheck leaves a session and metadata", func(t *testing.T) {
		out, err := newHook(coprocesspb.HookType_CustomKeyCheck, plugin(func(o *coprocesspb.Object) {
			o.Session = &coprocesspb.SessionState{Rate: 10}
			o.Metadata = map[string]string{"token": "t"}
		})).Request(t.Context(), newRequest("GET", "/", ""), hook.NewBody(0), given())
		require.NoError(t, err)
		require.InDelta(t, 10, out.Session.GetRate(), 0)
		require.Empty(t, out.Session.GetMetadata(), "merging is the gateway's part there")
		require.Equal(t, map[string]string{"token": "t"}, out.Metadata)
	})
	t.Run("no session given and none left", func(t *testing.T) {
		out, err := newHook(coprocesspb.HookType_Post, plugin(func(o *coprocesspb.Object) {
			o.Metadata = map[string]string{"a": "1"}
		})).Request(t.Context(), newRequest("GET", "/", ""), hook.NewBody(0), nil)
		require.NoError(t, err)
		require.Nil(t, out.Session)
		require.Equal(t, map[string]string{"a": "1"}, out.Metadata)
	})
}
