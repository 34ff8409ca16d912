package gateway_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
)

func TestRouting(t *testing.T) {
	up := newUpstream(t)
	api := func(id, path, domain string) apidef.Loaded {
		more := map[string]any{"proxy.target_url": up.URL + "/" + id}
		if domain != "" {
			more["domain"] = domain
		}
		return definition(t, id, path, up.URL, more)
	}
	inactive := api("off", "/off/", "")
	inactive.API.Active = false
	f := start(t, setup{apis: []apidef.Loaded{
		api("short", "/a/", ""), api("long", "/a/b/", ""), api("noslash", "/plain", ""),
		api("domain", "/a/", "Api.Example.com"), api("space", "/with%20space/", ""), inactive,
	}})
	cases := []struct {
		name, path, host, want string // want is what the upstream gets, "" for 404
	}{
		{"below a listen path", "/a/x", "", "/short/x"},
		{"listen path itself", "/a/", "", "/short"},
		{"listen path without its slash", "/a", "", "/short"},
		{"listen path without slash takes what is below", "/plain/x/", "", "/noslash/x/"},
		{"segments are not cut", "/plainer", "", ""},
		{"longest listen path wins", "/a/b/c", "", "/long/c"},
		{"longer path wins over domain", "/a/b/c", "api.example.com", "/long/c"},
		{"domain wins for the same path, in any case and with a port", "/a/x", "API.example.COM:8080", "/domain/x"},
		{"other domain takes the API without one", "/a/x", "other.example.com", "/short/x"},
		{"repeated slashes reach the API that the upstream would serve", "/a//b/c", "", "/long/c"},
		{"escaped listen path is found", "/%61/b/c%2Fd", "", "/long/c%2Fd"},
		{"listen path with an escape", "/with%20space/x", "", "/space/x"},
		{"inactive API is not found", "/off/x", "", ""},
		{"unknown path is not found", "/nowhere", "", ""},
		{"root is not found", "/", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			header := []string{}
			if c.host != "" {
				header = []string{"Host", c.host}
			}
			got := f.get(c.path, header...)
			if c.want == "" {
				require.Equal(t, 404, got.code)
				require.JSONEq(t, `{"error": "Not Found"}`, got.body)
				require.NotEmpty(t, got.header.Get("X-Request-Id"))
				return
			}
			require.Equal(t, 200, got.code, got.body)
			require.Equal(t, c.want, up.got().uri)
		})
	}
}

func TestPathsWithDotSegments(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL+"/base", nil)}})
	cases := []struct {
		name, method, path string
		code               int
		location           string
	}{
		{"plain dots are redirected", "GET", "/a/x/../y?q=1", 301, "/a/y?q=1"},
		{"a redirect keeps method and body", "POST", "/a/../b/", 308, "/b/"},
		{"a redirect stays on this host", "GET", "//evil.example/../x", 301, "/x"},
		{"escaped dots are refused", "GET", "/a/%2e%2e/y", 400, ""},
		{"dots behind an escaped slash are refused", "GET", "/a/x%2F..%2Fy", 400, ""},
		{"dots behind a backslash are refused", "GET", `/a/x\..\y`, 400, ""},
		{"dots behind an escaped backslash are refused", "GET", "/a/x/..%5Cy", 400, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			code, header := rawRequest(t, f.url[len("http://"):], c.method, c.path)
			require.Equal(t, c.code, code)
			require.Equal(t, c.location, header.Get("Location"))
			require.Zero(t, up.count())
		})
	}
}

// rawRequest sends a request target that http.Client would tidy up.
func rawRequest(t *testing.T, address, method, target string) (int, http.Header) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, target)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, resp.Header
}

func TestTargetsThatAreNoPaths(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apis: []apidef.Loaded{definition(t, "root", "/", up.URL, nil)}})
	for _, c := range []struct {
		name, method, target string
		want                 int
	}{
		{"OPTIONS * is about the server, not an API", "OPTIONS", "*", 200},
		{"CONNECT has no API", "CONNECT", "example.com:443", 404},
		{"absolute form goes by its path", "GET", "http://gateway/x", 200},
		{"absolute form without a path is the root", "GET", "http://gateway", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _ := rawRequest(t, f.url[len("http://"):], c.method, c.target)
			require.Equal(t, c.want, code)
		})
	}
}

func TestSameListenPathTwice(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apis: []apidef.Loaded{
		definition(t, "first", "/same/", up.URL+"/first", nil),
		definition(t, "second", "/same", up.URL+"/second", nil),
	}})
	require.Equal(t, 200, f.get("/same/x").code)
	require.Equal(t, "/first/x", up.got().uri)
	statuses := f.APIs()
	require.Equal(t, "active", statuses[0].Status)
	require.Equal(t, "refused", statuses[1].Status)
	require.Contains(t, statuses[1].Reason, "first")
}
