package event

import (
	"context"
	"fmt"

	coprocess "github.com/krait-gateway/krait"
)

// PluginHandler passes events to plugin code, to an @Event function or to
// DispatchEvent of a gRPC server: cp_dynamic_handler.
type PluginHandler struct {
	dispatcher coprocess.Dispatcher
	name       string
}

// NewPluginHandler returns a handler that calls the function name by way of
// dispatcher.
func NewPluginHandler(dispatcher coprocess.Dispatcher, name string) *PluginHandler {
	return &PluginHandler{dispatcher: dispatcher, name: name}
}

// Handle implements [Handler].
func (h *PluginHandler) Handle(ctx context.Context, e Event) error {
	data, err := e.Payload(h.name)
	if err != nil {
		return err
	}
	if e.RequestID != "" {
		ctx = coprocess.WithRequestID(ctx, e.RequestID)
	}
	if err := h.dispatcher.DispatchEvent(ctx, data); err != nil {
		return fmt.Errorf("dispatch event to %q: %w", h.name, err)
	}
	return nil
}

// String returns the handler's name, for messages.
func (h *PluginHandler) String() string { return HandlerPlugin + " " + h.name }
