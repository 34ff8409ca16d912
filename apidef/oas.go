package apidef

import (
	"strings"
	"time"

	"github.com/krait-gateway/krait/jsonfile"
)

// oasDocument is the part of an OpenAPI document that is understood. What else
// may be below x-tyk-api-gateway is judged by oas_protect.go and oas_warn.go;
// the rest of the document describes the API to people and other tools.
type oasDocument struct {
	OpenAPI    string       `json:"openapi"`
	Extension  oasExtension `json:"x-tyk-api-gateway"`
	Components struct {
		SecuritySchemes map[string]oasComponent `json:"securitySchemes"`
	} `json:"components"`
	// Security lists alternatives; Tyk looks at the first.
	Security []map[string]any `json:"security"`
}

// oasComponent is OpenAPI's own description of a security scheme.
type oasComponent struct {
	Type string `json:"type"`
	In   string `json:"in"`
	Name string `json:"name"`
}

type oasExtension struct {
	Info struct {
		ID    string `json:"id"`
		OrgID string `json:"orgId"`
		Name  string `json:"name"`
		State struct {
			Active bool `json:"active"`
		} `json:"state"`
	} `json:"info"`
	Upstream struct {
		URL                string     `json:"url"`
		PreserveHostHeader *oasSwitch `json:"preserveHostHeader"`
		TLSTransport       struct {
			InsecureSkipVerify bool `json:"insecureSkipVerify"`
		} `json:"tlsTransport"`
	} `json:"upstream"`
	Server struct {
		ListenPath struct {
			Value string `json:"value"`
			Strip bool   `json:"strip"`
		} `json:"listenPath"`
		Slug           string             `json:"slug"`
		CustomDomain   *oasNamed          `json:"customDomain"`
		Authentication *oasAuthentication `json:"authentication"`
		EventHandlers  []oasEventHandler  `json:"eventHandlers"`
	} `json:"server"`
	Middleware struct {
		Global oasGlobal `json:"global"`
	} `json:"middleware"`
}

// oasSwitch is an object whose only member is its switch. In this form nearly
// every object has one, which says false when it is missing; that hides
// mistakes, so it is demanded of objects that hold anything else.
type oasSwitch struct {
	Enabled *bool `json:"enabled"`
}

type oasNamed struct {
	Enabled *bool  `json:"enabled"`
	Name    string `json:"name"`
}

type oasGlobal struct {
	PluginConfig struct {
		Driver string `json:"driver"`
		Bundle *struct {
			Enabled *bool  `json:"enabled"`
			Path    string `json:"path"`
		} `json:"bundle"`
		Data *struct {
			Enabled *bool          `json:"enabled"`
			Value   map[string]any `json:"value"`
		} `json:"data"`
	} `json:"pluginConfig"`
	PrePlugins                []oasPlugin  `json:"prePlugins"`
	PostAuthenticationPlugins []oasPlugin  `json:"postAuthenticationPlugins"`
	PostPlugins               []oasPlugin  `json:"postPlugins"`
	ResponsePlugins           []oasPlugin  `json:"responsePlugins"`
	PrePlugin                 oasOldPlugin `json:"prePlugin"`
	PostAuthenticationPlugin  oasOldPlugin `json:"postAuthenticationPlugin"`
	PostPlugin                oasOldPlugin `json:"postPlugin"`
	ResponsePlugin            oasOldPlugin `json:"responsePlugin"`
	SkipRateLimit             bool         `json:"skipRateLimit"`
	SkipQuota                 bool         `json:"skipQuota"`
}

type oasPlugin struct {
	Enabled        *bool  `json:"enabled"`
	FunctionName   string `json:"functionName"`
	Path           string `json:"path"`
	RawBodyOnly    bool   `json:"rawBodyOnly"`
	RequireSession bool   `json:"requireSession"`
}

// oasOldPlugin is how Tyk before 5.3 writes a list of plugins.
type oasOldPlugin struct {
	Plugins []oasPlugin `json:"plugins"`
}

// readOAS turns an OpenAPI document with x-tyk-api-gateway into an [API].
func readOAS(judge *protections) (*API, []jsonfile.Fault, []string) {
	document := oasDocument{}
	document.Extension.Info.State.Active = true
	unknown, err := jsonfile.Bind(judge.name, judge.tree, &document)
	c := oasConverter{converter: converter{name: judge.name}, document: &document, file: &document.Extension}
	api := c.api()
	judge.scheme = c.scheme
	judge.runOAS(&document)
	return api, append(jsonfile.Faults(judge.name, err), c.faults...), warnOAS(judge, &document, api, unknown)
}

