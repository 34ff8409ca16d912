package event

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	// maxReply is how much of a reply is read, so that its connection can be
	// used again.
	maxReply = 64 << 10
	// maxRemembered bounds the events that event_timeout keeps in mind.
	maxRemembered = 10_000
	// maxCooldown bounds event_timeout, in seconds: ten years.
	maxCooldown = 10 * 366 * 24 * 3600
)

// WebhookConfig is what a [WebhookHandler] sends where.
type WebhookConfig struct {
	// Method is the HTTP method: GET (without a body), POST, PUT, PATCH or
	// DELETE.
	Method string
	// Target is an absolute http or https URL: target_path.
	Target *url.URL
	// Header is set on each request: header_map.
	Header map[string]string
	// Cooldown is for how long an event that equals one already sent, but for
	// its time, is not sent again: event_timeout. 0 sends all.
	Cooldown time.Duration
}

// WebhookHandler sends events to a web server as JSON, in the form of
// [Event.Payload]: eh_web_hook_handler. Any status but 2xx is a failure; redirects
// are not followed and nothing is sent twice.
type WebhookHandler struct {
	client *http.Client
	cfg    WebhookConfig

	mu   sync.Mutex
	sent map[[sha256.Size]byte]time.Time // until when an event is not sent again
}

// NewHTTPClient returns a client for webhooks that gives up a request after
// timeout. Share one between all handlers.
func NewHTTPClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: timeout,
		// A redirect would turn a POST into a GET, or take the configured
		// headers to a host that the operator did not name.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			MaxIdleConnsPerHost:   4,
			IdleConnTimeout:       30 * time.Second,
			TLSHandshakeTimeout:   timeout,
			ResponseHeaderTimeout: timeout,
			ForceAttemptHTTP2:     true,
		},
	}
}

// NewWebhookHandler returns a handler that sends with client.
func NewWebhookHandler(client *http.Client, cfg WebhookConfig) *WebhookHandler {
	return &WebhookHandler{client: client, cfg: cfg, sent: make(map[[sha256.Size]byte]time.Time)}
}

// Handle implements [Handler].
func (h *WebhookHandler) Handle(ctx context.Context, e Event) error {
	body, err := e.Payload(HandlerWebhook)
	if err != nil {
		return err
	}
	if h.cfg.Cooldown > 0 {
		forget, first, err := h.remember(e)
		if err != nil || !first {
			return err
		}
		if err := h.send(ctx, body); err != nil {
			forget() // the next one shall try again
			return err
		}
		return nil
	}
	return h.send(ctx, body)
}

func (h *WebhookHandler) send(ctx context.Context, body []byte) error {
	req, err := h.request(ctx, body)
	if err != nil {
		return fmt.Errorf("make webhook request: %w", err)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return fmt.Errorf("send webhook: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	if _, err := io.CopyN(io.Discard, resp.Body, maxReply); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read reply of webhook: %w", err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("webhook was answered with status %d", resp.StatusCode)
	}
	return nil
}

func (h *WebhookHandler) request(ctx context.Context, body []byte) (*http.Request, error) {
	var reader io.Reader
	if h.cfg.Method != http.MethodGet {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, h.cfg.Method, h.cfg.Target.String(), reader)
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header.Set("User-Agent", "krait")
	if reader != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range h.cfg.Header {
		if strings.EqualFold(name, "Host") {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	return req, nil
}

// withoutURL returns the cause of a client's error: the URL around it may hold
// credentials.
func withoutURL(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}

// remember says whether e is the first of its kind within the cool-down, and
// notes it then; forget takes that back.
func (h *WebhookHandler) remember(e Event) (forget func(), first bool, err error) {
	now := e.Time
	e.Time = time.Time{}
	kind, err := e.Payload(HandlerWebhook)
	if err != nil {
		return nil, false, err
	}
	key := sha256.Sum256(kind)
	h.mu.Lock()
	defer h.mu.Unlock()
	if until, ok := h.sent[key]; ok && now.Before(until) {
		return nil, false, nil
	}
	if len(h.sent) >= maxRemembered {
		for k, until := range h.sent {
			if !now.Before(until) {
				delete(h.sent, k)
			}
		}
	}
	if len(h.sent) < maxRemembered { // beyond that, rather send twice than not at all
		h.sent[key] = now.Add(h.cfg.Cooldown)
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.sent, key)
	}, true, nil
}

// String returns the handler's name and host, for messages.
func (h *WebhookHandler) String() string { return HandlerWebhook + " " + h.cfg.Target.Host }

var webhookMethods = []string{http.MethodPost, http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete}

// webhookConfig reads the handler_meta of a webhook; ok is false when it got
// faults.
func webhookConfig(m *meta) (cfg WebhookConfig, ok bool) {
	cfg.Method = strings.ToUpper(m.text("method"))
	if cfg.Method == "" {
		cfg.Method = http.MethodPost
	}
	if !slices.Contains(webhookMethods, cfg.Method) {
		m.fault("method", "is not a method that webhooks use", "use "+strings.Join(webhookMethods, ", "))
	}
	if target := m.text("target_path"); !m.faulty("target_path") {
		u, err := url.Parse(target)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			m.fault("target_path", "is not an absolute http or https URL", "set it to the address to send events to, such as https://hooks.example.com/krait")
		}
		cfg.Target = u
	}
	cfg.Header = m.texts("header_map")
	for _, name := range slices.Sorted(maps.Keys(cfg.Header)) {
		if value := cfg.Header[name]; !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			m.fault("header_map."+name, "is not a valid HTTP header", "remove line breaks and characters that headers can't hold")
		}
	}
	cfg.Cooldown = time.Duration(m.whole("event_timeout", maxCooldown)) * time.Second
	return cfg, len(m.faults) == 0
}
