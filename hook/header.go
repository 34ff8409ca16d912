package hook

import (
	"maps"
	"net/http"
	"slices"

	"golang.org/x/net/http/httpguts"
)

// sortedNames returns the keys of m in order, so that of several mistakes always
// the same one is reported.
func sortedNames(m map[string]string) []string {
	names := slices.AppendSeq(make([]string, 0, len(m)), maps.Keys(m))
	slices.Sort(names)
	return names
}

// checkField says what is wrong with a header field that a hook set in the
// message's member where; the value may be secret and is not repeated.
func checkField(where, name, value string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return unusable("%s: %q is not a header name; use letters, digits and - only", where, name)
	}
	if !httpguts.ValidHeaderFieldValue(value) {
		return unusable("%s[%q]: the value holds a line break, NUL or another control character; remove it", where, name)
	}
	return nil
}

// isFraming says whether the field is not a hook's to set: net/http computes it
// from the body, or it concerns one connection only (RFC 9110 section 7.6.1), so
// that a hook's value could only contradict it or remove other fields.
func isFraming(name string) bool {
	switch http.CanonicalHeaderKey(name) {
	case "Content-Length", "Transfer-Encoding", "Trailer", "Te",
		"Connection", "Proxy-Connection", "Keep-Alive", "Upgrade", "Http2-Settings":
		return true
	}
	return false
}

// checkStatus says what is wrong with a final status code that a hook set in
// where. net/http panics on codes outside 100 to 999, and 1xx are not final
// (RFC 9110 section 15.2).
func checkStatus(where string, code int) error {
	if code < 200 || code > 999 {
		return unusable("%s: %d is not a status code to answer with; use 200 to 599", where, code)
	}
	return nil
}

// hasBody says whether a response with this final status may have a body
// (RFC 9110 section 6.4.1).
func hasBody(code int) bool {
	return code != http.StatusNoContent && code != http.StatusNotModified
}