type oasConverter struct {
	converter
	document *oasDocument
	file     *oasExtension
	scheme   string // that has the providers of external OAuth
}

func (c *oasConverter) api() *API {
	info, server, global := &c.file.Info, &c.file.Server, &c.file.Middleware.Global
	api := &API{
		Form:             FormOAS,
		ID:               info.ID,
		Name:             firstOf(info.Name, info.ID),
		OrgID:            info.OrgID,
		Slug:             server.Slug,
		Active:           info.State.Active,
		ConfigData:       EmptyConfigData,
		DisableRateLimit: global.SkipRateLimit,
		DisableQuota:     global.SkipQuota,
		EventHandlers:    c.eventHandlers(),
		Proxy: Proxy{
			ListenPath:      server.ListenPath.Value,
			StripListenPath: server.ListenPath.Strip,
			TargetURL:       c.target(oasPrefix+"upstream.url", c.file.Upstream.URL),
			Transport:       Transport{SSLInsecureSkipVerify: c.file.Upstream.TLSTransport.InsecureSkipVerify},
		},
	}
	if !strings.HasPrefix(c.document.OpenAPI, "3.") {
		c.fault("openapi", "is not a version of OpenAPI 3", `write for example "3.0.3"`)
	}
	if d := server.CustomDomain; d != nil && c.on("server.customDomain", d.Enabled, d.Name != "") {
		api.Domain = d.Name
		if d.Name == "" {
			c.fault(oasPrefix+"server.customDomain.name", "is missing, so that every host would be served", "write the name, or set enabled to false")
		}
	}
	if p := c.file.Upstream.PreserveHostHeader; p != nil {
		api.Proxy.PreserveHostHeader = c.on("upstream.preserveHostHeader", p.Enabled, false)
	}
	if b := global.PluginConfig.Bundle; b != nil && c.on("middleware.global.pluginConfig.bundle", b.Enabled, b.Path != "") {
		api.Bundles = splitNames(b.Path)
	}
	if d := global.PluginConfig.Data; d != nil && c.on("middleware.global.pluginConfig.data", d.Enabled, len(d.Value) > 0) && len(d.Value) > 0 {
		api.ConfigData = c.compact(oasPrefix+"middleware.global.pluginConfig.data.value", d.Value)
	}
	api.CustomMiddleware = c.middleware()
	c.authentication(api)
	return api
}

// on says whether the object at field is switched on. configured says whether
// it holds anything, so that it ought to say so.
func (c *oasConverter) on(field string, enabled *bool, configured bool) bool {
	if enabled == nil && configured {
		c.fault(oasPrefix+field+".enabled", "is missing", "write true, or false to leave out what is beside it")
	}
	return enabled != nil && *enabled
}

func (c *oasConverter) middleware() CustomMiddleware {
	g := &c.file.Middleware.Global
	return CustomMiddleware{
		Driver:      g.PluginConfig.Driver,
		Pre:         c.plugins("prePlugin", g.PrePlugins, g.PrePlugin.Plugins),
		PostKeyAuth: c.plugins("postAuthenticationPlugin", g.PostAuthenticationPlugins, g.PostAuthenticationPlugin.Plugins),
		Post:        c.plugins("postPlugin", g.PostPlugins, g.PostPlugin.Plugins),
		Response:    c.plugins("responsePlugin", g.ResponsePlugins, g.ResponsePlugin.Plugins),
	}
}

// plugins returns the hooks of a list that also has an old name.
func (c *oasConverter) plugins(oldName string, list, old []oasPlugin) []MiddlewareDefinition {
	field := "middleware.global." + oldName + "s"
	if len(old) > 0 {
		if len(list) > 0 {
			c.fault(oasPrefix+"middleware.global."+oldName, "is the old form of "+oldName+"s, which is there too", "move its plugins to "+oldName+"s")
		}
		list, field = old, "middleware.global."+oldName+".plugins"
	}
	var hooks []MiddlewareDefinition
	for i, p := range list {
		hooks = append(hooks, p.definition(c.on(element(field, i), p.Enabled, p.FunctionName != "")))
	}
	return hooks
}

func (p oasPlugin) definition(on bool) MiddlewareDefinition {
	return MiddlewareDefinition{
		Name: p.FunctionName, Path: p.Path, RequireSession: p.RequireSession, RawBodyOnly: p.RawBodyOnly, Disabled: !on,
	}
}

// duration reads text such as 1h30m; empty text is 0.
func (c *oasConverter) duration(field, text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		c.fault(oasPrefix+field, "is not a length of time", `write for example "90s" or "1h30m"`)
		return 0
	}
	return d
}
