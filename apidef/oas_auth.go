package apidef

import (
	"maps"
	"slices"
	"strings"
)

type oasAuthentication struct {
	Enabled *bool `json:"enabled"`
	Custom  *struct {
		Enabled *bool          `json:"enabled"`
		Config  *oasAuthPlugin `json:"config"`
		Header  *oasNamed      `json:"header"`
		Query   *oasNamed      `json:"query"`
		Cookie  *oasNamed      `json:"cookie"`
	} `json:"custom"`
	SecuritySchemes   map[string]oasScheme `json:"securitySchemes"`
	CustomKeyLifetime *struct {
		Enabled *bool  `json:"enabled"`
		Value   string `json:"value"`
	} `json:"customKeyLifetime"`
	HMAC *oasSwitch `json:"hmac"`
	OIDC *oasSwitch `json:"oidc"`
}

type oasAuthPlugin struct {
	Enabled        *bool  `json:"enabled"`
	FunctionName   string `json:"functionName"`
	Path           string `json:"path"`
	RawBodyOnly    bool   `json:"rawBodyOnly"`
	RequireSession bool   `json:"requireSession"`
	IDExtractor    *struct {
		Enabled *bool  `json:"enabled"`
		Source  string `json:"source"`
		With    string `json:"with"`
		Config  struct {
			HeaderName       string `json:"headerName"`
			FormParamName    string `json:"formParamName"`
			Regexp           string `json:"regexp"`
			RegexpMatchIndex int    `json:"regexpMatchIndex"`
			XPathExp         string `json:"xPathExp"`
		} `json:"config"`
	} `json:"idExtractor"`
}

// oasScheme is what x-tyk-api-gateway adds to a security scheme.
type oasScheme struct {
	Enabled   *bool     `json:"enabled"`
	Header    *oasNamed `json:"header"`
	Query     *oasNamed `json:"query"`
	Cookie    *oasNamed `json:"cookie"`
	Providers []any     `json:"providers"`
}

// on says whether the object is there and switched on.
func (s *oasSwitch) on() bool { return s != nil && isOn(s.Enabled) }

// isOn says whether a switch is there and on.
func isOn(enabled *bool) bool { return enabled != nil && *enabled }

const (
	oasAuthField    = "server.authentication"
	oasSchemesField = oasAuthField + ".securitySchemes"
	oasCustomField  = oasAuthField + ".custom"
	typeAPIKey      = "apiKey"
	// oasAnyScheme stands for the scheme that a message is about.
	oasAnyScheme = oasSchemesField + ".*"
)

// enabledSchemes lists the security schemes that are switched on.
func (a *oasAuthentication) enabledSchemes() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(a.SecuritySchemes)) {
		if isOn(a.SecuritySchemes[name].Enabled) {
			names = append(names, name)
		}
	}
	return names
}

// customOn says whether a plugin authenticates.
func (a *oasAuthentication) customOn() bool { return a.Custom != nil && isOn(a.Custom.Enabled) }

