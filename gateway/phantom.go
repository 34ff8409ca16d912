package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

const (
	headerAuthorization = "Authorization"
	headerCookie        = "Cookie"
)

// replace puts the phantom token jwt in the place of the credential of r
// (contract section 10). The token itself goes no further, wherever it was.
func (a authSource) replace(r *http.Request, jwt string) {
	if a.HeaderName != "" {
		r.Header.Del(a.HeaderName)
	}
	if a.UseParam {
		r.URL.RawQuery = withoutParam(r.URL.RawQuery, a.ParamName)
	}
	if a.UseCookie {
		dropCookie(r.Header, a.CookieName)
	}
	r.Header.Set(headerAuthorization, bearerPrefix+jwt)
}

// withoutParam removes the parameter name from a raw query. The rest stays as the
// client spelled it.
func withoutParam(query, name string) string {
	if query == "" {
		return ""
	}
	pairs := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		raw, _, _ := strings.Cut(pair, "=")
		decoded, err := url.QueryUnescape(raw)
		return err == nil && decoded == name && pair != ""
	})
	return strings.Join(pairs, "&")
}

// dropCookie removes the cookie name from h.
func dropCookie(h http.Header, name string) {
	var kept []string
	for _, line := range h.Values(headerCookie) {
		cookies := slices.DeleteFunc(strings.Split(line, ";"), func(cookie string) bool {
			own, _, _ := strings.Cut(cookie, "=")
			return strings.TrimSpace(own) == name
		})
		if line = strings.TrimSpace(strings.Join(cookies, ";")); line != "" {
			kept = append(kept, line)
		}
	}
	h.Del(headerCookie)
	for _, line := range kept {
		h.Add(headerCookie, line)
	}
}
