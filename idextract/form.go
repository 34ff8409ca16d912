package idextract

import (
	"mime"
	"net/http"
	"net/url"
	"strings"
)

// formMedia is the media type of forms that are read.
const formMedia = "application/x-www-form-urlencoded"

// hasForm reports whether http.Request.ParseForm would read the body of r.
func hasForm(r *http.Request) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
	default:
		return false
	}
	// The media type is known also when a parameter after it is malformed.
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return media == formMedia
}

// formValues returns the values that http.Request.ParseForm would find under
// name in body and query. It keeps no other values, so that a form of a million
// fields costs nothing.
func formValues(r *http.Request, body []byte, name string) []string {
	var values []string
	if hasForm(r) {
		values = fieldValues(values, string(body), name)
	}
	return fieldValues(values, r.URL.RawQuery, name)
}

// fieldValues appends the values under name. Fields that net/url refuses are
// left out. There are at most two: the second one shows that the value is
// ambiguous.
func fieldValues(values []string, form, name string) []string {
	for field := range strings.SplitSeq(form, "&") {
		if len(values) > 1 {
			break
		}
		rawName, rawValue, _ := strings.Cut(field, "=")
		if field == "" || strings.Contains(field, ";") {
			continue
		}
		if key, err := url.QueryUnescape(rawName); err != nil || key != name {
			continue
		}
		if value, err := url.QueryUnescape(rawValue); err == nil {
			values = append(values, strings.Clone(value))
		}
	}
	return values
}
