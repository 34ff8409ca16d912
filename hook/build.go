package hook

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
)

// sentRequest is a message for a request hook and what it said about the
// request. The copies are compared with what comes back, so that a dispatcher
// that changes the message in place does no harm.
type sentRequest struct {
	*parts
	url, method string
	raw         []byte
	text        string
}

// sentResponse is the same for a response hook. header holds the original
// bytes.
type sentResponse struct {
	*parts
	status int
	header http.Header
	raw    []byte
	text   string
	stream bool // the body was not read
}

// requestObject builds the message for a request hook. body is loaded.
func (h *Hook) requestObject(r *http.Request, body *Body, s *coprocesspb.SessionState) *sentRequest {
	p := h.message(r, body, s)
	return &sentRequest{
		parts:  p,
		url:    p.request.Url,
		method: p.request.Method,
		raw:    p.request.RawBody,
		text:   p.request.Body,
	}
}

// responseObject builds the message for a response hook.
func (h *Hook) responseObject(r *http.Request, body *Body, resp *http.Response, data responseBody, s *coprocesspb.SessionState) *sentResponse {
	p := h.message(r, body, s)
	res := &coprocesspb.ResponseObject{
		StatusCode:        int32(resp.StatusCode),
		RawBody:           data.bytes,
		Headers:           firstValues(make(map[string]string, len(resp.Header)), resp.Header),
		MultivalueHeaders: allValues(resp.Header),
	}
	if !h.RawBodyOnly {
		res.Body = data.asText()
	}
	p.object.Response = res
	return &sentResponse{
		parts:  p,
		status: resp.StatusCode,
		header: resp.Header.Clone(),
		raw:    res.RawBody,
		text:   res.Body,
		stream: data.stream,
	}
}

// message builds what messages of all hook types have in common.
func (h *Hook) message(r *http.Request, body *Body, s *coprocesspb.SessionState) *parts {
	p := h.messages.take()
	obj := p.object
	obj.HookType, obj.HookName = h.Type, h.Name
	obj.Request, obj.Spec = p.request, h.spec()
	if s != nil && h.sharesSession() {
		obj.Session = s.CloneVT()
		obj.Metadata = maps.Clone(s.GetMetadata())
	}
	h.fill(p, r, body)
	return p
}

// fill writes the request to p.
func (h *Hook) fill(p *parts, r *http.Request, body *Body) {
	m := p.request
	m.Headers = firstValues(p.headers, r.Header)
	if r.Host != "" {
		m.Headers["Host"] = toText(r.Host)
	}
	m.Params = firstParams(p.params, r.URL.RawQuery)
	m.Url = toText(r.URL.String())
	m.RequestUri = toText(requestURI(r))
	m.Method = method(r)
	m.Scheme = scheme(r)
	m.ReturnOverrides = p.overrides
	m.ReturnOverrides.ResponseCode = -1
	if body != nil {
		m.RawBody = body.data
		if !h.RawBodyOnly {
			m.Body = body.asText()
		}
	}
}

// spec returns Object.spec. Each message has its own, because plugin code may
// write to it.
func (h *Hook) spec() map[string]string {
	api := h.API
	if api == nil {
		api = &API{}
	}
	return map[string]string{
		"OrgID":       api.OrgID,
		"APIID":       api.ID,
		"bundle_hash": api.BundleHash,
		"config_data": cmp.Or(api.ConfigData, "{}"),
	}
}

// sharesSession says whether hooks of this type see the session: those that
// run after authentication.
func (h *Hook) sharesSession() bool {
	return h.Type != coprocesspb.HookType_Pre && h.Type != coprocesspb.HookType_CustomKeyCheck
}

// session returns the session as the hook left it.
func (h *Hook) session(given *coprocesspb.SessionState, got *coprocesspb.Object) *coprocesspb.SessionState {
	if !h.sharesSession() {
		return got.GetSession()
	}
	s := got.GetSession()
	if s == nil {
		if given == nil {
			return nil
		}
		s = given.CloneVT()
	}
	// A key that went from Object.metadata stays, as in the reference; a key
	// that went from session.metadata is gone.
	before := given.GetMetadata()
	for k, v := range got.GetMetadata() {
		if old, had := before[k]; had && old == v {
			continue
		}
		if s.Metadata == nil {
			s.Metadata = make(map[string]string)
		}
		s.Metadata[k] = v
	}
	return s
}

// dispatch runs the plugin code.
func (h *Hook) dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	got, err := h.Dispatcher.Dispatch(ctx, obj)
	if err != nil {
		return nil, err
	}
	if got == nil {
		return nil, unusable("it returned no message")
	}
	return got, nil
}

// fault says which hook err belongs to.
func (h *Hook) fault(err error) error {
	if h.Bundle != "" {
		return fmt.Errorf("%s hook %q of bundle %q: %w", h.Type, h.Name, h.Bundle, err)
	}
	return fmt.Errorf("%s hook %q: %w", h.Type, h.Name, err)
}

// unusable returns an error that is coprocess.ErrHook.
func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %s", coprocess.ErrHook, fmt.Sprintf(format, args...))
}

// firstValues adds the first value of each field as text to first.
func firstValues(first map[string]string, header http.Header) map[string]string {
	for name, values := range header {
		if len(values) > 0 {
			first[toText(name)] = toText(values[0])
		}
	}
	return first
}

// allValues returns all values of each field as text, ordered by name.
func allValues(header http.Header) []*coprocesspb.Header {
	all := make([]*coprocesspb.Header, 0, len(header))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		values := make([]string, len(header[name]))
		for i, v := range header[name] {
			values[i] = toText(v)
		}
		all = append(all, &coprocesspb.Header{Key: toText(name), Values: values})
	}
	return all
}

func method(r *http.Request) string { return cmp.Or(r.Method, http.MethodGet) }

// scheme is the scheme of the URL, or the one the request came in by.
func scheme(r *http.Request) string {
	switch {
	case r.URL.Scheme != "":
		return r.URL.Scheme
	case r.TLS != nil:
		return "https"
	default:
		return "http"
	}
}

// requestURI is the request target as the client sent it; a request that the
// gateway made itself has none and gets that of its URL.
func requestURI(r *http.Request) string { return cmp.Or(r.RequestURI, r.URL.RequestURI()) }
