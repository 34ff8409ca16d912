package gateway

import (
	"slices"
	"strings"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/telemetry"
)

// defaultVersion is the version of an API as access rights name it; there are
// no others here.
const defaultVersion = "Default"

// denied returns why the access rights of x's session do not cover x, or "". A
// session without any access rights is not restricted, as in the reference.
func (x *exchange) denied() string {
	rights := x.session.GetAccessRights()
	if len(rights) == 0 {
		return ""
	}
	right, ok := rights[x.api.id]
	if !ok || !coversVersion(right.GetVersions()) {
		return msgAccessDenied
	}
	if len(right.GetAllowedUrls()) > 0 && !x.allowed(right.GetAllowedUrls()) {
		return msgResourceDenied
	}
	return ""
}

// coversVersion reports whether the list has the API's version. An empty one
// means it.
func coversVersion(versions []string) bool {
	return len(versions) == 0 || slices.ContainsFunc(versions, func(v string) bool { return strings.EqualFold(v, defaultVersion) })
}

// allowed reports whether one of specs has the method of x and a pattern that
// matches its path, with or without the listen path. A pattern that is none
// allows nothing.
func (x *exchange) allowed(specs []*coprocesspb.AccessSpec) bool {
	full := x.r.URL.Path
	stripped := decodedPath(string(stripListenPath(escapedPath(x.r.URL.EscapedPath()), x.api.listenPath)))
	for _, spec := range specs {
		if !slices.Contains(spec.GetMethods(), x.r.Method) {
			continue
		}
		pattern, err := x.gateway.patterns.compile(spec.GetUrl())
		if err != nil {
			if skipped, ok := x.api.unreadable.allow(); ok {
				x.log.Warn("allowed_urls of a session has a pattern that cannot be read, it allows nothing",
					telemetry.KeyCount, skipped, telemetry.KeyTokenHash, telemetry.TokenHash(x.token), telemetry.KeyError, err.Error())
			}
			continue
		}
		if pattern.MatchString(stripped) || pattern.MatchString(full) {
			return true
		}
	}
	return false
}
