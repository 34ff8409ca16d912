package tests_test

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const fiveHooks = `
from tyk.decorators import *
from gateway import TykGateway as tyk
import helper

@Hook
def MyPre(request, session, spec):
    request.add_header('X-Order', helper.step(request, 'pre'))
    return request, session

@Hook
def MyAuth(request, session, metadata, spec):
    metadata['token'] = request.get_header('Authorization') or ''
    metadata['from'] = 'auth_check'
    request.add_header('X-Order', helper.step(request, 'auth'))
    return request, session, metadata

@Hook
def MyPostKeyAuth(request, session, metadata, spec):
    request.add_header('X-Order', helper.step(request, 'post_key_auth'))
    request.add_header('X-Metadata', metadata['from'])
    return request, session, metadata

@Hook
def MyPost(request, session, spec):
    request.add_header('X-Order', helper.step(request, 'post'))
    request.add_header('X-Session-Metadata', session.metadata['from'])
    request.add_param('added', 'by post')
    request.delete_param('secret')
    request.delete_header('X-Secret')
    return request, session

@Hook
def MyResponse(request, response, session, metadata, spec):
    response.headers['X-Response'] = 'response of ' + metadata['from']
    return response
`

const fiveHooksHelper = `
def step(request, name):
    return ((request.get_header('X-Order') or '') + ' ' + name).strip()
`

func TestFiveHooksInOneBundle(t *testing.T) {
	s := newSite(t)
	s.bundle("five.zip", object{
		"pre":           hooks("MyPre"),
		"auth_check":    hook("MyAuth"),
		"post_key_auth": hooks("MyPostKeyAuth"),
		"post":          hooks("MyPost"),
		"response":      hooks("MyResponse"),
	}, map[string]string{"middleware.py": fiveHooks, "helper.py": fiveHooksHelper})
	s.api("five", echo(t), object{
		"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "five.zip",
	})
	g := s.start()
	check := func(t *testing.T) {
		r, err := g.try(http.MethodGet, "/five/x?secret=1&kept=2", nil, "Authorization", "token", "X-Secret", "s")
		if !assert.NoError(t, err) || !assert.Equal(t, http.StatusOK, r.status, r.body) {
			return
		}
		got := r.echoed(t)
		assert.Equal(t, "pre auth post_key_auth post", got.Header.Get("X-Order"))
		assert.Equal(t, "auth_check", got.Header.Get("X-Metadata"))
		assert.Equal(t, "auth_check", got.Header.Get("X-Session-Metadata"))
		assert.Empty(t, got.Header.Get("X-Secret"))
		assert.Equal(t, "kept=2&added=by+post", got.Query)
		assert.Equal(t, "response of auth_check", r.header.Get("X-Response"))
		assert.Equal(t, []string{"a=1", "b=2"}, r.header.Values("Set-Cookie"))
	}
	t.Run("alone", check)
	t.Run("together", func(t *testing.T) {
		var group sync.WaitGroup
		for range 32 {
			group.Go(func() { check(t) })
		}
		group.Wait()
	})
	require.Equal(t, http.StatusForbidden, g.get("/five/x").status)
}

const bodyHooks = `
from tyk.decorators import *

@Hook
def Keep(request, session, spec):
    request.add_header('X-Text', str(len(request.object.body)))
    request.add_header('X-Raw', str(len(request.object.raw_body)))
    return request, session

@Hook
def Reverse(request, session, spec):
    request.object.raw_body = request.object.raw_body[::-1]
    return request, session
`

