package event

import (
	"context"
	"log/slog"

	"github.com/krait-gateway/krait/telemetry"
)

// LogHandler writes events to the log: eh_log_handler.
type LogHandler struct {
	logger *slog.Logger
	prefix string
}

// NewLogHandler returns a handler that writes to logger. prefix (the meta's
// prefix) tells its lines from others'; "" leaves it out.
func NewLogHandler(logger *slog.Logger, prefix string) *LogHandler {
	return &LogHandler{logger: logger, prefix: prefix}
}

// Handle implements [Handler]. It never fails. The level is warn, so that a log
// cut down to what matters still has what the operator asked for by name.
func (h *LogHandler) Handle(ctx context.Context, e Event) error {
	attrs := []slog.Attr{
		slog.String(telemetry.KeyEvent, e.Name), slog.String(telemetry.KeyAPIID, e.APIID),
		slog.String(telemetry.KeyOrgID, e.OrgID), slog.Time("fired_at", e.Time), slog.Any("meta_data", e.MetaData),
	}
	if e.RequestID != "" {
		attrs = append(attrs, slog.String(telemetry.KeyRequestID, e.RequestID))
	}
	if h.prefix != "" {
		attrs = append(attrs, slog.String("prefix", h.prefix))
	}
	h.logger.LogAttrs(ctx, slog.LevelWarn, "event", attrs...)
	return nil
}

// String returns the handler's name, for messages.
func (h *LogHandler) String() string { return HandlerLog }
