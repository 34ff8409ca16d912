package apidef

import (
	"strings"
	"time"

	"github.com/krait-gateway/krait/jsonfile"
)

// protection is a setting that this version does not have and whose absence
// would leave something open, or send requests where they should not go. An
// API with an active one is refused.
type protection struct {
	// path is as for jsonfile.Find.
	path string
	// active says whether the value asks for anything; nil means jsonfile.IsOn.
	active func(value any) bool
	// unless is a path that switches the setting off when it is set.
	unless string
	// next says what to do instead.
	next string
}

const problemUnsupported = "is active, but this version of krait does not support it and would leave out what it does"

const (
	nextCustomAuth = "authenticate with custom_plugin_auth_enabled and an auth_check hook instead, or set it to false"
	nextPreHook    = "check this in a pre hook instead, or remove it"
	nextResponse   = "do this in a response hook instead, or remove it"
)

// protectionTable returns the settings outside version_data.
func protectionTable() []protection {
	return []protection{
		// Authentication.
		{path: "enable_jwt", next: nextCustomAuth},
		{path: "use_basic_auth", next: nextCustomAuth},
		{path: "use_oauth2", next: nextCustomAuth},
		{path: "use_openid", next: nextCustomAuth},
		{path: "enable_signature_checking", next: nextCustomAuth},
		{path: "use_go_plugin_auth", next: nextCustomAuth},
		{path: "use_mutual_tls_auth", next: "check client certificates in front of the gateway, or set it to false"},
		{path: "client_certificates", next: "check client certificates in front of the gateway, or remove them"},
		{path: "auth.use_certificate", next: "set it to false"},
		{path: "auth_configs.*.use_certificate", next: "set it to false"},
		{path: "auth.validate_signature", next: nextPreHook},
		{path: "auth_configs.*.validate_signature", next: nextPreHook},
		{path: "auth_provider.storage_engine", active: otherEngine, next: "use redis or remove it"},
		{path: "strip_auth_data", next: "delete the header in a post hook, or set it to false"},

		// Who may call, and how often.
		{path: "enable_ip_whitelisting", unless: "ip_access_control_disabled", next: nextPreHook},
		{path: "enable_ip_blacklisting", unless: "ip_access_control_disabled", next: nextPreHook},
		{path: "internal", next: "take the definition out of app_path, or set it to false"},
		{path: "global_rate_limit", active: limits, next: "limit requests in front of the gateway, or remove it"},

		// Where the API is served and where requests go.
		{path: "listen_port", next: "remove it; APIs are served on the listen_port of tyk.conf"},
		{path: "protocol", active: otherProtocol, next: "use http or https"},
		{path: "enable_proxy_protocol", next: "set it to false"},
		{path: "graphql.enabled", next: "set it to false"},
		{path: "is_oas", next: "put its OAS definition, which Tyk keeps in a file named -oas.json, into the same directory"},
		{path: "definition.enabled", next: "put each version into a definition of its own with its own listen_path"},
		{path: "proxy.enable_load_balancing", next: "balance in front of the upstream and name that in proxy.target_url"},
		{path: "proxy.service_discovery.use_discovery_service", next: "name the upstream in proxy.target_url"},
		{path: "response_processors", active: processors, next: nextResponse},

		// The connection to the upstream.
		{path: "request_signing.is_enabled", next: "sign in a post hook, or set it to false"},
		{path: "upstream_auth", next: "add the credentials in a post hook, or remove it"},
		{path: "upstream_certificates", unless: "upstream_certificates_disabled", next: "remove them"},
		{path: "pinned_public_keys", unless: "certificate_pinning_disabled", next: "remove them"},
		{path: "proxy.transport.ssl_min_version", active: above(tls12), next: "remove it; TLS 1.2 is the minimum"},
		{path: "proxy.transport.ssl_ciphers", next: "remove them"},
		{path: "proxy.transport.ssl_force_common_name_check", next: "set it to false; host names in certificates are checked"},
		{path: "proxy.transport.proxy_url", next: "remove it"},
	}
}

// tls12 is TLS 1.2 as TLS itself numbers it.
const tls12 = 0x0303

// protections judges one definition.
type protections struct {
	name string
	tree map[string]any
	now  time.Time
	// scheme is the security scheme of the OAS form with external OAuth.
	scheme string

	faults    []jsonfile.Fault
	expiresAt time.Time
}