func TestBodies(t *testing.T) {
	s := newSite(t)
	files := map[string]string{"middleware.py": bodyHooks}
	s.bundle("keep.zip", object{"pre": hooks("Keep")}, files)
	s.bundle("reverse.zip", object{"pre": hooks("Reverse")}, files)
	upstream := echo(t)
	s.api("keep", upstream, object{"custom_middleware_bundle": "keep.zip"})
	s.api("reverse", upstream, object{"custom_middleware_bundle": "reverse.zip"})
	g := s.start()
	large := bytes.Repeat([]byte("0123456789abcdef"), 10<<20/16)
	for name, c := range map[string]struct {
		body []byte
		text string
	}{
		"empty":         {nil, "0"},
		"text":          {[]byte("grüße"), "5"},
		"not UTF-8":     {[]byte{0xff, 0xfe, 0, 1}, "0"},
		"10 MB of text": {large, "10485760"},
	} {
		t.Run(name+" reaches the upstream as it was sent", func(t *testing.T) {
			got := g.send(http.MethodPost, "/keep/", bytes.NewReader(c.body)).echoed(t)
			require.True(t, bytes.Equal(c.body, got.Body))
			require.Equal(t, c.text, got.Header.Get("X-Text"))
			require.EqualValues(t, len(c.body), got.Length)
		})
	}
	t.Run("a changed body that is not UTF-8", func(t *testing.T) {
		got := g.send(http.MethodPost, "/reverse/", bytes.NewReader([]byte{1, 0, 0xff})).echoed(t)
		require.Equal(t, []byte{0xff, 0, 1}, got.Body)
	})
	t.Run("a chunked body", func(t *testing.T) {
		body := struct{ *strings.Reader }{strings.NewReader("in chunks")} // of a type whose length net/http does not know
		require.Equal(t, "in chunks", string(g.send(http.MethodPost, "/keep/", body).echoed(t).Body))
	})
	t.Run("header and query bytes that are not UTF-8 pass", func(t *testing.T) {
		got := g.get("/keep/?q=%ff", "X-Latin", "caf\xe9").echoed(t)
		require.Equal(t, "q=%ff", got.Query)
	})
}

func TestTwoBundlesWithTheSameNames(t *testing.T) {
	s := newSite(t)
	upstream := echo(t)
	for _, id := range []string{"one", "two"} {
		s.bundle(id+".zip", object{"pre": hooks("MyHook")}, map[string]string{
			"middleware.py": "from tyk.decorators import *\nimport utils\n@Hook\ndef MyHook(request, session, spec):\n    from lazy import WORD\n    request.add_header('X-Bundle', utils.NAME + ' ' + WORD)\n    return request, session\n",
			"utils.py":      "NAME = '" + id + "'\n",
			"lazy.py":       "WORD = 'lazy " + id + "'\n",
		})
		s.api(id, upstream, object{"custom_middleware_bundle": id + ".zip"})
	}
	g := s.start()
	for range 3 {
		for _, id := range []string{"one", "two"} {
			require.Equal(t, id+" lazy "+id, g.get("/"+id+"/").echoed(t).Header.Get("X-Bundle"))
		}
	}
}

const overrideHooks = `
from tyk.decorators import *

@Hook
def Answer(request, session, spec):
    overrides = request.object.return_overrides
    overrides.response_code = int(request.object.params['code'])
    overrides.response_body = 'body'
    overrides.headers['X-Override'] = 'yes'
    overrides.override_error = request.object.params.get('override', '') == 'true'
    return request, session
`

func TestReturnOverrides(t *testing.T) {
	s := newSite(t)
	s.bundle("override.zip", object{"pre": hooks("Answer")}, map[string]string{"middleware.py": overrideHooks})
	s.api("o", echo(t), object{"custom_middleware_bundle": "override.zip"})
	g := s.start()
	for query, want := range map[string]struct {
		status int
		body   string
	}{
		"code=200":               {200, "body"},
		"code=418":               {418, `{"error": "body"}`},
		"code=418&override=true": {418, "body"},
	} {
		r := g.get("/o/?" + query)
		require.Equal(t, want.status, r.status, query)
		require.Equal(t, "yes", r.header.Get("X-Override"), query)
		if strings.HasPrefix(want.body, "{") {
			require.JSONEq(t, want.body, r.body, query)
		} else {
			require.Equal(t, want.body, r.body, query)
		}
	}
	r := g.get("/o/?code=-1")
	require.Equal(t, http.StatusOK, r.status)
	require.Empty(t, r.header.Get("X-Override"))
}
