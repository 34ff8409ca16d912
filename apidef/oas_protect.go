package apidef

import (
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

const (
	nextOASAuth    = "authenticate with server.authentication.custom and a plugin instead, or set its enabled to false"
	nextOperation  = "do this in a plugin instead, or remove it"
	nextPlugin     = "check this in a plugin of prePlugins instead, or remove it"
	nextResponding = "do this in a plugin of responsePlugins instead, or remove it"
)

// oasProtectionTable returns the settings below x-tyk-api-gateway that are
// judged wherever they are on. Authentication and middleware for single
// operations have rules of their own.
func oasProtectionTable() []protection {
	return []protection{
		// Who may call, and how often.
		{path: "info.state.internal", next: "take the definition out of app_path, or set it to false"},
		{path: "server.clientCertificates", next: "check client certificates in front of the gateway, or set its enabled to false"},
		{path: "server.ipAccessControl", next: nextPlugin},
		{path: "upstream.rateLimit", next: "limit requests in front of the gateway, or set its enabled to false"},
		{path: "middleware.global.requestSizeLimit", next: "use http_server_options.max_request_body_size of tyk.conf, or remove it"},
		{path: "middleware.global.authenticationPlugin", next: "write it as server.authentication.custom.config"},

		// Where the API is served and where requests go.
		{path: "info.versioning", next: "write each version as an API of its own with its own listen path"},
		{path: "server.port", next: "remove it; APIs are served on the listen_port of tyk.conf"},
		{path: "server.protocol", active: otherProtocol, next: "use http or https"},
		{path: "upstream.loadBalancing", next: "balance in front of the upstream and name that in upstream.url"},
		{path: "upstream.serviceDiscovery", next: "name the upstream in upstream.url"},
		{path: "middleware.global.mockResponse", next: nextOperation},
		{path: "middleware.global.transformRequestHeaders", next: "change headers in a plugin of postPlugins, or remove it"},
		{path: "middleware.global.transformResponseHeaders", next: nextResponding},
		{path: "middleware.global.transformRequestBody", next: nextOperation},
		{path: "middleware.global.transformResponseBody", next: nextResponding},
		{path: "middleware.global.validateRequest", next: nextPlugin},

		// The connection to the upstream.
		{path: "upstream.authentication", next: "add the credentials in a plugin of postPlugins, or remove it"},
		{path: "upstream.mutualTLS", next: "set its enabled to false"},
		{path: "upstream.certificatePinning", next: "set its enabled to false"},
		{path: "upstream.proxy", next: "set its enabled to false"},
		{path: "upstream.tlsTransport.minVersion", active: aboveTLS12, next: "remove it; TLS 1.2 is the minimum"},
		{path: "upstream.tlsTransport.ciphers", next: "remove them"},
		{path: "upstream.tlsTransport.forceCommonNameCheck", next: "set it to false; host names in certificates are checked"},
	}
}

// runOAS judges a definition in the OAS form.
func (p *protections) runOAS(document *oasDocument) {
	for _, extension := range jsonfile.Find(p.tree, oasExtensionName) {
		for _, setting := range oasProtectionTable() {
			p.check(extension.Value, extension.Field, setting)
		}
		p.oasAuthentication(extension, document)
		p.oasMiddleware(extension)
	}
	p.check(p.tree, "", protection{path: "x-tyk-streaming", next: "remove it"})
	p.expiry(p.tree, "", oasPrefix+"info.expiration")
}

// oasAuthentication refuses every kind of authentication but plugins, stored
// keys and external OAuth, and more than one kind at once. What it does not know may
// protect something too.
func (p *protections) oasAuthentication(extension jsonfile.Member, document *oasDocument) {
	a := document.Extension.Server.Authentication
	if a == nil || !isOn(a.Enabled) {
		return
	}
	for _, m := range jsonfile.Find(extension.Value, oasAuthField+".*") {
		next := "remove it"
		switch name := lastName(m.Field); strings.ToLower(name) {
		case "enabled", "custom", "securityschemes", "customkeylifetime", "baseidentityprovider", "security":
			continue
		case "securityprocessingmode":
			if m.Value == "legacy" {
				continue
			}
			next = "remove it and keep one kind of authentication"
		case "hmac", "oidc":
			next = nextOASAuth
		case "stripauthorizationdata":
			next = "delete the header in a plugin of postPlugins, or set it to false"
		}
		p.unsupported(extension, m, next)
	}
	if a.customOn() {
		p.onlyMembers(extension, oasCustomField, "enabled", "config", "header", "query", "cookie")
		p.onlyMembers(extension, oasCustomField+".config",
			"enabled", "functionName", "path", "rawBodyOnly", "requireSession", "idExtractor")
	}
	used := ""
	if a.customOn() {
		used = oasCustomField
	}
	for _, name := range a.enabledSchemes() {
		field := oasSchemesField + "." + name
		p.oasScheme(extension, name, document)
		if used != "" {
			p.add(oasPrefix+field, "is enabled beside "+used+", but one API has one kind of authentication",
				"set enabled of one of the two to false")
		}
		used = field
	}
}

// oasScheme judges one security scheme that is switched on.
func (p *protections) oasScheme(extension jsonfile.Member, name string, document *oasDocument) {
	scheme := document.Extension.Server.Authentication.SecuritySchemes[name]
	described, ok := document.Components.SecuritySchemes[name]
	field := oasPrefix + oasSchemesField + "." + name
	switch {
	case len(scheme.Providers) > 0:
		p.oasSchemeMembers(extension, name) // external OAuth
	case !ok:
		p.add(field, "is enabled, but the document does not say of what type it is",
			`describe it in components.securitySchemes, for example as {"type": "apiKey", "in": "header", "name": "Authorization"}`)
	case described.Type != typeAPIKey:
		p.add(field, problemUnsupported, nextOASAuth)
	default:
		p.oasSchemeMembers(extension, name)
	}
}

func (p *protections) oasSchemeMembers(extension jsonfile.Member, name string) {
	// The name may hold dots, so that it is no path to look for.
	for _, schemes := range jsonfile.Find(extension.Value, oasSchemesField) {
		object, _ := schemes.Value.(map[string]any)
		p.onlyIn(extension, jsonfile.Member{Field: joinField(schemes.Field, name), Value: object[name]},
			"enabled", "header", "query", "cookie", "providers")
	}
}

// onlyMembers refuses members of the object at path that are on and not known.
func (p *protections) onlyMembers(extension jsonfile.Member, path string, known ...string) {
	for _, m := range jsonfile.Find(extension.Value, path) {
		p.onlyIn(extension, m, known...)
	}
}

func (p *protections) onlyIn(extension, object jsonfile.Member, known ...string) {
	for _, m := range jsonfile.Find(object.Value, "*") {
		if !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, m.Field) }) {
			p.unsupported(extension, jsonfile.Member{Field: joinField(object.Field, m.Field), Value: m.Value}, "remove it")
		}
	}
}

