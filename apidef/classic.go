package apidef

import (
	"math"
	"time"

	"github.com/krait-gateway/krait/jsonfile"
)

// expiryLayout is how the classic form writes times, in UTC.
const expiryLayout = "2006-01-02 15:04"

// classic is the part of Tyk's classic form that is understood. What else may
// be in a definition is judged by the tables of protect.go and warn.go.
type classic struct {
	ID                      string                 `json:"id"`
	APIID                   string                 `json:"api_id"`
	Name                    string                 `json:"name"`
	OrgID                   string                 `json:"org_id"`
	Slug                    string                 `json:"slug"`
	Active                  bool                   `json:"active"`
	Domain                  string                 `json:"domain"`
	DomainDisabled          bool                   `json:"domain_disabled"`
	Expiration              string                 `json:"expiration"`
	UseKeyless              bool                   `json:"use_keyless"`
	UseStandardAuth         bool                   `json:"use_standard_auth"`
	EnableCoprocessAuth     bool                   `json:"enable_coprocess_auth"`
	CustomPluginAuthEnabled bool                   `json:"custom_plugin_auth_enabled"`
	Auth                    *classicAuth           `json:"auth"`
	AuthConfigs             map[string]classicAuth `json:"auth_configs"`
	ExternalOAuth           struct {
		Enabled   bool  `json:"enabled"`
		Providers []any `json:"providers"`
	} `json:"external_oauth"`
	CustomMiddleware               CustomMiddleware `json:"custom_middleware"`
	CustomMiddlewareBundle         string           `json:"custom_middleware_bundle"`
	CustomMiddlewareBundleDisabled bool             `json:"custom_middleware_bundle_disabled"`
	ConfigData                     map[string]any   `json:"config_data"`
	ConfigDataDisabled             bool             `json:"config_data_disabled"`
	SessionLifetime                int64            `json:"session_lifetime"`
	DisableRateLimit               bool             `json:"disable_rate_limit"`
	DisableQuota                   bool             `json:"disable_quota"`
	Proxy                          classicProxy     `json:"proxy"`
	EventHandlers                  struct {
		Events map[string][]EventHandler `json:"events"`
	} `json:"event_handlers"`
}

type classicAuth struct {
	DisableHeader  bool   `json:"disable_header"`
	AuthHeaderName string `json:"auth_header_name"`
	UseParam       bool   `json:"use_param"`
	ParamName      string `json:"param_name"`
	UseCookie      bool   `json:"use_cookie"`
	CookieName     string `json:"cookie_name"`
}

type classicProxy struct {
	ListenPath         string `json:"listen_path"`
	TargetURL          string `json:"target_url"`
	StripListenPath    bool   `json:"strip_listen_path"`
	PreserveHostHeader bool   `json:"preserve_host_header"`
	Transport          struct {
		SSLInsecureSkipVerify bool `json:"ssl_insecure_skip_verify"`
	} `json:"transport"`
}

// readClassic turns a definition in Tyk's classic form into an [API].
func readClassic(judge *protections) (*API, []jsonfile.Fault, []string) {
	file := classic{Active: true}
	unknown, err := jsonfile.Bind(judge.name, judge.tree, &file)
	c := classicConverter{converter: converter{name: judge.name}, file: &file}
	api := c.api()
	judge.run()
	return api, append(jsonfile.Faults(judge.name, err), c.faults...), warnClassic(judge.name, api, judge.tree, unknown)
}

type classicConverter struct {
	converter
	file *classic
}

func (c *classicConverter) api() *API {
	f := c.file
	api := &API{
		ID:               firstOf(f.APIID, f.ID),
		OrgID:            f.OrgID,
		Slug:             f.Slug,
		Active:           f.Active,
		Keyless:          f.UseKeyless,
		CustomAuth:       f.EnableCoprocessAuth || f.CustomPluginAuthEnabled,
		CustomMiddleware: f.CustomMiddleware,
		ConfigData:       c.configData(),
		SessionLifetime:  c.sessionLifetime(),
		DisableRateLimit: f.DisableRateLimit,
		DisableQuota:     f.DisableQuota,
		EventHandlers:    f.EventHandlers.Events,
		Proxy: Proxy{
			ListenPath:         f.Proxy.ListenPath,
			TargetURL:          c.target("proxy.target_url", f.Proxy.TargetURL),
			StripListenPath:    f.Proxy.StripListenPath,
			PreserveHostHeader: f.Proxy.PreserveHostHeader,
			Transport:          Transport{SSLInsecureSkipVerify: f.Proxy.Transport.SSLInsecureSkipVerify},
		},
	}
	api.Name = firstOf(f.Name, api.ID)
	if !f.DomainDisabled {
		api.Domain = f.Domain
	}
	if !f.CustomMiddlewareBundleDisabled {
		api.Bundles = splitNames(f.CustomMiddlewareBundle)
	}
	api.ExternalOAuth.Enabled = f.ExternalOAuth.Enabled
	api.Auth = c.auth(api)
	if len(f.ExternalOAuth.Providers) > 0 {
		providers, faults := readOAuthProviders(c.name, "external_oauth.providers", f.ExternalOAuth.Providers,
			f.ExternalOAuth.Enabled && !f.UseKeyless)
		api.ExternalOAuth.Providers = providers
		c.faults = append(c.faults, faults...)
	}
	return api
}

// auth picks the settings that count: newer definitions hold one set for each
// kind of authentication, older ones a single set.
func (c *classicConverter) auth(api *API) Auth {
	kind := "authToken"
	switch {
	case api.CustomAuth:
		kind = "coprocess"
	case api.ExternalOAuth.Enabled:
		kind = "externalOAuth"
	}
	chosen := classicAuth{}
	if c.file.Auth != nil {
		chosen = *c.file.Auth
	}
	if newer, ok := c.file.AuthConfigs[kind]; ok {
		chosen = newer
	}
	auth := Auth{
		HeaderName: firstOf(chosen.AuthHeaderName, defaultHeader),
		UseParam:   chosen.UseParam,
		ParamName:  chosen.ParamName,
		UseCookie:  chosen.UseCookie,
		CookieName: chosen.CookieName,
	}
	if chosen.DisableHeader {
		auth.HeaderName = ""
	}
	return auth.named()
}

func (c *classicConverter) configData() string {
	if c.file.ConfigDataDisabled || len(c.file.ConfigData) == 0 {
		return EmptyConfigData
	}
	return c.compact("config_data", c.file.ConfigData)
}

func (c *classicConverter) sessionLifetime() time.Duration {
	const longest = int64(math.MaxInt64 / time.Second)
	if c.file.SessionLifetime > longest {
		c.fault("session_lifetime", "is too large", "write a number of seconds, 0 for the gateway's default")
		return 0
	}
	return time.Duration(max(c.file.SessionLifetime, -1)) * time.Second
}
