package bundle

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/krait-gateway/krait/telemetry"
)

const (
	maxRedirects  = 5
	maxRetryAfter = 30 * time.Second
	maxRetryDelay = 15 * time.Second
)

var errRedirect = errors.New("redirect refused")

// parseBase reads bundle_base_url.
func parseBase(text string) (*url.URL, error) {
	base, err := url.Parse(text)
	if err != nil {
		// url.Error repeats the text, which may hold a password.
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return nil, fmt.Errorf("bundle_base_url: is not a URL: %w", err)
	}
	switch base.Scheme {
	case "http", "https":
		if base.Host == "" {
			return nil, fmt.Errorf("bundle_base_url: %q has no host; write for example https://host/bundles/", plain(base))
		}
	case "file":
		if directory(base) == "" {
			return nil, errors.New("bundle_base_url: has no path; write for example file:///srv/bundles/")
		}
	case "":
		return nil, fmt.Errorf("bundle_base_url: %q has no scheme; begin it with http://, https:// or file://", plain(base))
	default:
		return nil, fmt.Errorf("bundle_base_url: the scheme %q is not supported; use http, https or file", base.Scheme)
	}
	return base, nil
}

// directory returns the path of a file URL. "file://localhost/x" is "/x" (RFC
// 8089); with another host it is a relative path, as the reference has it.
func directory(base *url.URL) string {
	if base.Host == "" || base.Host == "localhost" {
		return filepath.FromSlash(base.Path)
	}
	return filepath.FromSlash(base.Host + base.Path)
}

// plain returns an address for messages: without credentials and query.
func plain(address *url.URL) string {
	shown := *address
	shown.User, shown.RawQuery, shown.Fragment = nil, "", ""
	return shown.String()
}

// source returns the address of the bundle name.
func (f *Fetcher) source(name string) (*url.URL, error) {
	if f.base == nil {
		return nil, errors.New("bundle_base_url: is not set; set it to where bundles are served")
	}
	address := *f.base
	if address.Path == "" {
		address.Path = "/"
	}
	if address.Scheme != "file" {
		parts := strings.Split(name, "/")
		for i, part := range parts {
			parts[i] = url.PathEscape(part)
		}
		return address.JoinPath(parts...), nil
	}
	address.Host, address.Path = "", filepath.Join(directory(f.base), filepath.FromSlash(name))
	address.RawPath, address.RawQuery = "", ""
	return &address, nil
}

func newClient(config Config) *http.Client {
	dialer := &net.Dialer{Timeout: min(10*time.Second, config.AttemptTimeout)}
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dialer.DialContext,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			IdleConnTimeout:       30 * time.Second,
			MaxIdleConnsPerHost:   2,
			ForceAttemptHTTP2:     true,
			DisableCompression:    true, // the bytes of the zip are wanted, within their limit
			TLSClientConfig: &tls.Config{
				MinVersion:         tls.VersionTLS12,
				InsecureSkipVerify: config.InsecureSkipVerify, //nolint:gosec // bundle_insecure_skip_verify
			},
		},
		CheckRedirect: func(request *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("%w: more than %d", errRedirect, maxRedirects)
			}
			if scheme := request.URL.Scheme; scheme != "http" && scheme != "https" {
				return fmt.Errorf("%w: to the scheme %q", errRedirect, scheme)
			}
			if via[0].URL.Scheme == "https" && request.URL.Scheme != "https" {
				return fmt.Errorf("%w: from https to http", errRedirect)
			}
			return nil
		},
	}
}

// get writes what is at source into the file archive. unchanged says that it
// is the bundle already present and that nothing was written.
func (f *Fetcher) get(ctx context.Context, source *url.URL, archive string, present *fetched) (state download, unchanged bool, err error) {
	if source.Scheme == "file" {
		return download{}, false, f.takeFile(ctx, source.Path, archive)
	}
	known := download{}
	hash := sha256.Sum256([]byte(source.String()))
	if present != nil && present.place.version != "" {
		if state := readState(present.place.version); state.Source == hex.EncodeToString(hash[:]) {
			known = state
		}
	}
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval = f.config.RetryDelay, maxRetryDelay
	state, err = backoff.Retry(ctx, func() (download, error) {
		attempt, cancel := context.WithTimeout(ctx, f.config.AttemptTimeout)
		defer cancel()
		state, err := f.request(attempt, source, archive, known)
		if err != nil && ctx.Err() == nil && attempt.Err() != nil {
			err = fmt.Errorf("no complete answer within %s: %w", f.config.AttemptTimeout, err)
		}
		return state, err
	},
		backoff.WithBackOff(delays),
		backoff.WithMaxTries(uint(f.config.Attempts)),
		backoff.WithMaxElapsedTime(f.config.Timeout),
		backoff.WithNotify(func(err error, delay time.Duration) {
			f.config.Logger.Debug("bundle download is tried again",
				telemetry.KeyURL, plain(source), telemetry.KeyError, err.Error(), telemetry.KeyDuration, delay)
		}))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Unwrap() // the library does this, but not on the last try
	}
	if errors.Is(err, errNotModified) {
		return known, true, nil
	}
	if err != nil {
		return download{}, false, fmt.Errorf("GET %s: %w", plain(source), err)
	}
	state.Source = hex.EncodeToString(hash[:])
	return state, false, nil
}

var errNotModified = errors.New("not modified")