// oasMiddleware refuses middleware for single operations, and kinds of
// middleware that are not known.
func (p *protections) oasMiddleware(extension jsonfile.Member) {
	p.objects(extension.Value, extension.Field, "middleware.operations.*")
	for _, m := range jsonfile.Find(extension.Value, "middleware.*") {
		switch strings.ToLower(lastName(m.Field)) {
		case "global":
			continue
		case "operations":
			p.operations(extension, m)
		default:
			p.unsupported(extension, m, "remove it")
		}
	}
}

func (p *protections) operations(extension, operations jsonfile.Member) {
	for _, operation := range jsonfile.Find(operations.Value, "*") {
		for _, m := range jsonfile.Find(operation.Value, "*") {
			if !harmlessOperation(m.Field) {
				m.Field = joinField(joinField(operations.Field, operation.Field), m.Field)
				p.unsupported(extension, m, nextOperation)
			}
		}
	}
}

// harmlessOperation says whether leaving out a setting of an operation
// restricts nothing: it would only open, speed up or count requests.
func harmlessOperation(name string) bool {
	switch strings.ToLower(name) {
	case "ignoreauthentication", "cache", "trackendpoint", "donottrackendpoint":
		return true
	}
	return false
}

// unsupported refuses a member of the extension when it is on.
func (p *protections) unsupported(extension, m jsonfile.Member, next string) {
	if asks(m.Value) {
		p.add(joinField(extension.Field, m.Field), problemUnsupported, next)
	}
}

// asks says whether a value, or an element of a list, is on.
func asks(value any) bool {
	if list, ok := value.([]any); ok {
		return slices.ContainsFunc(list, jsonfile.IsOn)
	}
	return jsonfile.IsOn(value)
}

func aboveTLS12(value any) bool {
	switch value {
	case nil, "", "1.0", "1.1", "1.2":
		return false
	}
	return true
}

// lastName returns the last part of a dotted path.
func lastName(field string) string { return field[strings.LastIndexByte(field, '.')+1:] }
