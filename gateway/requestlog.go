package gateway

import (
	"context"
	"log/slog"

	"github.com/krait-gateway/krait/telemetry"
)

// requestHandler adds the request's id to what is logged. Unlike
// [slog.Logger.With] it does nothing before: most requests log nothing.
type requestHandler struct {
	slog.Handler
	id string
}

// requestLog returns log for the request id.
func requestLog(log *slog.Logger, id string) *slog.Logger {
	return slog.New(&requestHandler{Handler: log.Handler(), id: id})
}

func (h *requestHandler) with() slog.Handler {
	return h.Handler.WithAttrs([]slog.Attr{slog.String(telemetry.KeyRequestID, h.id)})
}

// Handle implements slog.Handler.
func (h *requestHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.with().Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *requestHandler) WithAttrs(attrs []slog.Attr) slog.Handler { return h.with().WithAttrs(attrs) }

// WithGroup implements slog.Handler.
func (h *requestHandler) WithGroup(name string) slog.Handler { return h.with().WithGroup(name) }
