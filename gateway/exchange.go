package gateway

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
	"github.com/krait-gateway/krait/telemetry"
)

const (
	// requestLimit bounds, in bytes, a request body that is buffered for hooks
	// when the configuration sets no max_request_body_size.
	requestLimit = 16 << 20
	// responseLimit bounds, in bytes, a response body that is buffered for
	// response hooks.
	responseLimit = 64 << 20
	// defaultBodyBudget bounds, in bytes, all bodies that are buffered at a
	// time. A body takes several times its size on its way through a plugin
	// (as text, as a message, in Python), hence not more.
	defaultBodyBudget = 256 << 20
	// bodyBudgetWait is how long a body waits for room.
	bodyBudgetWait = 500 * time.Millisecond
)

// exchange is one request on its way through the gateway. It belongs to the
// goroutine that serves the request.
type exchange struct {
	gateway *Gateway
	// snapshot is what x was routed by, nil once x needs only its api.
	snapshot  *snapshot
	api       *api
	requestID string
	log       *slog.Logger
	w         *responseWriter
	// r is the gateway's own copy, which hooks change. r.URL has a scheme
	// only when a hook gave it one.
	r *http.Request
	// body buffers the request body, nil when no hook needs it; then stream is
	// what the upstream reads.
	body   *hook.Body
	stream *clientBody
	// session is nil for keyless APIs and until authentication.
	session *coprocesspb.SessionState
	// token identifies the session, for events.
	token string
	// scope names the counters of the session's policies; "" is its own.
	scope           string
	authenticatedBy *api
	counted         []countedLimits
	quota           *quotaState     // nil: the session has no quota
	depth           int             // of routing inside the gateway
	turns           []*serialPlugin // that other requests wait for
	upstreamURL     *url.URL
}

type exchangeKey struct{}

// exchangeOf returns the exchange that newExchange put into ctx.
func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// newExchange copies r, because net/http looks at the original again when it
// finishes the response.
func (g *Gateway) newExchange(s *snapshot, w *responseWriter, r *http.Request, id string) *exchange {
	x := &exchange{gateway: g, snapshot: s, requestID: id, w: w, log: g.log}
	own := r.WithContext(context.WithValue(coprocess.WithRequestID(r.Context(), id), exchangeKey{}, x))
	own.Header = r.Header.Clone()
	own.URL = stripOrigin(r.URL)
	// Trailers come after the hooks have run, and a streamed request cannot
	// pass them on: they are dropped (RFC 9110 section 6.5.1 allows it).
	own.Trailer = nil
	if w.body != nil {
		own.Body = w.body
	}
	keepEndToEnd(own.Header, g.config.HTTPServerOptions.EnableWebSockets)
	x.r = own
	return x
}

// serve takes x through the chain of a, and of the APIs that hooks route it to.
func (x *exchange) serve(a *api) {
	defer x.end()
	for a != nil {
		x.api = a
		x.log = requestLog(a.log, x.requestID)
		answer := x.availability(a)
		if answer == nil {
			answer, a = a.chain().run(x)
		}
		if answer != nil {
			x.endTurns(nil) // the client may take its time
			answer.write(x.w, x.r, x.requestID)
			return
		}
	}
}

// settle gives the snapshot up and keeps the API alone: an upgraded connection
// may last for days, through many reloads.
func (x *exchange) settle() {
	x.api.take() // the snapshot has it
	x.snapshot.release()
	x.snapshot = nil
}

// end gives back what x holds.
func (x *exchange) end() {
	x.endTurns(nil)
	if x.body != nil {
		x.body.Release()
	}
	if x.snapshot != nil {
		x.snapshot.release()
	} else {
		x.gateway.giveUp(x.api)
	}
}

// availability returns why a does not serve, or nil.
func (x *exchange) availability(a *api) *reply {
	state := a.state.Load()
	switch {
	case state.status == APILoading:
		return &reply{code: http.StatusServiceUnavailable, message: msgLoading, retryAfter: retryAfterBusy}
	case state.chain == nil:
		x.log.Debug("request to an API that is refused", telemetry.KeyPath, x.r.URL.Path)
		return errorReply(http.StatusServiceUnavailable, msgRefused)
	case !a.expiresAt.IsZero() && !time.Now().Before(a.expiresAt):
		return errorReply(http.StatusForbidden, msgAPIExpired)
	}
	return nil
}

// openBody applies the limit on request bodies and prepares buffering when
// hooks need it. Nothing is read yet.
func (x *exchange) openBody(c *chain) *reply {
	if c.bodyLimit > 0 && x.r.ContentLength > c.bodyLimit {
		x.log.Debug("request body is too long", telemetry.KeyCount, x.r.ContentLength)
		return errorReply(http.StatusRequestEntityTooLarge, msgBodyTooLarge)
	}
	if x.body != nil {
		return nil // buffered by the API that routed the request here
	}
	if c.buffers() {
		x.bufferBody(c)
		return nil
	}
	if x.stream = x.w.body; x.stream != nil && c.bodyLimit > 0 {
		x.stream.ReadCloser = http.MaxBytesReader(x.w.ResponseWriter, x.stream.ReadCloser, c.bodyLimit)
	}
	return nil
}

// bufferBody makes the body that would stream one that is buffered. Nothing of it
// may have been read yet.
func (x *exchange) bufferBody(c *chain) {
	if x.body != nil {
		return
	}
	limit := c.bodyLimit
	if limit <= 0 {
		limit = requestLimit
	}
	x.body, x.stream = hook.NewBody(limit), nil
	x.body.SetBudget(x.gateway.bodies)
}

// bodyError returns why the body that streams could not be read.
func (x *exchange) bodyError() error {
	return x.stream.failure()
}

// clientGone reports whether nobody waits for the answer any more. net/http
// cancels the context of a client that is merely too slow as well.
func (x *exchange) clientGone() bool {
	return x.r.Context().Err() != nil && !errors.Is(x.w.body.failure(), os.ErrDeadlineExceeded)
}

// responseWriter records what was sent, for the access log.
type responseWriter struct {
	http.ResponseWriter
	status int
	size   int64
	began  time.Time
	body   *clientBody // of the request, nil when it has none
}

// WriteHeader implements http.ResponseWriter.
func (w *responseWriter) WriteHeader(code int) {
	if w.status == 0 && (code >= 200 || code == http.StatusSwitchingProtocols) {
		w.status = code
		w.body.answered()
	}
	w.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.size += int64(n)
	return n, err
}

// Hijack implements http.Hijacker. Connections are taken over for an upgrade
// only, whose answer does not pass through WriteHeader.
func (w *responseWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && w.status == 0 {
		w.status = http.StatusSwitchingProtocols
	}
	return conn, rw, err
}

// Unwrap lets http.ResponseController reach flushing and deadlines.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