func (p *protections) run() {
	for _, setting := range protectionTable() {
		p.check(p.tree, "", setting)
	}
	if !jsonfile.Holds(p.tree, "use_keyless") {
		p.oneAuthentication()
	}
	p.expiry(p.tree, "", "expiration")
	p.versions()
}

// oneAuthentication refuses more than one kind of authentication.
func (p *protections) oneAuthentication() {
	custom := jsonfile.Holds(p.tree, "enable_coprocess_auth") || jsonfile.Holds(p.tree, "custom_plugin_auth_enabled")
	external := jsonfile.Holds(p.tree, "external_oauth.enabled")
	if custom && external {
		p.add("external_oauth.enabled", "asks for a token of an identity provider beside the auth_check hook, but one API has one kind of authentication",
			"set it or enable_coprocess_auth to false")
	}
	if !jsonfile.Holds(p.tree, "use_standard_auth") {
		return
	}
	switch {
	case custom:
		p.add("use_standard_auth", "asks for a stored key beside the auth_check hook, but one API has one kind of authentication",
			"set it or enable_coprocess_auth to false")
	case external:
		p.add("use_standard_auth", "asks for a stored key beside a token of an identity provider, but one API has one kind of authentication",
			"set it or external_oauth.enabled to false")
	}
}

// check refuses setting when it is active in tree, which is at prefix in the
// file.
func (p *protections) check(tree any, prefix string, setting protection) {
	if setting.unless != "" && jsonfile.IsTrue(tree, setting.unless) {
		return
	}
	if at := strings.LastIndexByte(setting.path, '.'); at >= 0 {
		p.objects(tree, prefix, setting.path[:at])
	}
	active := setting.active
	if active == nil {
		active = jsonfile.IsOn
	}
	for _, m := range jsonfile.Find(tree, setting.path) {
		if active(m.Value) {
			p.add(joinField(prefix, m.Field), problemUnsupported, setting.next)
		}
	}
}

// objects refuses what stands at path, or on the way there, and is no object:
// nothing can be found in it.
func (p *protections) objects(tree any, prefix, path string) {
	for end := range len(path) + 1 {
		if end < len(path) && path[end] != '.' {
			continue
		}
		for _, m := range jsonfile.Find(tree, path[:end]) {
			field := joinField(prefix, m.Field)
			if _, ok := m.Value.(map[string]any); !ok && jsonfile.IsSet(m.Value) && !reported(p.faults, field) {
				p.add(field, "must be an object, so that it can be seen what it asks for", "write { ... }")
			}
		}
	}
}

func (p *protections) add(field, problem, next string) {
	p.faults = append(p.faults, jsonfile.Fault{File: p.name, Field: field, Problem: problem, Next: next})
}

// expiry judges the time at path in tree, which is at prefix in the file.
func (p *protections) expiry(tree any, prefix, path string) {
	for _, m := range jsonfile.Find(tree, path) {
		text, ok := m.Value.(string)
		if !ok && jsonfile.IsSet(m.Value) {
			text = "?"
		}
		p.expires(text, joinField(prefix, m.Field))
	}
}

func (p *protections) expires(text, field string) {
	if text == "" || text == "-1" {
		return
	}
	at, err := time.Parse(expiryLayout, text)
	switch {
	case err != nil:
		p.add(field, "is not a time", `write it as "2006-01-02 15:04" in UTC, or "" for never`)
	case !at.After(p.now):
		p.add(field, "has passed, the API has expired", "move it into the future or remove the definition")
	case p.expiresAt.IsZero() || at.Before(p.expiresAt):
		p.expiresAt = at
	}
}

func limits(value any) bool {
	rate, oddRate := numberAt(value, "rate")
	per, oddPer := numberAt(value, "per")
	return !jsonfile.IsTrue(value, "disabled") && (oddRate || oddPer || (rate > 0 && per > 0))
}

func above(limit float64) func(any) bool {
	return func(value any) bool {
		n, strange := numberAt(map[string]any{"n": value}, "n")
		return strange || n > limit
	}
}

func otherProtocol(value any) bool {
	switch value {
	case nil, "", "http", "https":
		return false
	}
	return true
}

func otherEngine(value any) bool {
	switch value {
	case nil, "", "redis":
		return false
	}
	return true
}

// processors: Tyk lists processors without options wherever hooks or
// transformations are configured; on their own they do nothing.
func processors(value any) bool {
	list, ok := value.([]any)
	if !ok {
		return jsonfile.IsSet(value)
	}
	for _, element := range list {
		if _, ok := element.(map[string]any); !ok || jsonfile.Holds(element, "options") {
			return true
		}
	}
	return false
}
