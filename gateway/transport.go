package gateway

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/krait-gateway/krait/apidef"
)

const (
	defaultIdlePerHost  = 256
	dialTimeout         = 30 * time.Second
	dialKeepAlive       = 30 * time.Second
	idleTimeout         = 90 * time.Second
	tlsHandshakeTimeout = 10 * time.Second
)

// transportConfig says how connections to the upstreams of one API are made.
type transportConfig struct {
	idlePerHost int           // 0 means defaultIdlePerHost
	timeout     time.Duration // to connect and to wait for response headers; 0 means dialTimeout and no limit
	// insecureSkipVerify is an operator's explicit choice, for one API or for
	// all.
	insecureSkipVerify bool
}

// poolKey is equal for APIs that can use the same connections: an API and what
// becomes of it by a reload, unless it connects differently.
type poolKey struct {
	apiID   string
	config  transportConfig
	h2cHost string
}

// pools are the connections of all APIs. It is safe for concurrent use.
type pools struct {
	mu    sync.Mutex
	byKey map[poolKey]*pool
}

type pool struct {
	transports *transports
	users      int
}

// take returns the connections for key; the caller gives them up with free.
func (p *pools) take(key poolKey, t target) (_ *transports, free func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.byKey[key]
	if one == nil {
		one = &pool{transports: newTransports(key.config, t)}
		p.byKey[key] = one
	}
	one.users++
	return one.transports, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if one.users--; one.users == 0 {
			delete(p.byKey, key)
			one.transports.close()
		}
	}
}

// connections returns those of a, which a gives up when it is freed.
func (g *Gateway) connections(a *api, to target, def *apidef.API) *transports {
	key := poolKey{apiID: a.id, config: transportConfig{
		idlePerHost:        g.config.MaxIdleConnectionsPerHost,
		timeout:            time.Duration(g.config.ProxyDefaultTimeout * float64(time.Second)),
		insecureSkipVerify: def.Proxy.Transport.SSLInsecureSkipVerify || g.config.ProxySSLInsecureSkipVerify,
	}}
	if to.h2c {
		key.h2cHost = to.url.Host
	}
	connections, free := g.pools.take(key, to)
	a.parts = append(a.parts, free)
	return connections
}

// transports are the connection pools of one API: one that speaks HTTP/1.1 or,
// where TLS negotiates it, HTTP/2, and one for an h2c target. It is safe for
// concurrent use.
type transports struct {
	std *http.Transport
	h2c *http.Transport // nil when the target is not h2c
	// h2cHost is the host that h2c goes to; absolute URLs of hooks may name
	// another one, which is not known to speak it.
	h2cHost string
}

func newTransports(c transportConfig, t target) *transports {
	if c.idlePerHost <= 0 {
		c.idlePerHost = defaultIdlePerHost
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	ts := &transports{std: c.build(&protocols)}
	if t.h2c {
		var prior http.Protocols
		prior.SetUnencryptedHTTP2(true)
		ts.h2c, ts.h2cHost = c.build(&prior), t.url.Host
	}
	return ts
}

func (c transportConfig) build(protocols *http.Protocols) *http.Transport {
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}
	if c.timeout > 0 {
		dialer.Timeout = min(c.timeout, dialTimeout)
	}
	return &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: dialer.DialContext,
		TLSClientConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			InsecureSkipVerify: c.insecureSkipVerify, //nolint:gosec // see transportConfig
		},
		TLSHandshakeTimeout:   tlsHandshakeTimeout,
		MaxIdleConnsPerHost:   c.idlePerHost,
		IdleConnTimeout:       idleTimeout,
		ResponseHeaderTimeout: c.timeout,
		// A proxy passes encodings on, it does not add or undo them.
		DisableCompression: true,
		Protocols:          protocols,
	}
}

// RoundTrip implements http.RoundTripper.
func (ts *transports) RoundTrip(r *http.Request) (*http.Response, error) {
	if ts.h2c != nil && r.URL.Scheme == "http" && r.URL.Host == ts.h2cHost {
		return ts.h2c.RoundTrip(r)
	}
	return ts.std.RoundTrip(r)
}

// close closes idle connections; those in use close when they become idle.
func (ts *transports) close() {
	ts.std.CloseIdleConnections()
	if ts.h2c != nil {
		ts.h2c.CloseIdleConnections()
	}
}

// tlsVersion maps the version numbers of tyk.conf (ssl_min_version,
// min_version) to Go's; they are the same numbers, checked here.
func tlsVersion(number uint16) (uint16, error) {
	switch number {
	case 0:
		return tls.VersionTLS12, nil
	case tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13:
		return number, nil
	}
	return 0, fmt.Errorf("min_version: %d is not a TLS version (769 is 1.0, 770 is 1.1, 771 is 1.2, 772 is 1.3)", number)
}
