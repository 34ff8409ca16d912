package hook

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/krait-gateway/krait/coprocesspb"
)

// apply changes r and body as the hook changed the message, in the order of
// contract section 3. Everything is checked first: on an error nothing has
// changed.
func (sent *sentRequest) apply(r *http.Request, body *Body, got *coprocesspb.MiniRequestObject) error {
	if got == nil {
		return nil
	}
	target, err := sent.target(r.URL, got)
	if err != nil {
		return err
	}
	names := sortedNames(got.GetSetHeaders())
	if err := sent.check(got, names); err != nil {
		return err
	}
	setHeaders(r, got, names)
	r.URL = target
	if m := got.GetMethod(); m != sent.method {
		r.Method = m
	}
	if data, changed := newBody(sent.raw, sent.text, got.GetRawBody(), got.GetBody()); changed {
		body.Set(r, data)
		return nil
	}
	// The hook may have touched Content-Length.
	body.attach(r)
	return nil
}

// check says what in the message cannot be applied, apart from the URL. names are
// those of set_headers.
func (sent *sentRequest) check(got *coprocesspb.MiniRequestObject, names []string) error {
	for _, name := range names {
		value := got.GetSetHeaders()[name]
		if err := checkField("request.set_headers", name, value); err != nil {
			return err
		}
		if isHost(name) && !validHost(value) {
			return unusable("request.set_headers[%q]: the value is not a host name with an optional port", name)
		}
	}
	// A method is a token, as a field name is (RFC 9110 section 9.1).
	if m := got.GetMethod(); m != sent.method && !httpguts.ValidHeaderFieldName(m) {
		return unusable("request.method: %q is not a method; use a word such as GET", m)
	}
	return nil
}

// setHeaders applies delete_headers and set_headers, whose names are names.
func setHeaders(r *http.Request, got *coprocesspb.MiniRequestObject, names []string) {
	values := make([]string, len(names))
	for i, name := range names {
		before := r.Header.Values(name)
		if isHost(name) {
			before = []string{r.Host}
		}
		values[i] = original(before, got.GetSetHeaders()[name])
	}
	for _, name := range got.GetDeleteHeaders() {
		r.Header.Del(name)
	}
	for i, name := range names {
		switch {
		case isHost(name):
			r.Host = values[i]
		case isFraming(name):
			// Computed from the body.
		default:
			r.Header.Set(name, values[i])
		}
	}
}

// target returns the URL that the message asks for: u itself when it asks for
// no change.
func (sent *sentRequest) target(u *url.URL, got *coprocesspb.MiniRequestObject) (*url.URL, error) {
	target := u
	if got.GetUrl() != sent.url {
		changed, err := parseURL(got.GetUrl())
		if err != nil {
			return nil, err
		}
		changed.RawQuery = restoreQuery(changed.RawQuery, u.RawQuery)
		target = changed
	}
	query := editQuery(target.RawQuery, got.GetDeleteParams(), got.GetAddParams())
	if query == target.RawQuery {
		return target, nil
	}
	edited := *target
	edited.RawQuery = query
	return &edited, nil
}

// parseURL reads a URL that a hook set: an absolute path with an optional
// query, or an absolute URL of a scheme that the gateway can route.
func parseURL(text string) (*url.URL, error) {
	// A fragment is not sent (RFC 9110 section 7.1).
	text, _, _ = strings.Cut(text, "#")
	u, err := url.ParseRequestURI(text)
	if err != nil {
		// url.Error repeats the URL, whose query may hold secrets.
		if parse, ok := errors.AsType[*url.Error](err); ok {
			err = parse.Err
		}
		return nil, unusable("request.url: %v; use a path such as /a?b=c or a URL such as https://host/a", err)
	}
	switch u.Scheme {
	case "":
	case "http", "https", "tyk":
		if u.Opaque != "" || u.Hostname() == "" || !validHost(u.Host) {
			return nil, unusable("request.url: a %s URL needs //host after the scheme", u.Scheme)
		}
	default:
		return nil, unusable("request.url: scheme %q is not supported; use http, https or tyk", u.Scheme)
	}
	// Some upstreams take a backslash for a slash.
	for segment := range strings.FieldsFuncSeq(u.Path, func(c rune) bool { return c == '/' || c == '\\' }) {
		if segment == "." || segment == ".." {
			// The upstream would resolve them to what nobody has checked;
			// clients may not send them either.
			return nil, unusable("request.url: the path has . or .. segments; write the path that they stand for")
		}
	}
	u.RawQuery = escapeQuery(u.RawQuery)
	return u, nil
}

// newBody returns the body that a hook left, and whether it changed: raw when
// that differs from what was sent, else text when that does. An empty text
// beside an unchanged raw is no change: plugins that return a message of their
// own leave body out, since the reference ignores it. Emptying raw_body empties
// the body.
func newBody(sentRaw []byte, sentText string, raw []byte, text string) ([]byte, bool) {
	switch {
	case !bytes.Equal(raw, sentRaw):
		return raw, true
	case text != "" && text != sentText:
		return []byte(text), true
	default:
		return nil, false
	}
}

func isHost(name string) bool { return strings.EqualFold(name, "Host") }

// validHost says whether net/http can send host in a Host field.
func validHost(host string) bool {
	if host == "" {
		return false
	}
	ascii, err := httpguts.PunycodeHostPort(host)
	return err == nil && httpguts.ValidHostHeader(ascii)
}
