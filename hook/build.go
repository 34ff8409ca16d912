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
	object      *coprocesspb.Object
	url, method string
	raw         []byte
	text        string
}

// sentResponse is the same for a response hook. header holds the original
// bytes.
type sentResponse struct {
	object *coprocesspb.Object
	status int
	header http.Header
	raw    []byte
	text   string
	stream bool // the body was not read
}

// requestObject builds the message for a request hook. body is loaded.
func (h *Hook) requestObject(r *http.Request, body *Body, s *coprocesspb.SessionState) *sentRequest {
	obj := h.object(r, body, s)
	return &sentRequest{
		object: obj,
		url:    obj.Request.Url,
		method: obj.Request.Method,
		raw:    obj.Request.RawBody,
		text:   obj.Request.Body,
	}
}

// responseObject builds the message for a response hook.
func (h *Hook) responseObject(r *http.Request, body *Body, resp *http.Response, data responseBody, s *coprocesspb.SessionState) *sentResponse {
	obj := h.object(r, body, s)
	res := &coprocesspb.ResponseObject{
		StatusCode:        int32(resp.StatusCode),
		RawBody:           data.bytes,
		Headers:           firstValues(resp.Header),
		MultivalueHeaders: allValues(resp.Header),
	}
	if !h.RawBodyOnly {
		res.Body = data.asText()
	}
	obj.Response = res
	return &sentResponse{
		object: obj,
		status: resp.StatusCode,
		header: resp.Header.Clone(),
		raw:    res.RawBody,
		text:   res.Body,
		stream: data.stream,
	}
}

// object builds what messages of all hook types have in common.
func (h *Hook) object(r *http.Request, body *Body, s *coprocesspb.SessionState) *coprocesspb.Object {
	obj := &coprocesspb.Object{
		HookType: h.Type,
		HookName: h.Name,
		Request:  h.miniRequest(r, body),
		Spec:     h.spec(),
	}
	if s != nil && h.sharesSession() {
		obj.Session = s.CloneVT()
		obj.Metadata = maps.Clone(s.GetMetadata())
	}
	return obj
}

func (h *Hook) miniRequest(r *http.Request, body *Body) *coprocesspb.MiniRequestObject {
	headers := firstValues(r.Header)
	if r.Host != "" {
		headers["Host"] = toText(r.Host)
	}
	m := &coprocesspb.MiniRequestObject{
		Headers:         headers,
		Params:          firstParams(r.URL.RawQuery),
		Url:             toText(r.URL.String()),
		RequestUri:      toText(requestURI(r)),
		Method:          method(r),
		Scheme:          scheme(r),
		ReturnOverrides: &coprocesspb.ReturnOverrides{ResponseCode: -1},
	}
	if body != nil {
		m.RawBody = body.data
		if !h.RawBodyOnly {
			m.Body = body.asText()
		}
	}
	return m
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

// firstValues returns the first value of each field as text.
func firstValues(header http.Header) map[string]string {
	first := make(map[string]string, len(header)+1)
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
