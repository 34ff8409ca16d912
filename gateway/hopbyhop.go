package gateway

import (
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// websocketProtocol is the only protocol that a connection may be upgraded to.
// Another one would turn it into a tunnel around the chain: h2c, say, carries
// further requests that nothing here routes or checks.
const websocketProtocol = "websocket"

// connectionFields concern one connection only (RFC 9110 section 7.6.1, and
// the older ones of RFC 2616 section 13.5.1). Http2-Settings belongs to an
// upgrade to h2c (RFC 7540 section 3.2.1).
func connectionFields() [9]string {
	return [...]string{
		"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
		"Proxy-Authorization", "Http2-Settings",
	}
}

// keepEndToEnd deletes from the header of a client's request what concerns its
// connection only, the fields that its Connection names included. It is done
// before anything looks at the header: were it left to ReverseProxy, clients
// could name fields that hooks set or that authentication relied on.
//
// A websocket upgrade stays when it is allowed, and "TE: trailers", which
// gRPC upstreams insist on.
func keepEndToEnd(h http.Header, websockets bool) {
	upgrade := websockets && isWebsocketUpgrade(h)
	trailers := httpguts.HeaderValuesContainsToken(h["Te"], "trailers")
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range connectionFields() {
		delete(h, name) // they are canonical, as h's are
	}
	if upgrade {
		h.Set("Connection", "Upgrade")
		h.Set("Upgrade", websocketProtocol)
	}
	if trailers {
		h.Set("Te", "trailers")
	}
}

// isWebsocketUpgrade reports whether h asks for a websocket and nothing else.
func isWebsocketUpgrade(h http.Header) bool {
	protocols := h["Upgrade"]
	return len(protocols) == 1 && strings.EqualFold(protocols[0], websocketProtocol) &&
		httpguts.HeaderValuesContainsToken(h["Connection"], "upgrade")
}
