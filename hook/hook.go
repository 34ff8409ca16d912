package hook

import (
	"context"
	"net/http"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
)

// API is what every message of one API carries in Object.spec (contract
// section 2).
type API struct {
	// ID and OrgID become spec["APIID"] and spec["OrgID"]; Name is for
	// messages only.
	ID, Name, OrgID string
	// BundleHash becomes spec["bundle_hash"]: the md5 of the bundle's name
	// in hex.
	BundleHash string
	// ConfigData becomes spec["config_data"]: JSON text. "" is sent as "{}".
	ConfigData string
}

// Hook is one configured hook. It must not be changed once it is in use; its
// methods are safe for concurrent use.
type Hook struct {
	// Type is the place in the chain; it decides what the message holds.
	Type coprocesspb.HookType
	// Name is the function in the plugin code.
	Name string
	// RawBodyOnly leaves request.body empty.
	RawBodyOnly bool
	// API is what the messages say about the API.
	API *API
	// Bundle is the bundle's name, for messages.
	Bundle string
	// Dispatcher runs the plugin code.
	Dispatcher coprocess.Dispatcher
	messages   partsPool

	// ResponseLimit is the longest response body, in bytes, that Response
	// buffers; 0 or less means no limit.
	ResponseLimit int64
}

// Outcome is what a request hook decided.
type Outcome struct {
	// Override is the answer that the hook wants sent instead of going on;
	// nil means that the chain goes on.
	Override *Override
	// Session is the session as the hook left it, with changes of Metadata
	// merged into its metadata for hooks that were given a session (contract
	// section 3). It is nil when none was given and the hook left none, and
	// never shares memory with the session that was given.
	Session *coprocesspb.SessionState
	// Metadata is Object.metadata as the hook left it.
	Metadata map[string]string
}

// Override is an answer that a hook wants sent (return_overrides of contract
// section 3).
type Override struct {
	// Code is the status code, 200 to 999.
	Code int
	// Header holds header fields to set; names and values are valid for
	// net/http, framing headers are left out.
	Header map[string]string
	// Body is the body to send as it is, or with AuthFailure the message of
	// the standard error body. It is empty for codes without a body.
	Body string
	// AuthFailure asks for the standard error body and the AuthFailure event.
	AuthFailure bool
}

// Request runs the hook on r and applies to r and body what it changed.
//
// r has to be the gateway's own copy of the request that net/http handed to
// it, because net/http looks at the method of its request again when it
// writes the response. r.URL has to have been stripped of scheme and host
// when the client sent them (RFC 9112 section 3.2.2): after Request, a
// r.URL with a scheme is the absolute URL that a hook asked for, http, https
// or tyk. Headers, URL and body of r are never changed when Request fails or
// the Outcome has an Override; the body is buffered in any case.
//
// body is the Body of r; nil stands for one without a limit.
//
// s is the current session, which is not changed. It may be nil. Hooks of
// type Pre and CustomKeyCheck are not shown it.
//
// Errors: *BodyTooLargeError, *BudgetError and *BodyReadError from reading the
// request body; what Dispatcher.Dispatch returned; and an error that is
// coprocess.ErrHook when the hook returned something unusable. All are wrapped
// with the hook's name.
func (h *Hook) Request(ctx context.Context, r *http.Request, body *Body, s *coprocesspb.SessionState) (Outcome, error) {
	if body == nil {
		body = NewBody(0)
	}
	if _, err := body.Load(r); err != nil {
		return Outcome{}, h.fault(err)
	}
	sent := h.requestObject(r, body, s)
	got, err := h.dispatch(ctx, sent.object)
	if err != nil {
		return Outcome{}, h.fault(err)
	}
	defer h.messages.put(sent.parts)
	override, err := readOverride(got.GetRequest().GetReturnOverrides())
	if err != nil {
		return Outcome{}, h.fault(err)
	}
	if override == nil {
		if err := sent.apply(r, body, got.GetRequest()); err != nil {
			return Outcome{}, h.fault(err)
		}
	}
	return Outcome{
		Override: override,
		Session:  h.session(s, got),
		Metadata: got.GetMetadata(),
	}, nil
}

// Response runs the hook on resp, the upstream's answer to r, and applies to
// resp what it changed: status code, headers and body. Whatever the hook
// changed in the request, the session or the return overrides is ignored.
//
// The response body is buffered up to ResponseLimit, except that of an event
// stream without a length, which would never end: the hook sees it empty, and
// it passes through unless the hook sets one. A response with status 101 is
// returned untouched without running the hook, because its body is a
// connection.
//
// request.raw_body is what body holds; it is empty when body is nil or was
// never loaded. resp.Body is closed and replaced. On an error resp must not be
// sent.
//
// Errors: *ResponseBodyError when the body could not be read or is too long,
// *BudgetError when body's budget has no room for it, and those of Dispatch as
// for Request.
func (h *Hook) Response(ctx context.Context, r *http.Request, body *Body, resp *http.Response, s *coprocesspb.SessionState) error {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	if resp.Header == nil {
		resp.Header = make(http.Header)
	}
	room := &reservation{}
	if body != nil {
		room = &body.responseRoom
	}
	data, err := readResponse(ctx, resp, h.ResponseLimit, room)
	if err != nil {
		return h.fault(err)
	}
	sent := h.responseObject(r, body, resp, data, s)
	got, err := h.dispatch(ctx, sent.object)
	if err != nil {
		return h.fault(err)
	}
	defer h.messages.put(sent.parts)
	if err := sent.apply(resp, got.GetResponse()); err != nil {
		return h.fault(err)
	}
	return nil
}
