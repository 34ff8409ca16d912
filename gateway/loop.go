package gateway

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/krait-gateway/krait/telemetry"
)

const (
	// loopScheme marks a URL that is routed to an API inside the gateway
	// (contract section 3).
	loopScheme = "tyk"
	loopSelf   = "self"
	// maxLoopDepth bounds how often one request is routed inside the gateway.
	maxLoopDepth = 5
)

// loop resolves the tyk:// URL that a hook left in x.r and returns the API
// that serves it. That API runs its whole chain: one that is protected asks
// for its own credentials, whatever the first one accepted.
func (x *exchange) loop() (*reply, *api) {
	name := x.r.URL.Hostname()
	x.depth++
	if x.depth > maxLoopDepth {
		x.log.Error("a hook routed the request inside the gateway too often; look for a loop of tyk:// urls",
			telemetry.KeyCount, maxLoopDepth, telemetry.KeyTarget, name)
		return errorReply(http.StatusInternalServerError, msgLoopDepth), nil
	}
	next := x.api
	if !strings.EqualFold(name, loopSelf) {
		if next = x.snapshot.lookup(name); next == nil {
			x.log.Error("a hook routed the request to an API that does not exist; tyk:// takes an API's id or name",
				telemetry.KeyTarget, name)
			return errorReply(http.StatusInternalServerError, msgLoopTarget), nil
		}
	}
	inner := *x.r.URL
	inner.Scheme, inner.Host, inner.User, inner.Opaque = "", "", nil, ""
	if inner.Path == "" {
		inner.Path = "/"
	}
	x.r.URL = &inner
	return nil, next
}

// lookup finds an active API by id, or by name as it may be written in a URL:
// case does not matter and other characters than letters and digits may be
// dashes.
func (s *snapshot) lookup(name string) *api {
	if a := s.byID[name]; a != nil {
		return a
	}
	for _, one := range s.apis {
		if a := one.api; a.active && (strings.EqualFold(a.name, name) || strings.EqualFold(slug(a.name), name)) {
			return a
		}
	}
	return nil
}

func slug(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			return c
		}
		return '-'
	}, name)
}

// stripOrigin makes the URL of an absolute-form request (RFC 9112 section
// 3.2.2) relative, so that a scheme in it later can only come from a hook.
func stripOrigin(u *url.URL) *url.URL {
	relative := *u
	relative.Scheme, relative.Host, relative.User, relative.Opaque = "", "", nil, ""
	if relative.Path == "" {
		relative.Path = "/"
	}
	return &relative
}
