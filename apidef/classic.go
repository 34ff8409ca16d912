package apidef

import (
	"bytes"
	"encoding/json"
	"math"
	"net/url"
	"strings"
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

// Parse reads an API definition in Tyk's classic form. name stands for the
// file in messages. warnings names what the definition asks for that is
// without effect. The error is a [*jsonfile.Error] with every fault.
func Parse(name string, data []byte) (api *API, warnings []string, err error) {
	api, _, warnings, err = parse(name, data, time.Now())
	if err != nil {
		return nil, warnings, err
	}
	return api, warnings, nil
}

// parse is Parse at the time now. What can be told of a faulty definition is
// in partial, which is nil when it is no JSON object.
func parse(name string, data []byte, now time.Time) (*API, *Partial, []string, error) {
	tree, err := jsonfile.Parse(name, data)
	if tree == nil {
		return nil, nil, nil, err
	}
	faults := jsonfile.Faults(name, err)
	if fault, other := otherForm(name, tree); other {
		return nil, nil, nil, jsonfile.NewError(append(faults, fault))
	}

	file := classic{Active: true}
	unknown, err := jsonfile.Bind(name, tree, &file)
	mistyped := jsonfile.Faults(name, err)
	faults = append(faults, mistyped...)

	c := converter{file: &file, name: name}
	api := c.api()
	faults = append(faults, c.faults...)
	for _, fault := range jsonfile.Faults(name, api.Validate(name)) {
		// A field that could not be read also looks as if it were missing.
		if !reported(faults, fault.Field) {
			faults = append(faults, fault)
		}
	}

	judge := protections{name: name, tree: tree, now: now}
	judge.run()
	faults = append(faults, judge.faults...)
	api.ExpiresAt = judge.expiresAt

	warnings := warn(name, &file, tree, unknown)
	return api, partialOf(api, len(judge.faults) > 0), warnings, jsonfile.NewError(faults)
}

func reported(faults []jsonfile.Fault, field string) bool {
	for _, fault := range faults {
		if strings.EqualFold(fault.Field, field) {
			return true
		}
	}
	return false
}

// otherForm recognises files that are no classic definitions, which would
// otherwise only be told what they lack.
func otherForm(name string, tree map[string]any) (jsonfile.Fault, bool) {
	fault := jsonfile.Fault{File: name}
	for _, member := range []string{"x-tyk-api-gateway", "openapi"} {
		if _, ok := tree[member]; ok {
			fault.Field = member
			fault.Problem = "the file is an OpenAPI (OAS) definition, which is not supported yet"
			fault.Next = "write the API in Tyk's classic form"
			return fault, true
		}
	}
	if _, ok := tree["api_definition"].(map[string]any); ok && tree["proxy"] == nil {
		fault.Field = "api_definition"
		fault.Problem = "the file is a dashboard export"
		fault.Next = "keep only the object that is the value of api_definition"
		return fault, true
	}
	return jsonfile.Fault{}, false
}

// converter turns the classic form into an [API].
type converter struct {
	file   *classic
	name   string
	faults []jsonfile.Fault
}

func (c *converter) api() *API {
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
			TargetURL:          c.target(),
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
func (c *converter) auth(api *API) Auth {
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
		HeaderName: firstOf(chosen.AuthHeaderName, "Authorization"),
		UseParam:   chosen.UseParam,
		ParamName:  chosen.ParamName,
		UseCookie:  chosen.UseCookie,
		CookieName: chosen.CookieName,
	}
	if chosen.DisableHeader {
		auth.HeaderName = ""
	}
	// As in Tyk, the header's name also serves for what has no name itself.
	if auth.UseParam {
		auth.ParamName = firstOf(auth.ParamName, auth.HeaderName)
	}
	if auth.UseCookie {
		auth.CookieName = firstOf(auth.CookieName, auth.HeaderName)
	}
	return auth
}

func (c *converter) configData() string {
	if c.file.ConfigDataDisabled || len(c.file.ConfigData) == 0 {
		return EmptyConfigData
	}
	return c.compact("config_data", c.file.ConfigData)
}

func (c *converter) sessionLifetime() time.Duration {
	const longest = int64(math.MaxInt64 / time.Second)
	if c.file.SessionLifetime > longest {
		c.faults = append(c.faults, jsonfile.Fault{
			File: c.name, Field: "session_lifetime", Problem: "is too large", Next: "write a number of seconds, 0 for the gateway's default",
		})
		return 0
	}
	return time.Duration(max(c.file.SessionLifetime, -1)) * time.Second
}

func (c *converter) compact(field string, value any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		c.faults = append(c.faults, jsonfile.Fault{File: c.name, Field: field, Problem: "cannot be written as JSON: " + err.Error()})
		return EmptyConfigData
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func (c *converter) target() *url.URL {
	if c.file.Proxy.TargetURL == "" {
		return nil
	}
	target, err := url.Parse(c.file.Proxy.TargetURL)
	if err != nil {
		// The error of url.Parse repeats the URL, which may hold a password.
		c.faults = append(c.faults, jsonfile.Fault{
			File: c.name, Field: "proxy.target_url",
			Problem: "is not a URL", Next: "write an absolute URL such as http://upstream:8080/",
		})
		return nil
	}
	return target
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

func splitNames(list string) []string {
	var names []string
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name != "" {
			names = append(names, name)
		}
	}
	return names
}
