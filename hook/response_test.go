package hook_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/testing/protocmp"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
)

type response = coprocesspb.ResponseObject

// newResponse returns a response as a transport hands it out.
func newResponse(code int, body string) *http.Response {
	return &http.Response{
		StatusCode: code, Status: fmt.Sprint(code, " ", http.StatusText(code)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Length": {fmt.Sprint(len(body))}},
		Body:          io.NopCloser(strings.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       newRequest("GET", "/", ""),
	}
}

func responseText(t *testing.T, resp *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(data)
}

// respond runs fn as a response hook on resp.
func respond(t *testing.T, resp *http.Response, fn func(*response)) error {
	t.Helper()
	h := newHook(coprocesspb.HookType_Response, plugin(func(o *coprocesspb.Object) { fn(o.Response) }))
	return h.Response(t.Context(), newRequest("GET", "/", ""), nil, resp, nil)
}

func TestObjectOfAResponseHook(t *testing.T) {
	r := newRequest("POST", "/a?b=c", "sent")
	body := hook.NewBody(0)
	_, err := body.Load(r)
	require.NoError(t, err)
	resp := newResponse(201, "answer")
	resp.Header["Set-Cookie"] = []string{"a=1", "b=caf\xe9"}
	s := &coprocesspb.SessionState{Alias: "me", Metadata: map[string]string{"k": "v"}}
	var got *coprocesspb.Object
	h := newHook(coprocesspb.HookType_Response, plugin(func(o *coprocesspb.Object) { got = o.CloneVT() }))
	require.NoError(t, h.Response(t.Context(), r, body, resp, s))
	require.Empty(t, cmp.Diff(&response{
		StatusCode: 201,
		RawBody:    []byte("answer"),
		Body:       "answer",
		Headers:    map[string]string{"Content-Length": "6", "Set-Cookie": "a=1"},
		MultivalueHeaders: []*coprocesspb.Header{
			{Key: "Content-Length", Values: []string{"6"}},
			{Key: "Set-Cookie", Values: []string{"a=1", "b=café"}},
		},
	}, got.Response, protocmp.Transform()))
	require.Equal(t, []byte("sent"), got.Request.RawBody)
	require.Equal(t, "/a?b=c", got.Request.Url)
	require.Equal(t, "me", got.Session.Alias)
	require.Equal(t, map[string]string{"k": "v"}, got.Metadata)
	require.Equal(t, []string{"a=1", "b=caf\xe9"}, resp.Header["Set-Cookie"], "unchanged bytes")

	h.RawBodyOnly = true
	require.NoError(t, h.Response(t.Context(), r, body, newResponse(200, "x"), nil))
	require.Empty(t, got.Response.Body)
	require.Empty(t, got.Request.Body)
}

func TestResponseHeaders(t *testing.T) {
	cookies := []string{"a=1", "b=2", "c=caf\xe9"}
	for name, tt := range map[string]struct {
		change func(*response)
		want   http.Header
	}{
		"unchanged": {
			change: func(*response) {},
			want:   http.Header{"Set-Cookie": cookies, "X-A": {"1"}, "Connection": {"keep-alive"}},
		},
		"headers: added, changed and removed": {
			change: func(p *response) {
				p.Headers["x-new"] = "n"
				p.Headers["X-A"] = "9"
				delete(p.Headers, "Connection")
			},
			want: http.Header{"Set-Cookie": cookies, "X-A": {"9"}, "X-New": {"n"}},
		},
		"headers: the first of several values": {
			change: func(p *response) { p.Headers["Set-Cookie"] = "a=9" },
			want:   http.Header{"Set-Cookie": {"a=9", "b=2", "c=caf\xe9"}, "X-A": {"1"}, "Connection": {"keep-alive"}},
		},
		"headers: a name in other case": {
			change: func(p *response) { delete(p.Headers, "X-A"); p.Headers["x-a"] = "9" },
			want:   http.Header{"Set-Cookie": cookies, "X-A": {"9"}, "Connection": {"keep-alive"}},
		},
		"headers: cleared": {
			change: func(p *response) { p.Headers = nil },
			want:   http.Header{},
		},
		"multivalue_headers: a value added": {
			change: func(p *response) {
				for _, field := range p.MultivalueHeaders {
					if field.Key == "Set-Cookie" {
						field.Values = append(field.Values, "d=4")
					}
				}
			},
			want: http.Header{"Set-Cookie": append(append([]string{}, cookies...), "d=4"), "X-A": {"1"}, "Connection": {"keep-alive"}},
		},
		"multivalue_headers: a value removed keeps the others' bytes": {
			change: func(p *response) {
				for _, field := range p.MultivalueHeaders {
					if field.Key == "Set-Cookie" {
						field.Values = field.Values[1:]
					}
				}
			},
			want: http.Header{"Set-Cookie": cookies[1:], "X-A": {"1"}, "Connection": {"keep-alive"}},
		},
		"multivalue_headers: a field removed": {
			change: func(p *response) { p.MultivalueHeaders = p.MultivalueHeaders[:2] },
			want:   http.Header{"Connection": {"keep-alive"}},
		},
		"multivalue_headers: emptied counts as unchanged": {
			change: func(p *response) { p.MultivalueHeaders = nil },
			want:   http.Header{"Set-Cookie": cookies, "X-A": {"1"}, "Connection": {"keep-alive"}},
		},
		"both: headers on top": {
			change: func(p *response) {
				p.MultivalueHeaders = []*coprocesspb.Header{{Key: "x-m", Values: []string{"1", "2"}}, nil}
				p.Headers["X-M"] = "9"
			},
			want: http.Header{"X-M": {"9", "2"}},
		},
		"a message made anew with multivalue_headers only": {
			change: func(p *response) {
				*p = response{RawBody: p.RawBody, Body: p.Body, MultivalueHeaders: []*coprocesspb.Header{{Key: "X-M", Values: []string{"1", "2"}}}}
			},
			want: http.Header{"X-M": {"1", "2"}},
		},
		"framing headers follow the body": {
			change: func(p *response) {
				p.Headers["Content-Length"] = "99"
				p.Headers["Transfer-Encoding"] = "chunked"
			},
			want: http.Header{"Set-Cookie": cookies, "X-A": {"1"}, "Connection": {"keep-alive"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp := newResponse(200, "body")
			resp.Header = http.Header{"Set-Cookie": append([]string{}, cookies...), "X-A": {"1"}, "Connection": {"keep-alive"}, "Content-Length": {"4"}}
			require.NoError(t, respond(t, resp, tt.change))
			tt.want.Set("Content-Length", "4")
			require.Equal(t, tt.want, resp.Header)
			require.Equal(t, "body", responseText(t, resp))
		})
	}
}

func TestResponseBodyAndStatus(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*response)
		code   int
		body   string
	}{
		"unchanged":           {func(*response) {}, 200, "old"},
		"raw_body":            {func(p *response) { p.RawBody = []byte("n\xffw!") }, 200, "n\xffw!"},
		"body":                {func(p *response) { p.Body = "newer" }, 200, "newer"},
		"raw_body over body":  {func(p *response) { p.RawBody = []byte("raw"); p.Body = "text" }, 200, "raw"},
		"emptied":             {func(p *response) { p.RawBody = nil }, 200, ""},
		"status_code":         {func(p *response) { p.StatusCode = 418 }, 418, "old"},
		"status_code not set": {func(p *response) { p.StatusCode = 0 }, 200, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := newResponse(200, "old")
			resp.ContentLength = -1
			resp.TransferEncoding = []string{"chunked"}
			resp.Header.Del("Content-Length")
			require.NoError(t, respond(t, resp, tt.change))
			require.Equal(t, tt.code, resp.StatusCode)
			require.Contains(t, resp.Status, fmt.Sprint(tt.code, " "))
			require.Equal(t, int64(len(tt.body)), resp.ContentLength)
			require.Equal(t, fmt.Sprint(len(tt.body)), resp.Header.Get("Content-Length"))
			require.Empty(t, resp.TransferEncoding)
			require.Equal(t, tt.body, responseText(t, resp))
		})
	}
	t.Run("204 has no body", func(t *testing.T) {
		resp := newResponse(200, "old")
		require.NoError(t, respond(t, resp, func(p *response) { p.StatusCode = 204 }))
		require.Empty(t, responseText(t, resp))
		require.Empty(t, resp.Header.Values("Content-Length"))
	})
	t.Run("an answer to HEAD keeps the upstream's length", func(t *testing.T) {
		resp := newResponse(200, "")
		resp.Request = newRequest("HEAD", "/", "")
		resp.Header.Set("Content-Length", "1234")
		resp.ContentLength = 1234
		require.NoError(t, respond(t, resp, func(p *response) { p.RawBody = []byte("x"); p.Headers["X-A"] = "1" }))
		require.Equal(t, "1234", resp.Header.Get("Content-Length"))
		require.Equal(t, int64(1234), resp.ContentLength)
		require.Equal(t, "1", resp.Header.Get("X-A"))
		require.Empty(t, responseText(t, resp))
	})
	t.Run("trailers are kept", func(t *testing.T) {
		resp := newResponse(200, "old")
		resp.Trailer = http.Header{"X-Sum": {"1"}}
		require.NoError(t, respond(t, resp, func(p *response) { p.Body = "new" }))
		require.Equal(t, http.Header{"X-Sum": {"1"}}, resp.Trailer)
		require.Equal(t, int64(-1), resp.ContentLength)
		require.Empty(t, resp.Header.Values("Content-Length"))
		require.Equal(t, "new", responseText(t, resp))
	})
	t.Run("overrides, session and request changes are ignored", func(t *testing.T) {
		r := newRequest("GET", "/old", "")
		s := &coprocesspb.SessionState{Alias: "me"}
		h := newHook(coprocesspb.HookType_Response, plugin(func(o *coprocesspb.Object) {
			o.Request.ReturnOverrides = &coprocesspb.ReturnOverrides{ResponseCode: 403}
			o.Request.Url = "%%"
			o.Session.Alias = "you"
		}))
		resp := newResponse(200, "old")
		require.NoError(t, h.Response(t.Context(), r, nil, resp, s))
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, "/old", r.URL.String())
		require.Equal(t, "me", s.Alias)
	})
}

func TestResponseChangesThatAreRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*response)
		want   string
	}{
		"status 42":                {func(p *response) { p.StatusCode = 42 }, "response.status_code: 42"},
		"status 101":               {func(p *response) { p.StatusCode = 101 }, "response.status_code: 101"},
		"status 1000":              {func(p *response) { p.StatusCode = 1000 }, "response.status_code: 1000"},
		"negative status":          {func(p *response) { p.StatusCode = -1 }, "response.status_code: -1"},
		"line break in headers":    {func(p *response) { p.Headers["X-A"] = "a\nb" }, `response.headers["X-A"]`},
		"line break in multivalue": {func(p *response) { p.MultivalueHeaders[0].Values = []string{"a\nb"} }, "response.multivalue_headers"},
		"bad name in multivalue":   {func(p *response) { p.MultivalueHeaders[0].Key = "a b" }, "response.multivalue_headers"},
	} {
		t.Run(name, func(t *testing.T) {
			resp := newResponse(200, "old")
			err := respond(t, resp, tt.change)
			require.ErrorIs(t, err, coprocess.ErrHook)
			require.ErrorContains(t, err, tt.want)
			require.Equal(t, 200, resp.StatusCode)
		})
	}
}

func TestResponseBodiesThatAreNotBuffered(t *testing.T) {
	h := newHook(coprocesspb.HookType_Response, plugin(func(o *coprocesspb.Object) { o.Response.Headers["X-Seen"] = "yes" }))
	h.ResponseLimit = 3
	r := newRequest("GET", "/", "")
	t.Run("over the limit", func(t *testing.T) {
		require.NoError(t, h.Response(t.Context(), r, nil, newResponse(200, "abc"), nil))
		err := h.Response(t.Context(), r, nil, newResponse(200, "abcd"), nil)
		var tooLarge *hook.ResponseBodyError
		require.ErrorAs(t, err, &tooLarge)
		require.Equal(t, int64(3), tooLarge.Limit)
		require.ErrorContains(t, err, "longer than the limit of 3 bytes")
	})
	t.Run("broken off", func(t *testing.T) {
		resp := newResponse(200, "")
		resp.Body = io.NopCloser(iotest.ErrReader(errors.New("reset")))
		err := h.Response(t.Context(), r, nil, resp, nil)
		var broken *hook.ResponseBodyError
		require.ErrorAs(t, err, &broken)
		require.Zero(t, broken.Limit)
		require.ErrorContains(t, err, "reset")
	})
	t.Run("an upgraded connection never reaches the hook", func(t *testing.T) {
		resp := newResponse(101, "")
		resp.Body = io.NopCloser(iotest.ErrReader(errors.New("must not be read")))
		body := resp.Body
		require.NoError(t, h.Response(t.Context(), r, nil, resp, nil))
		require.Equal(t, body, resp.Body)
		require.Empty(t, resp.Header.Get("X-Seen"))
	})
	stream := func() *http.Response {
		resp := newResponse(200, "data: endless\n\n")
		resp.ContentLength = -1
		resp.Header = http.Header{"Content-Type": {"text/event-stream; charset=utf-8"}}
		return resp
	}
	t.Run("an event stream passes through", func(t *testing.T) {
		resp := stream()
		require.NoError(t, h.Response(t.Context(), r, nil, resp, nil))
		require.Equal(t, "yes", resp.Header.Get("X-Seen"))
		require.Equal(t, int64(-1), resp.ContentLength)
		require.Equal(t, "data: endless\n\n", responseText(t, resp))
	})
	t.Run("an event stream can be replaced", func(t *testing.T) {
		resp := stream()
		require.NoError(t, respond(t, resp, func(p *response) {
			require.Empty(t, p.RawBody)
			p.Body = "gone"
		}))
		require.Equal(t, "gone", responseText(t, resp))
		require.Equal(t, int64(4), resp.ContentLength)
	})
}
