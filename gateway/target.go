package gateway

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// target is the parsed proxy.target_url of an API.
type target struct {
	url *url.URL // scheme http or https
	h2c bool     // HTTP/2 without TLS
}

// targetOf normalises a target URL. ws and wss stand for http and https (the
// upgrade goes over them), h2c for HTTP/2 with prior knowledge.
func targetOf(in *url.URL) (target, error) {
	if in == nil || in.Host == "" {
		return target{}, errors.New("proxy.target_url names no host; write an absolute URL such as http://upstream:8080/")
	}
	u := *in
	t := target{url: &u}
	switch strings.ToLower(in.Scheme) {
	case "http", "ws":
		u.Scheme = "http"
	case "https", "wss":
		u.Scheme = "https"
	case "h2c":
		u.Scheme, t.h2c = "http", true
	default:
		return target{}, fmt.Errorf("proxy.target_url: the scheme %q is not supported; use http, https, h2c, ws or wss", in.Scheme)
	}
	return t, nil
}

// escapedPath is the path of a URL as it goes over the wire.
type escapedPath string

// joinPaths appends sub to base with one slash between. As in the reference an
// empty sub gives base without its trailing slash.
func joinPaths(base, sub escapedPath) escapedPath {
	b := strings.TrimRight(string(base), "/")
	s := strings.TrimLeft(string(sub), "/")
	if s == "" {
		return escapedPath(b)
	}
	return escapedPath(b + "/" + s)
}

// set gives u this path, keeping the escapes that the client chose (%2F stays
// %2F).
func (p escapedPath) set(u *url.URL) error {
	decoded, err := url.PathUnescape(string(p))
	if err != nil {
		return err
	}
	u.Path, u.RawPath = decoded, string(p)
	if (&url.URL{Path: decoded}).EscapedPath() == string(p) {
		u.RawPath = ""
	}
	return nil
}

// stripListenPath removes listenPath from the front of p, once and at a
// segment boundary; p comes back unchanged when it does not begin with it. The
// comparison is made as routing makes it, on decoded bytes with repeated
// slashes counted as one, while what remains keeps its escapes.
func stripListenPath(p escapedPath, listenPath string) escapedPath {
	rest := string(p)
	for segment := range pathSegments(listenPath) {
		var ok bool
		if rest, ok = cutSlashes(rest); !ok {
			return p
		}
		if rest, ok = cutDecoded(rest, segment); !ok {
			return p
		}
	}
	if rest == "" {
		return "/"
	}
	if next, ok := cutSlashes(rest); ok {
		return escapedPath("/" + next)
	}
	return p
}

// cutSlashes removes all slashes, plain or escaped, from the front of p.
func cutSlashes(p string) (rest string, found bool) {
	for {
		next, ok := cutDecoded(p, "/")
		if !ok {
			return p, found
		}
		p, found = next, true
	}
}

// cutDecoded removes prefix from the front of p, where p may spell any byte of
// it as a percent escape.
func cutDecoded(p, prefix string) (rest string, ok bool) {
	for i := range len(prefix) {
		var first byte
		if first, p, ok = cutByte(p); !ok || first != prefix[i] {
			return "", false
		}
	}
	return p, true
}

// cutByte removes the first byte, plain or escaped, from p.
func cutByte(p string) (first byte, rest string, ok bool) {
	if p == "" {
		return 0, "", false
	}
	if p[0] != '%' {
		return p[0], p[1:], true
	}
	width := min(3, len(p))
	decoded, err := url.PathUnescape(p[:width])
	if err != nil {
		return 0, "", false
	}
	return decoded[0], p[width:], true
}

// joinQueries puts the target's own query in front of the client's.
func joinQueries(base, query string) string {
	if base == "" || query == "" {
		return base + query
	}
	return base + "&" + query
}
