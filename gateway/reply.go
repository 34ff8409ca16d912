package gateway

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"mime"
	"net/http"
	"strconv"
)

// Messages of the standard error body. Clients of the reference match on
// them, so they are part of the contract.
const (
	msgNotAuthorised   = "Key not authorised"
	msgMiddleware      = "Middleware error"
	msgFieldMissing    = "Authorization field missing"
	msgAccessDenied    = "Access to this API has been disallowed"
	msgResourceDenied  = "Access to this resource has been disallowed"
	msgRateExceeded    = "Rate limit exceeded"
	msgQuotaExceeded   = "Quota exceeded"
	msgKeyInactive     = "Key is inactive, please renew"
	msgKeyExpired      = "Key has expired, please renew"
	msgProxy           = "There was a problem proxying the request"
	msgUpstreamTimeout = "Upstream service reached hard timeout."
	msgUpstreamLookup  = "Upstream host lookup failed"
	msgBodyRead        = "There was a problem with reading Body of the Request."
	msgBodyTimeout     = "Request body did not arrive in time"
	msgAmbiguous       = "Authorization field ambiguous"
	msgLoopTarget      = "Can't detect loop target"
	msgLoopDepth       = "Loop level too deep"
	msgBusy            = "Service is busy, please retry"
	msgRefused         = "This API is not available"
	msgLoading         = "This API is starting, please retry"
	msgAPIExpired      = "API has expired, please check its documentation for a new version"
	msgNotFound        = "Not Found"
)

// reply is an answer that the gateway gives itself. A step of the chain
// returns one to stop the chain and nil to go on.
type reply struct {
	code int
	// message goes into the standard error body, unless raw is set.
	message string
	// raw: header and body are written as they are (return overrides).
	raw    bool
	body   string
	header map[string]string
	// retryAfter in seconds; 0 leaves the header out.
	retryAfter int
	// dropped: the client is gone or cut, the connection is closed.
	dropped bool
}

func errorReply(code int, message string) *reply {
	return &reply{code: code, message: message}
}

// write sends rp as the answer to r, or panics with http.ErrAbortHandler when
// it is dropped. Standard error bodies are JSON, or XML
// when the request's Content-Type is XML (contract section 3).
func (rp *reply) write(w http.ResponseWriter, r *http.Request, requestID string) {
	if rp.dropped {
		// Returning would make net/http answer 200 to a client that is still
		// there after all, because Serve cuts requests too.
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	var body []byte
	if rp.raw {
		body = []byte(rp.body)
	} else {
		var contentType string
		body, contentType = errorBody(r.Header.Get("Content-Type"), rp.message)
		h.Set("Content-Type", contentType)
	}
	for name, value := range rp.header {
		// A length that a plugin states would cut or stall the body.
		if http.CanonicalHeaderKey(name) != "Content-Length" {
			h.Set(name, value)
		}
	}
	if rp.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(rp.retryAfter))
	}
	h.Set(headerRequestID, requestID)
	code := rp.code
	if !writableStatus(code) {
		code = http.StatusInternalServerError
	}
	if bodyAllowed(code) {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(code)
	if r.Method != http.MethodHead && bodyAllowed(code) {
		// The client may be gone; there is nobody to tell.
		_, _ = w.Write(body)
	}
}

// writableStatus tells what net/http accepts as a final status. 1xx codes are
// not final, so a plugin that returns one would leave the client waiting.
func writableStatus(code int) bool { return code >= 200 && code <= 999 }

func bodyAllowed(code int) bool {
	return code != http.StatusNoContent && code != http.StatusNotModified
}

// errorBody renders message for a client that sent requestType.
func errorBody(requestType, message string) (body []byte, contentType string) {
	media, _, err := mime.ParseMediaType(requestType)
	if err == nil && (media == "application/xml" || media == "text/xml") {
		var escaped bytes.Buffer
		// A bytes.Buffer never fails to write.
		_ = xml.EscapeText(&escaped, []byte(message))
		return []byte("<error>" + escaped.String() + "</error>\n"), media
	}
	return jsonBody(struct {
		Error string `json:"error"`
	}{message}), "application/json"
}

// jsonBody renders v, which must be a type that always marshals, without the
// escaping that only HTML needs.
func jsonBody(v any) []byte {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
	return out.Bytes()
}
