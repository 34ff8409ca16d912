package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/krait-gateway/krait/telemetry"
)

// ServeHTTP routes r to an API. The gateway's own endpoints come first, also
// when an API listens on "/": the health endpoint at exactly its path, and
// everything below [config.AdminPath].
func (g *Gateway) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	g.active.begin()
	defer g.active.end()
	w := &responseWriter{ResponseWriter: rw, began: time.Now(), body: newClientBody(rw, r, g.bodyIdle)}
	id := requestIDOf(r)
	defer g.finish(w, r, id)

	switch {
	case strings.TrimSuffix(r.URL.Path, "/") == g.healthAt:
		g.serveHealth(w, r, id)
		return
	case isAdminPath(r.URL.Path):
		w.Header().Set(headerRequestID, id)
		g.serveAdmin(w, r)
		return
	}
	if answer := g.route(w, r, id); answer != nil {
		answer.write(w, r, id)
	}
}

// route serves r, or returns why no API does.
func (g *Gateway) route(w *responseWriter, r *http.Request, id string) *reply {
	if r.Method == http.MethodConnect || r.URL.Path != "" && r.URL.Path[0] != '/' {
		return errorReply(http.StatusNotFound, msgNotFound) // CONNECT, OPTIONS *
	}
	if hasDotSegment(r.URL.Path) {
		to, ok := cleanTarget(r.URL)
		if !ok {
			return errorReply(http.StatusBadRequest, msgPath)
		}
		w.Header().Set(headerRequestID, id)
		http.Redirect(w, r, to, redirectCode(r.Method))
		return nil
	}
	s := g.use()
	if s == nil {
		return &reply{code: http.StatusServiceUnavailable, message: msgStopping, retryAfter: retryAfterBusy}
	}
	a := s.router.find(r.Host, r.URL.Path)
	if a == nil {
		s.release()
		return errorReply(http.StatusNotFound, msgNotFound)
	}
	g.newExchange(s, w, r, id).serve(a)
	return nil
}

// statusClientGone is what the access log says when nothing was answered.
const statusClientGone = 499

const (
	msgPath     = "Request path is not allowed"
	msgStopping = "Gateway is stopping"
)

// finish recovers from a panic and writes the access log.
func (g *Gateway) finish(w *responseWriter, r *http.Request, id string) {
	fault := recover()
	w.body.end()
	if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		// The response was cut short on purpose: net/http has to close the
		// connection, so that the client notices.
		if w.status == 0 {
			w.status = statusClientGone
		}
		g.access(w, r, id)
		panic(http.ErrAbortHandler)
	}
	if fault != nil {
		g.log.Error("panic while serving a request", telemetry.KeyRequestID, id,
			telemetry.KeyError, fmt.Sprint(fault), telemetry.KeyTraceback, string(debug.Stack()))
		if w.status != 0 {
			g.access(w, r, id)
			panic(http.ErrAbortHandler)
		}
		errorReply(http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError)).write(w, r, id)
	}
	g.access(w, r, id)
}

func (g *Gateway) access(w *responseWriter, r *http.Request, id string) {
	// The level is asked first, because most gateways run without Debug.
	if !g.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	g.log.Debug("request served", telemetry.KeyRequestID, id, telemetry.KeyMethod, r.Method,
		telemetry.KeyHost, r.Host, telemetry.KeyPath, r.URL.Path, telemetry.KeyStatus, w.status,
		telemetry.KeyCount, w.size, telemetry.KeyDuration, time.Since(w.began))
}