// authentication fills in who authenticates requests and where they carry
// their credentials.
func (c *oasConverter) authentication(api *API) {
	a := c.file.Server.Authentication
	api.Auth = Auth{HeaderName: defaultHeader}
	if a == nil {
		api.Keyless = true
		return
	}
	configured := a.customOn() || len(a.enabledSchemes()) > 0 || a.HMAC.on() || a.OIDC.on()
	api.Keyless = !c.on(oasAuthField, a.Enabled, configured)
	if l := a.CustomKeyLifetime; l != nil && c.on(oasAuthField+".customKeyLifetime", l.Enabled, l.Value != "") {
		api.SessionLifetime = c.duration(oasAuthField+".customKeyLifetime.value", l.Value)
	}
	if a.Custom != nil {
		c.customAuth(api)
	}
	for _, name := range slices.Sorted(maps.Keys(a.SecuritySchemes)) {
		s := a.SecuritySchemes[name]
		c.on(oasSchemesField+"."+name, s.Enabled, s.Header != nil || s.Query != nil || s.Cookie != nil || len(s.Providers) > 0)
		if len(s.Providers) > 0 && !api.ExternalOAuth.Enabled {
			enabled := isOn(s.Enabled)
			providers, faults := readOAuthProviders(c.name, oasPrefix+oasSchemesField+"."+name+".providers", s.Providers, enabled && !api.Keyless)
			api.ExternalOAuth = ExternalOAuth{Enabled: enabled, Providers: providers}
			c.faults = append(c.faults, faults...)
			c.scheme = name
		}
	}
	if api.CustomAuth {
		return
	}
	if name := c.keyScheme(a); name != "" {
		s := a.SecuritySchemes[name]
		api.Auth = c.sources(oasSchemesField+"."+name, c.document.Components.SecuritySchemes[name], s.Header, s.Query, s.Cookie)
	}
}

func (c *oasConverter) customAuth(api *API) {
	custom := c.file.Server.Authentication.Custom
	api.CustomAuth = c.on(oasCustomField, custom.Enabled, custom.Config != nil && custom.Config.FunctionName != "")
	if api.CustomAuth {
		api.Auth = c.sources(oasCustomField, oasComponent{}, custom.Header, custom.Query, custom.Cookie)
	}
	if p := custom.Config; p != nil {
		const field = oasCustomField + ".config"
		plugin := oasPlugin{
			FunctionName: p.FunctionName, Path: p.Path, RawBodyOnly: p.RawBodyOnly, RequireSession: p.RequireSession,
		}
		api.CustomMiddleware.AuthCheck = plugin.definition(c.on(field, p.Enabled, p.FunctionName != ""))
		if x := p.IDExtractor; x != nil {
			on := c.on(field+".idExtractor", x.Enabled, x.Source != "" || x.With != "")
			api.CustomMiddleware.IDExtractor = IDExtractor{
				ExtractFrom: x.Source, ExtractWith: x.With, Disabled: !on,
				Config: ExtractorConfig{
					HeaderName: x.Config.HeaderName, ParamName: x.Config.FormParamName, RegexExpression: x.Config.Regexp,
					RegexMatchIndex: x.Config.RegexpMatchIndex, XPathExpression: x.Config.XPathExp,
				},
			}
		}
	}
}

// keyScheme returns the scheme that says where a key is: the one that is
// switched on, else the first of type apiKey that the document's security
// names, as in Tyk.
func (c *oasConverter) keyScheme(a *oasAuthentication) string {
	if names := a.enabledSchemes(); len(names) > 0 {
		return names[0]
	}
	if len(c.document.Security) == 0 {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(c.document.Security[0])) {
		if c.document.Components.SecuritySchemes[name].Type == typeAPIKey {
			return name
		}
	}
	return ""
}

// sources returns the places of a key: those that are switched on, and the one
// that the document's own description names. Without any it is the header
// Authorization.
func (c *oasConverter) sources(field string, described oasComponent, header, query, cookie *oasNamed) Auth {
	auth := Auth{}
	place := func(name string, settings *oasNamed) (string, bool) {
		on, called := false, ""
		if settings != nil {
			on, called = c.on(field+"."+name, settings.Enabled, settings.Name != ""), settings.Name
		}
		if described.Type == typeAPIKey && strings.EqualFold(described.In, name) {
			return described.Name, true
		}
		return called, on
	}
	if name, on := place("header", header); on {
		auth.HeaderName = firstOf(name, defaultHeader)
	}
	auth.ParamName, auth.UseParam = place("query", query)
	auth.CookieName, auth.UseCookie = place("cookie", cookie)
	if auth.HeaderName == "" && !auth.UseParam && !auth.UseCookie {
		auth.HeaderName = defaultHeader
	}
	return auth.named()
}
