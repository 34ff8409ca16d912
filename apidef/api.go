package apidef

import (
	"net/url"
	"slices"
	"time"
)

// EmptyConfigData is [API.ConfigData] of an API without plugin configuration.
const EmptyConfigData = "{}"

// defaultHeader carries credentials when a definition names nothing else.
const defaultHeader = "Authorization"

// API is one API as a gateway serves it. Make it with [Parse]; a value made
// otherwise has to pass [API.Validate].
type API struct {
	// ID is unique in a gateway. Name is for people and defaults to ID.
	ID, Name string
	// OrgID is the organisation that sessions of this API belong to.
	OrgID string
	// Slug is Tyk's URL-friendly name; it has no effect here.
	Slug string
	// Form is how the definition is written, for messages about it.
	Form Form
	// Active is false for an API that is defined, but not to be served.
	Active bool
	// Domain limits the API to requests for this host, when not empty.
	Domain string

	// Keyless APIs authenticate nobody; all other authentication settings
	// are without effect then.
	Keyless bool
	// CustomAuth says that the auth_check hook authenticates requests.
	// Otherwise, unless Keyless, it is a stored key found by Auth.
	CustomAuth bool
	// Auth says where a request carries its credentials.
	Auth Auth
	// ExternalOAuth authenticates requests when it is enabled, unless Keyless.
	// Parse refuses it beside CustomAuth.
	ExternalOAuth ExternalOAuth

	// CustomMiddleware holds the hooks of the definition itself. A bundle
	// brings its own.
	CustomMiddleware CustomMiddleware
	// Bundles names the plugin bundles in order; empty when there are none
	// or they are disabled.
	Bundles []string
	// ConfigData is the plugins' configuration, a compact JSON object;
	// [EmptyConfigData] when there is none or it is disabled.
	ConfigData string

	// Proxy says which requests the API takes and where they go.
	Proxy Proxy
	// SessionLifetime is how long sessions of this API are stored; 0 leaves
	// it to the gateway's settings.
	SessionLifetime time.Duration
	// DisableRateLimit and DisableQuota switch the session's limits off.
	DisableRateLimit, DisableQuota bool
	// EventHandlers lists what to call for each event name.
	EventHandlers map[string][]EventHandler
	// ExpiresAt is when the API ends being served; zero means never. Parse
	// refuses an API that has expired.
	ExpiresAt time.Time
}

// Auth says where a request carries its credentials.
type Auth struct {
	// HeaderName is the header that is looked at, Authorization by default;
	// "" when headers are not to be looked at.
	HeaderName string
	// UseParam allows the query or form parameter ParamName.
	UseParam  bool
	ParamName string
	// UseCookie allows the cookie CookieName.
	UseCookie  bool
	CookieName string
}

// Proxy says which requests an API takes and where they go.
type Proxy struct {
	// ListenPath is the path prefix of the API's requests; it starts with /.
	ListenPath string
	// TargetURL is the upstream, an absolute http, https, h2c, ws or wss
	// URL.
	TargetURL *url.URL
	// StripListenPath removes ListenPath before the rest of the path is
	// appended to TargetURL.
	StripListenPath bool
	// PreserveHostHeader sends the client's Host instead of TargetURL's.
	PreserveHostHeader bool
	// Transport says how to connect.
	Transport Transport
}

// Transport says how to connect to an upstream.
type Transport struct {
	// SSLInsecureSkipVerify accepts any certificate.
	SSLInsecureSkipVerify bool
}

// handlerPlugin is the event handler that calls plugin code.
const handlerPlugin = "cp_dynamic_handler"

// EventFunctions lists the plugin functions that event handlers call, sorted.
func (a *API) EventFunctions() []string {
	var names []string
	for _, handlers := range a.EventHandlers {
		for _, h := range handlers {
			name, _ := h.Meta["name"].(string)
			if h.Name == handlerPlugin && name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// NeedsDriver says whether the definition itself names plugin functions, as
// hooks or, with a driver, in event handlers. What bundles add is not counted.
func (a *API) NeedsDriver() bool {
	m := &a.CustomMiddleware
	return m.HasHooks() || m.Driver != "" && len(a.EventFunctions()) > 0
}

// EventHandler is what to do when an event fires (contract section 8).
type EventHandler struct {
	// Name is the kind of handler, for example cp_dynamic_handler.
	Name string `json:"handler_name"`
	// Meta is the handler's own configuration, with numbers as json.Number.
	Meta map[string]any `json:"handler_meta"`
}
