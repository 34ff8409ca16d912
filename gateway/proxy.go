package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/krait-gateway/krait/telemetry"
)

// proxyBufferSize is the size, in bytes, of the buffers that bodies are copied
// through.
const proxyBufferSize = 32 << 10

// upstream sends requests of one API to its target.
type upstream struct {
	target       target
	listenPath   string
	strip        bool
	preserveHost bool
	transports   *transports
	proxy        *httputil.ReverseProxy
}

// upstreamConfig says how an upstream behaves.
type upstreamConfig struct {
	target       target
	listenPath   string
	strip        bool          // strip_listen_path
	preserveHost bool          // preserve_host_header
	flush        time.Duration // 0: when a buffer is full; streams flush at once anyway
	transports   *transports
	buffers      *bufferPool
	log          *slog.Logger
}

func newUpstream(c upstreamConfig) *upstream {
	u := &upstream{
		target: c.target, listenPath: c.listenPath, strip: c.strip, preserveHost: c.preserveHost, transports: c.transports,
	}
	u.proxy = &httputil.ReverseProxy{
		Rewrite:        u.rewrite,
		Transport:      u.transports,
		FlushInterval:  c.flush,
		BufferPool:     c.buffers,
		ModifyResponse: modifyResponse,
		ErrorHandler:   proxyError,
		// What ReverseProxy logs itself are bodies cut short by either side.
		ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	return u
}

// serve sends x.r to the upstream and the answer to x.w.
func (u *upstream) serve(x *exchange) *reply {
	to, err := u.resolve(x.r.URL)
	if err != nil {
		x.log.Error("cannot build the upstream URL", telemetry.KeyError, err.Error(), telemetry.KeyPath, x.r.URL.Path)
		return errorReply(http.StatusInternalServerError, msgProxy)
	}
	x.upstreamURL = to
	x.settle()
	u.proxy.ServeHTTP(x.w, x.r)
	return nil
}

// resolve returns where a request for in goes: the absolute URL that a hook
// asked for, or the target with the (stripped) path and query of in.
func (u *upstream) resolve(in *url.URL) (*url.URL, error) {
	if in.Scheme != "" {
		to := *in
		return &to, nil
	}
	sub := escapedPath(in.EscapedPath())
	if u.strip {
		sub = stripListenPath(sub, u.listenPath)
	}
	to := *u.target.url
	if err := joinPaths(escapedPath(to.EscapedPath()), sub).set(&to); err != nil {
		return nil, err
	}
	to.RawQuery = joinQueries(u.target.url.RawQuery, in.RawQuery)
	to.ForceQuery = in.ForceQuery
	to.Fragment, to.RawFragment, to.User = "", "", nil
	return &to, nil
}

// rewrite finishes the upstream request. As the reference, the gateway appends
// to X-Forwarded-For and passes the other forwarding headers as the client
// sent them; ReverseProxy has removed them from pr.Out.
func (u *upstream) rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	pr.Out.URL = x.upstreamURL
	pr.Out.Host = x.upstreamURL.Host
	if u.preserveHost {
		pr.Out.Host = pr.In.Host
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values, ok := pr.In.Header[name]; ok {
			pr.Out.Header[name] = values
		}
	}
	hops := pr.In.Header["X-Forwarded-For"]
	if ip, _, err := net.SplitHostPort(pr.In.RemoteAddr); err == nil {
		hops = append(hops[:len(hops):len(hops)], ip)
	}
	if len(hops) > 0 {
		pr.Out.Header.Set("X-Forwarded-For", strings.Join(hops, ", "))
	}
}

// modifyResponse runs the response hooks. An error makes ReverseProxy drop the
// response and call proxyError.
func modifyResponse(resp *http.Response) error {
	if len(resp.Trailer) > 0 {
		// An HTTP/1.1 client gets trailers behind a chunked body only (RFC
		// 9112 section 7.1.2), while an HTTP/2 upstream may state a length.
		resp.Header.Del("Content-Length")
	}
	x := exchangeOf(resp.Request.Context())
	if err := x.runResponseHooks(resp); err != nil {
		return err
	}
	if x.quota != nil {
		x.quota.writeTo(resp.Header)
	}
	// The id that the logs have, unless the upstream has one of its own.
	if len(resp.Header.Values(headerRequestID)) == 0 {
		resp.Header.Set(headerRequestID, x.requestID)
	}
	return nil
}

// proxyError answers for a request that got no usable response.
func proxyError(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	x.proxyFailure(err).write(w, x.r, x.requestID)
}

// proxyFailure logs err and says what the client gets to see. Statuses and
// messages are the reference's; a client that is gone gets nothing.
func (x *exchange) proxyFailure(err error) *reply {
	var failed *hookFailure
	if errors.As(err, &failed) {
		return x.hookReply(failed)
	}
	if x.clientGone() {
		x.log.Debug("client closed the request while the upstream was answering", telemetry.KeyError, err.Error())
		return &reply{dropped: true}
	}
	if readErr := x.bodyError(); readErr != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](readErr); ok {
			x.log.Debug("request body is too long", telemetry.KeyCount, tooLarge.Limit)
			return errorReply(http.StatusRequestEntityTooLarge, msgBodyTooLarge)
		}
		x.log.Debug("request body cannot be read", telemetry.KeyError, readErr.Error())
		if errors.Is(readErr, os.ErrDeadlineExceeded) {
			return errorReply(http.StatusRequestTimeout, msgBodyTimeout)
		}
		return errorReply(http.StatusBadRequest, msgBodyRead)
	}
	at := *x.upstreamURL
	at.RawQuery = "" // keys and tokens may be there
	x.log.Error("upstream request failed", telemetry.KeyURL, at.Redacted(), telemetry.KeyError, err.Error())
	var network net.Error
	var lookup *net.DNSError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return errorReply(http.StatusGatewayTimeout, msgUpstreamTimeout)
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return errorReply(http.StatusInternalServerError, msgUpstreamLookup)
	}
	return errorReply(http.StatusInternalServerError, msgProxy)
}

// bufferPool lends the buffers that ReverseProxy copies bodies through.
type bufferPool struct{ pool sync.Pool }

func newBufferPool() *bufferPool {
	return &bufferPool{pool: sync.Pool{New: func() any { return new([proxyBufferSize]byte) }}}
}

// Get returns a buffer of proxyBufferSize bytes.
func (p *bufferPool) Get() []byte {
	buf, ok := p.pool.Get().(*[proxyBufferSize]byte)
	if !ok {
		buf = new([proxyBufferSize]byte)
	}
	return buf[:]
}

// Put takes a buffer back.
func (p *bufferPool) Put(buf []byte) {
	if len(buf) == proxyBufferSize {
		p.pool.Put((*[proxyBufferSize]byte)(buf))
	}
}
