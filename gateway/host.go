package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/telemetry"
)

const (
	// pluginDataPrefix begins the key of everything that plugin code stores
	// (contract section 4).
	pluginDataPrefix = "coprocess-data:"
	// pluginStoreTimeout bounds one access of plugin code to the store, which
	// keeps a hook waiting.
	pluginStoreTimeout = 3 * time.Second
	// sourcePlugin marks log lines that plugin code wrote.
	sourcePlugin = "plugin"
)

var _ coprocess.Host = (*Host)(nil)

// Host answers plugin code: it implements [coprocess.Host] with a store, an
// event receiver and a logger. It is safe for concurrent use.
type Host struct {
	store  store.Store
	events Events
	log    *slog.Logger
}

// NewHost returns a Host. events may be nil, which drops events. Closing s is
// up to the caller.
func NewHost(s store.Store, events Events, log *slog.Logger) *Host {
	if events == nil {
		events = noEvents{}
	}
	return &Host{store: s, events: events, log: log.With(telemetry.KeySource, sourcePlugin)}
}

// StoreData keeps value under the plugin's key, for at most 3 s of waiting. A
// ttl of 0 or less means no expiry.
func (h *Host) StoreData(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, pluginStoreTimeout)
	defer cancel()
	if err := h.store.Set(ctx, pluginDataPrefix+key, value, max(ttl, 0)); err != nil {
		return fmt.Errorf("store plugin data: %w", err)
	}
	return nil
}

// GetData returns what is stored under the plugin's key, or nil when there is
// nothing, after at most 3 s of waiting.
func (h *Host) GetData(ctx context.Context, key string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, pluginStoreTimeout)
	defer cancel()
	value, err := h.store.Get(ctx, pluginDataPrefix+key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get plugin data: %w", err)
	}
	return value, nil
}

// Log writes message of plugin code. Levels other than debug, warning and error
// are info (contract section 4).
func (h *Host) Log(origin coprocess.Origin, level, message string) {
	at := slog.LevelInfo
	switch level {
	case "debug":
		at = slog.LevelDebug
	case "warning", "warn":
		at = slog.LevelWarn
	case "error":
		at = slog.LevelError
	}
	h.log.LogAttrs(context.Background(), at, message, originAttrs(origin)...) //nolint:sloglint // the message is the plugin's
}

// originAttrs leaves out what is not known.
func originAttrs(o coprocess.Origin) []slog.Attr {
	var attrs []slog.Attr
	for _, a := range []slog.Attr{
		slog.String(telemetry.KeyRequestID, o.RequestID), slog.String(telemetry.KeyAPIID, o.APIID),
		slog.String(telemetry.KeyBundle, o.Bundle), slog.String(telemetry.KeyHook, o.Hook),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	return attrs
}
