package gateway

import (
	"iter"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// router finds the API of a request by listen path and domain. It is built
// once per snapshot and never changed, so lookups need no lock.
//
// The deepest listen path wins; of two APIs with the same listen path, the one
// whose domain is the request's host wins over the one without a domain. This
// is the reference's order: path length first, domain second. Listen paths
// match whole path segments, so /orders never takes /orders-archive.
type router struct {
	root routeNode
}

// routeNode stands for one path segment. The work of a lookup is bounded by
// the deepest listen path, not by what the client sends.
type routeNode struct {
	children map[string]*routeNode
	domains  map[string]*api
	any      *api
}

// add enters a and returns the API that already has the same listen path and
// domain, if there is one.
func (rt *router) add(a *api) (taken *api) {
	node := &rt.root
	for segment := range pathSegments(a.listenPath) {
		next := node.children[segment]
		if next == nil {
			next = &routeNode{}
			if node.children == nil {
				node.children = make(map[string]*routeNode)
			}
			node.children[segment] = next
		}
		node = next
	}
	if a.domain == "" {
		if node.any != nil {
			return node.any
		}
		node.any = a
		return nil
	}
	if other := node.domains[a.domain]; other != nil {
		return other
	}
	if node.domains == nil {
		node.domains = make(map[string]*api)
	}
	node.domains[a.domain] = a
	return nil
}

// find returns the API that serves urlPath (decoded) on host, or nil.
func (rt *router) find(host, urlPath string) *api {
	host = normaliseHost(host)
	node := &rt.root
	best := node.pick(host)
	for rest := urlPath; len(node.children) > 0; {
		// Repeated slashes count as one, or /a//b would reach the API of
		// /a/ while many upstreams serve it as /a/b.
		rest = strings.TrimLeft(rest, "/")
		segment, tail, _ := strings.Cut(rest, "/")
		if node = node.children[segment]; node == nil {
			break
		}
		if a := node.pick(host); a != nil {
			best = a
		}
		rest = tail
	}
	return best
}

func (n *routeNode) pick(host string) *api {
	if a := n.domains[host]; a != nil {
		return a
	}
	return n.any
}

// pathSegments splits a listen path; a trailing slash makes no difference.
func pathSegments(p string) iter.Seq[string] {
	return strings.FieldsFuncSeq(p, func(c rune) bool { return c == '/' })
}

// normaliseHost returns host without port and trailing dot, in lower case.
func normaliseHost(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// hasDotSegment reports whether a decoded path has "." or ".." segments. Such
// a path must not be proxied: the upstream would resolve it to something that
// the gateway has not routed or checked.
// Some upstreams take a backslash for a slash.
func hasDotSegment(p string) bool {
	for segment := range strings.FieldsFuncSeq(p, func(c rune) bool { return c == '/' || c == '\\' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// cleanTarget returns where to redirect a request whose path has dot segments
// written plainly, and false when they are hidden behind percent encoding or
// backslashes.
func cleanTarget(u *url.URL) (string, bool) {
	if u.RawPath != "" {
		return "", false
	}
	cleaned := path.Clean("/" + u.Path)
	if hasDotSegment(cleaned) {
		return "", false
	}
	if strings.HasSuffix(u.Path, "/") && cleaned != "/" {
		cleaned += "/"
	}
	target := url.URL{Path: cleaned, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery}
	return target.String(), true
}

// redirectCode keeps method and body for requests that have them.
func redirectCode(method string) int {
	if method == http.MethodGet || method == http.MethodHead {
		return http.StatusMovedPermanently
	}
	return http.StatusPermanentRedirect
}
