package event

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/jsonfile"
)

// Names of the handlers that an API definition can give (contract section 8).
const (
	HandlerPlugin  = "cp_dynamic_handler"
	HandlerLog     = "eh_log_handler"
	HandlerWebhook = "eh_web_hook_handler"
)

// HandlerConfig is one entry of event_handlers.events.<event name>.
type HandlerConfig struct {
	// Name is one of the Handler constants: handler_name.
	Name string
	// Meta is handler_meta as JSON decodes it; numbers may be json.Number.
	Meta map[string]any
}

// Deps are what [NewHandlers] builds handlers with.
type Deps struct {
	// File names the API definition, for messages.
	File string
	// Dispatcher reaches the API's plugin code; nil when it has none, which
	// makes a plugin handler a fault.
	Dispatcher coprocess.Dispatcher
	// HTTP sends webhooks: one client for all APIs, see [NewHTTPClient]. nil
	// makes a client for these handlers.
	HTTP *http.Client
	// Logger gets what log handlers write; nil means slog.Default().
	Logger *slog.Logger
}

// NewHandlers builds the handlers of one API from its event_handlers.events. All
// faults are reported together, as a [*jsonfile.Error]. The warnings name members
// of handler_meta that have no effect, and handlers that are not known here:
// they protect nothing, so their API is served without them. An entry with "disabled": true in its
// meta is checked but left out.
func NewHandlers(events map[string][]HandlerConfig, deps Deps) (Handlers, []string, error) {
	if deps.Logger == nil {
		deps.Logger = slog.Default()
	}
	if deps.HTTP == nil {
		deps.HTTP = NewHTTPClient(DefaultHandlerTimeout)
	}
	var (
		built    = make(Handlers, len(events))
		faults   []jsonfile.Fault
		warnings []string
	)
	for _, name := range slices.Sorted(maps.Keys(events)) {
		for i, cfg := range events[name] {
			entry := "event_handlers.events." + name + "[" + strconv.Itoa(i) + "]"
			if !known(cfg.Name) {
				warnings = append(warnings, fmt.Sprintf("%s: %s.handler_name: %q is not a handler and has no effect; use %s, %s or %s",
					deps.File, entry, cfg.Name, HandlerPlugin, HandlerLog, HandlerWebhook))
				continue
			}
			m := newMeta(deps.File, entry, cfg.Meta)
			disabled := m.boolean("disabled")
			h := build(cfg.Name, m, deps)
			faults = append(faults, m.faults...)
			warnings = append(warnings, m.unused()...)
			if len(m.faults) == 0 && !disabled {
				built[name] = append(built[name], h)
			}
		}
	}
	if err := jsonfile.NewError(faults); err != nil {
		return nil, warnings, err
	}
	return built, warnings, nil
}

// build returns the handler of that name, or nil when m got faults.
func build(name string, m *meta, deps Deps) Handler {
	switch name {
	case HandlerLog:
		return NewLogHandler(deps.Logger, m.text("prefix"))
	case HandlerPlugin:
		function := m.text("name")
		if function == "" && !m.faulty("name") {
			m.fault("name", "is missing", "set it to the name of the @Event function")
		}
		if deps.Dispatcher == nil {
			m.fault("", "the API has no plugin that could handle events", "configure custom_middleware with a driver, or remove this handler")
			return nil
		}
		return NewPluginHandler(deps.Dispatcher, function)
	case HandlerWebhook:
		cfg, ok := webhookConfig(m)
		if !ok {
			return nil
		}
		return NewWebhookHandler(deps.HTTP, cfg)
	}
	return nil
}

func known(name string) bool {
	return name == HandlerPlugin || name == HandlerLog || name == HandlerWebhook
}
