package apidef

import "strings"

// Form is a way to write an API definition.
type Form int

// The forms that [Parse] reads.
const (
	// FormClassic is Tyk's classic form.
	FormClassic Form = iota
	// FormOAS is an OpenAPI document with x-tyk-api-gateway.
	FormOAS
)

// String returns the form's name.
func (f Form) String() string {
	if f == FormOAS {
		return "oas"
	}
	return "classic"
}

// oasExtensionName is the member of an OpenAPI document that makes it an API
// definition; oasPrefix begins the paths of what is in it.
const (
	oasExtensionName = "x-tyk-api-gateway"
	oasPrefix        = oasExtensionName + "."
)

// Field returns the dotted path that a member has in this form, for messages.
// classic is its path in the classic form.
func (f Form) Field(classic string) string {
	if f != FormOAS {
		return classic
	}
	for _, name := range oasNames() {
		rest, ok := strings.CutPrefix(classic, name.classic)
		switch {
		case !ok || rest != "" && rest[0] != '.' && rest[0] != '[':
		case name.oas == oasAnyScheme:
			return oasPrefix + name.oas + camelCase(rest)
		default:
			return oasPrefix + name.oas + oasDetails().Replace(rest)
		}
	}
	return classic
}

// oasName says what a member of the classic form is called below
// x-tyk-api-gateway.
type oasName struct{ classic, oas string }

// oasNames lists longer paths before those that they begin with.
func oasNames() []oasName {
	return []oasName{
		{"api_id", "info.id"},
		{"active", "info.state.active"},
		{"expiration", "info.expiration"},
		{"domain", "server.customDomain.name"},
		{"session_lifetime", "server.authentication.customKeyLifetime.value"},
		{"proxy.listen_path", "server.listenPath.value"},
		{"proxy.target_url", "upstream.url"},
		{"enable_coprocess_auth", "server.authentication.custom.enabled"},
		{"use_keyless", "server.authentication.enabled"},
		{"auth.param_name", "server.authentication.securitySchemes"},
		{"external_oauth", oasAnyScheme},
		{"config_data", "middleware.global.pluginConfig.data.value"},
		{"custom_middleware_bundle", "middleware.global.pluginConfig.bundle.path"},
		{"custom_middleware.driver", "middleware.global.pluginConfig.driver"},
		{"custom_middleware.auth_check", "server.authentication.custom.config"},
		{"custom_middleware.id_extractor", "server.authentication.custom.config.idExtractor"},
		{"custom_middleware.pre", "middleware.global.prePlugins"},
		{"custom_middleware.post_key_auth", "middleware.global.postAuthenticationPlugins"},
		{"custom_middleware.post", "middleware.global.postPlugins"},
		{"custom_middleware.response", "middleware.global.responsePlugins"},
		{"custom_middleware", "middleware.global"},
		{"event_handlers.events", "server.eventHandlers"},
	}
}

// camelCase turns client_id into clientId.
func camelCase(name string) string {
	first, rest, more := strings.Cut(name, "_")
	if !more || rest == "" {
		return name
	}
	return first + strings.ToUpper(rest[:1]) + camelCase(rest[1:])
}

// oasDetails renames what is inside of hooks, extractors and event handlers.
func oasDetails() *strings.Replacer {
	return strings.NewReplacer(
		".extract_from", ".source", ".extract_with", ".with",
		".extractor_config.header_name", ".config.headerName",
		".extractor_config.param_name", ".config.formParamName",
		".extractor_config.regex_expression", ".config.regexp",
		".extractor_config.regex_match_index", ".config.regexpMatchIndex",
		".extractor_config.xpath_expression", ".config.xPathExp",
		".handler_name", ".type", ".handler_meta.target_path", ".url", ".handler_meta.event_timeout", ".cooldownPeriod",
		".handler_meta.header_map", ".headers", ".handler_meta.template_path", ".bodyTemplate",
		".handler_meta.prefix", ".logPrefix", ".handler_meta.name", ".functionName", ".handler_meta", "",
		".name", ".functionName",
	)
}
