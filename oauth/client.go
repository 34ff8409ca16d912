package oauth

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/krait-gateway/krait/apidef"
)

const (
	// defaultTimeout bounds a request to the provider that has no
	// request_timeout.
	defaultTimeout = 5 * time.Second
	// maxAnswer is the longest answer of a provider, in bytes.
	maxAnswer = 1 << 20
	// maxRedirects is how often the address of a JWKS may move.
	maxRedirects = 3
	// maxConnections bounds the connections to a provider; further requests
	// wait for one within their time limit.
	maxConnections = 64
	idleTimeout    = 60 * time.Second
)

// client sends requests to a provider.
type client struct {
	http      *http.Client
	transport *http.Transport
}

// clientConfig are the settings of a client. seconds is request_timeout.
type clientConfig struct {
	tls     apidef.OAuthTLS
	seconds int64
}

func newClient(c clientConfig) (*client, error) {
	timeout := defaultTimeout
	if c.seconds > 0 {
		timeout = time.Duration(c.seconds) * time.Second
	}
	trust := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: c.tls.InsecureSkipVerify, //nolint:gosec // an operator's explicit choice, off by default
	}
	if c.tls.CAFile != "" {
		pem, err := os.ReadFile(c.tls.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		trust.RootCAs = x509.NewCertPool()
		if !trust.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("tls.ca_file: %s holds no certificate in PEM form", c.tls.CAFile)
		}
	}
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
		TLSClientConfig:        trust,
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost:        maxConnections,
		MaxIdleConnsPerHost:    maxConnections,
		IdleConnTimeout:        idleTimeout,
		ForceAttemptHTTP2:      true,
	}
	return &client{
		http:      &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: checkRedirect},
		transport: transport,
	}, nil
}

// checkRedirect lets the address of a JWKS move, but not to another scheme. What
// carries credentials is never sent elsewhere.
func checkRedirect(next *http.Request, via []*http.Request) error {
	if via[0].Method != http.MethodGet {
		return http.ErrUseLastResponse
	}
	if len(via) > maxRedirects {
		return fmt.Errorf("redirects more than %d times", maxRedirects)
	}
	if next.URL.Scheme != via[0].URL.Scheme {
		return errors.New("redirects to another scheme")
	}
	return nil
}

func (c *client) close() { c.transport.CloseIdleConnections() }

// answer is what a provider sent.
type answer struct {
	status int
	// media is the content type without parameters, in lower case.
	media string
	body  []byte
}

// do sends r and reads the answer. The error is [ErrUnavailable], or that of
// r's context.
func (c *client) do(r *http.Request) (answer, error) {
	resp, err := c.http.Do(r)
	if err != nil {
		return answer{}, unavailable(r, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, unavailable(r, err)
	}
	if len(body) > maxAnswer {
		return answer{}, unavailable(r, fmt.Errorf("its answer is longer than %d bytes", maxAnswer))
	}
	return answer{status: resp.StatusCode, media: mediaType(resp.Header.Get("Content-Type")), body: body}, nil
}

// mediaType returns the type of a Content-Type, "" when it cannot be read: then
// the answer is not used either.
func mediaType(contentType string) string {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return ""
	}
	return media
}

// unavailable wraps err with the provider's address, without its query.
func unavailable(r *http.Request, err error) error {
	if ended := r.Context().Err(); ended != nil && errors.Is(ended, context.Canceled) {
		return ended
	}
	var inner *url.Error
	if errors.As(err, &inner) {
		err = inner.Err // its text would repeat the whole URL
	}
	return fmt.Errorf("%w: %s://%s%s: %w", ErrUnavailable, r.URL.Scheme, r.URL.Host, r.URL.EscapedPath(), err)
}