// request makes one attempt. Errors that another attempt cannot cure are
// permanent.
func (f *Fetcher) request(ctx context.Context, source *url.URL, archive string, known download) (_ download, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, source.String(), nil)
	if err != nil {
		return download{}, backoff.Permanent(err)
	}
	request.Header.Set("User-Agent", "krait")
	request.Header.Set("Cache-Control", "no-cache")
	switch {
	case known.ETag != "":
		request.Header.Set("If-None-Match", known.ETag)
	case known.LastModified != "":
		request.Header.Set("If-Modified-Since", known.LastModified)
	}
	response, err := f.client.Do(request)
	if err != nil {
		return download{}, classify(err)
	}
	defer func() { _ = response.Body.Close() }()
	if err := checkStatus(response, known); err != nil {
		return download{}, err
	}
	if response.ContentLength > f.config.Limits.Archive {
		return download{}, backoff.Permanent(f.tooLarge())
	}
	if err := f.save(response.Body, archive); err != nil {
		return download{}, err
	}
	if err := sniff(archive, response.Header.Get("Content-Type")); err != nil {
		return download{}, backoff.Permanent(err)
	}
	return download{ETag: response.Header.Get("ETag"), LastModified: strongDate(response.Header)}, nil
}

// classify makes errors permanent that come from settings, not from the
// network.
func classify(err error) error {
	// url.Error repeats the address, which may hold credentials.
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return backoff.Permanent(fmt.Errorf("%w; install the issuer's certificate or set bundle_insecure_skip_verify", err))
	}
	if errors.Is(err, errRedirect) {
		return backoff.Permanent(err)
	}
	return err
}

func checkStatus(response *http.Response, known download) error {
	status := response.StatusCode
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusNotModified && (known.ETag != "" || known.LastModified != ""):
		return backoff.Permanent(errNotModified)
	case status == http.StatusNotFound, status == http.StatusGone:
		return backoff.Permanent(mark(ErrNotFound,
			"the server answered %s; check bundle_base_url and the bundle's name", response.Status))
	case status >= 500, status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		err := fmt.Errorf("the server answered %s", response.Status)
		seconds, parseErr := strconv.Atoi(response.Header.Get("Retry-After"))
		if parseErr == nil && seconds >= 0 && seconds <= int(maxRetryAfter/time.Second) {
			return fmt.Errorf("%w (%w)", err, backoff.RetryAfter(seconds))
		}
		return err
	default:
		return backoff.Permanent(fmt.Errorf("the server answered %s, 200 OK is needed; check bundle_base_url", response.Status))
	}
}

func (f *Fetcher) tooLarge() error {
	return mark(ErrTooLarge, "more than %d bytes", f.config.Limits.Archive)
}

// save writes body into a new file, within the limit.
func (f *Fetcher) save(body io.Reader, path string) (err error) {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return backoff.Permanent(err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	size, err := io.Copy(out, io.LimitReader(body, f.config.Limits.Archive+1))
	var local *os.PathError // the disk, not the network
	switch {
	case errors.As(err, &local):
		return backoff.Permanent(err)
	case err != nil:
		return fmt.Errorf("after %d bytes: %w", size, err)
	case size > f.config.Limits.Archive:
		return backoff.Permanent(f.tooLarge())
	}
	return nil
}

// sniff recognises answers that are no zip at all, such as a web page about it.
func sniff(archive, contentType string) (err error) {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	start := make([]byte, 2)
	if n, _ := io.ReadFull(file, start); n == len(start) && string(start) == "PK" {
		return nil
	}
	return mark(ErrBroken, "the answer is not a zip (its content type is %q); check that bundle_base_url leads to the file itself", contentType)
}

// strongDate returns the Last-Modified of an answer when it tells two versions
// apart. It counts whole seconds, so a file that was written just before may
// have been written again since (RFC 9110 section 8.8.2.2).
func strongDate(header http.Header) string {
	modified, err := http.ParseTime(header.Get("Last-Modified"))
	if err != nil {
		return ""
	}
	sent, err := http.ParseTime(header.Get("Date"))
	if err != nil || sent.Sub(modified) < 2*time.Second {
		return ""
	}
	return header.Get("Last-Modified")
}

// takeFile takes the bundle from a file URL: a zip, or the directory of one that
// is not built, for development.
func (f *Fetcher) takeFile(ctx context.Context, path, archive string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return mark(ErrNotFound, "%w; check bundle_base_url and the bundle's name", err)
	case err != nil:
		return err
	case info.IsDir():
		return f.buildDirectory(ctx, path, archive)
	case !info.Mode().IsRegular():
		return mark(ErrBroken, "%s is not a file", path)
	case info.Size() > f.config.Limits.Archive:
		return fmt.Errorf("%s: %w", path, f.tooLarge())
	}
	return f.copyFile(path, archive)
}

// buildDirectory builds the bundle whose manifest and files are in dir. It has
// no signatures.
func (f *Fetcher) buildDirectory(ctx context.Context, dir, archive string) error {
	if f.options.PublicKey != nil {
		return mark(ErrUnsigned, "%s is a directory, which nothing signs, and public_key_path is set; build and sign the bundle with \"krait bundle build --key\"", dir)
	}
	manifest := filepath.Join(dir, manifestName)
	if _, err := os.Stat(manifest); err != nil {
		return mark(ErrNotFound, "%w; a bundle is a zip, or a directory with a %s", err, manifestName)
	}
	_, err := build(ctx, BuildConfig{Manifest: manifest, Output: archive, Limits: f.config.Limits})
	return err
}

// copyFile copies a zip: unpacking reads it more than once, and it may be
// replaced meanwhile.
func (f *Fetcher) copyFile(path, archive string) (err error) {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	err = f.save(in, archive)
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Unwrap()
	}
	return err
}
