package gateway

import (
	"net"
	"net/http"
	"strings"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/jsonfile"
	"github.com/krait-gateway/krait/telemetry"
)

// Events receives events and what handles them; *event.Bus is one. Fire must
// never block. It must be safe for concurrent use.
type Events interface {
	Fire(event.Event)
	// Configure replaces all handlers, by API id. handled is closed when the
	// events that were fired before are handled or dropped.
	Configure(apis map[string]event.API) (handled <-chan struct{})
}

// noEvents drops all events.
type noEvents struct{}

// Fire drops the event.
func (noEvents) Fire(event.Event) {}

// Configure has nothing to wait for.
func (noEvents) Configure(map[string]event.API) <-chan struct{} {
	handled := make(chan struct{})
	close(handled)
	return handled
}

// keyFailure is the metadata of AuthFailure, KeyExpired, RatelimitExceeded and
// QuotaExceeded events. Unlike the
// reference it carries neither the key itself nor the whole request, because
// handlers write it to logs and send it to other servers.
type keyFailure struct {
	Message string
	Path    string
	Origin  string
	Key     string // hash
}

// quotaTrigger is the metadata of TriggerExceeded events.
type quotaTrigger struct {
	Message, OrgID string
	Key            string // hash
	// In per cent of the quota.
	TriggerLimit, UsagePercentage float64
}

// pluginMessage is the metadata of events that plugin code fires.
type pluginMessage struct {
	Message string
}

func (x *exchange) authFailed(key string) { x.fireKeyFailure(event.AuthFailure, "Auth Failure", key) }

func (x *exchange) keyExpired(message string) {
	x.fireKeyFailure(event.KeyExpired, message, x.token)
}

func (x *exchange) rateExceeded() {
	x.fireKeyFailure(event.RatelimitExceeded, "Key Rate Limit Exceeded", x.token)
}

func (x *exchange) quotaExceeded() {
	x.fireKeyFailure(event.QuotaExceeded, "Key Quota Limit Exceeded", x.token)
}

func (x *exchange) triggerExceeded(limit, usage float64) {
	x.fire(event.TriggerExceeded, quotaTrigger{
		Message: "Quota trigger reached", OrgID: x.api.orgID, Key: telemetry.TokenHash(x.token),
		TriggerLimit: limit, UsagePercentage: usage,
	})
}

func (x *exchange) fireKeyFailure(name, message, key string) {
	meta := keyFailure{Message: message, Path: x.r.URL.Path, Origin: clientAddress(x.r)}
	if key != "" {
		meta.Key = telemetry.TokenHash(key)
	}
	x.fire(name, meta)
}

func (x *exchange) fire(name string, meta any) {
	x.gateway.events.Fire(event.Event{
		Name: name, APIID: x.api.id, OrgID: x.api.orgID, RequestID: x.requestID, MetaData: meta,
	})
}

// clientAddress returns where r says it comes from. It is for people only:
// clients choose these headers.
func clientAddress(r *http.Request) string {
	if ip := r.Header.Get("X-Real-Ip"); ip != "" {
		return ip
	}
	if first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ","); first != "" {
		return strings.TrimSpace(first)
	}
	if ip, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		return ip
	}
	return r.RemoteAddr
}

// TriggerEvent fires the event name for the API that origin names, for every
// API when it names none. It never blocks.
func (h *Host) TriggerEvent(origin coprocess.Origin, name, payload string) {
	h.events.Fire(event.Event{
		Name: name, APIID: origin.APIID, RequestID: origin.RequestID, MetaData: pluginMessage{payload},
	})
}

// eventHandlers builds the handlers of one API.
func (g *Gateway) eventHandlers(a *api, def *apidef.API, plugins *pluginSet) (event.Handlers, error) {
	configs := make(map[string][]event.HandlerConfig)
	for name, handlers := range def.EventHandlers {
		for _, h := range handlers {
			configs[name] = append(configs[name], event.HandlerConfig{Name: h.Name, Meta: h.Meta})
		}
	}
	deps := event.Deps{File: a.file, HTTP: g.webhooks, Logger: g.log}
	if len(plugins.units) > 0 {
		deps.Dispatcher = plugins.units[0].plugin
	}
	handlers, warnings, err := event.NewHandlers(configs, deps)
	err = inForm(def.Form, a.file, err)
	for _, warning := range warnings {
		a.log.Warn("event handler asks for something in vain", telemetry.KeyFile, a.file, telemetry.KeyError, warning)
	}
	return handlers, err
}

// inForm gives the members in err the names of the definition's form.
func inForm(form apidef.Form, file string, err error) error {
	faults := jsonfile.Faults(file, err)
	for i := range faults {
		faults[i].Field = form.Field(faults[i].Field)
	}
	return jsonfile.NewError(faults)
}
