package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

// unsupported is a known setting of Tyk that protects something and that this
// version does not have. It is refused when it is active.
type unsupported struct {
	// path is as for jsonfile.Find.
	path string
	// variable is what follows TYK_GW_ where it is not the path without
	// underscores.
	variable string
	// active says whether the value in the file asks for anything; nil
	// means jsonfile.IsOn.
	active func(value any) bool
	next   string
}

func unsupportedSettings() []unsupported {
	return []unsupported{
		{path: "hostname", next: "set domain in each API definition, or remove it"},
		{path: "control_api_hostname", next: "remove it; the gateway's own API is served on listen_port"},
		{path: "control_api_port", next: "remove it; the gateway's own API is served on listen_port"},
		{path: "security.control_api_use_mutual_tls", next: "check client certificates in front of the gateway, or set it to false"},
		{path: "security.pinned_public_keys", next: "remove it"},
		{path: "security.certificates.upstream", next: "remove it"},
		{path: "http_server_options.use_ssl_le", variable: "HTTPSERVEROPTIONS_USELE_SSL", next: "name certificate files in http_server_options.certificates"},
		{path: "http_server_options.ssl_certificates", next: "name certificate files in http_server_options.certificates"},
		{path: "http_server_options.ssl_ciphers", variable: "HTTPSERVEROPTIONS_CIPHERS", next: "remove it; only secure cipher suites are offered"},
		{path: "http_server_options.max_response_body_size", next: "remove it"},
		{path: "ssl_force_common_name_check", next: "set it to false; host names in certificates are checked"},
		{path: "proxy_ssl_min_version", active: newerThanTLS12, next: "remove it; TLS 1.2 is the minimum"},
		{path: "proxy_ssl_ciphers", variable: "PROXYSSLCIPHERSUITES", next: "remove it; only secure cipher suites are used"},
		{path: "storage.tls_min_version", active: newerThanTLS12, next: "remove it; TLS 1.2 is the minimum"},
		{path: "enforce_org_quotas", next: "set it to false"},
		{path: "auth_override.force_auth_provider", next: "set it to false"},
		{path: "auth_override.force_session_provider", next: "set it to false"},
		{path: "slave_options.use_rpc", next: "put API definitions as files into app_path and set it to false"},
		{path: "kv.consul.address", next: "write the values themselves"},
		{path: "kv.vault.address", next: "write the values themselves"},
	}
}

// newerThanTLS12 says whether value asks for more than Go's own minimum.
func newerThanTLS12(value any) bool {
	switch fmt.Sprint(value) {
	case "", "<nil>", "0", "769", "770", "771", "1.0", "1.1", "1.2":
		return false
	}
	return true
}

func (u unsupported) fault(file, field string) jsonfile.Fault {
	return jsonfile.Fault{
		File: file, Field: field, Next: u.next,
		Problem: "is active, but this version of krait does not support it and would leave out what it does",
	}
}

func unsupportedInFile(file string, tree map[string]any) []jsonfile.Fault {
	var faults []jsonfile.Fault
	for _, setting := range unsupportedSettings() {
		active := setting.active
		if active == nil {
			active = jsonfile.IsOn
		}
		for _, m := range jsonfile.Find(tree, setting.path) {
			if active(m.Value) {
				faults = append(faults, setting.fault(file, m.Field))
			}
		}
	}
	return faults
}

func unsupportedVariable(name string) (unsupported, bool) {
	for _, setting := range unsupportedSettings() {
		variable := setting.variable
		if variable == "" {
			variable = strings.ToUpper(strings.ReplaceAll(strings.ReplaceAll(setting.path, "_", ""), ".", "_"))
		}
		if name == envPrefix+variable {
			return setting, true
		}
	}
	return unsupported{}, false
}

// inVain returns a warning for each member that nothing reads, unless it asks
// for nothing or is a matter of unsupportedInFile.
func inVain(file string, tree map[string]any, unknown []string) []string {
	var warnings []string
	for _, field := range unknown {
		value, found := jsonfile.Unbound(tree, field)
		if (found && !jsonfile.IsOn(value)) || judged(field) {
			continue
		}
		text := "is not known or not supported, and without effect"
		if strings.EqualFold(field, "custom_middleware") || strings.EqualFold(field, "custom_middleware_bundle") {
			text = "has no effect here; it belongs into an API definition or a bundle's manifest"
		}
		warnings = append(warnings, file+": "+field+": "+text)
	}
	return warnings
}

// judged says whether the table above decides on the member, or it loosens
// what is not there to begin with.
func judged(field string) bool {
	if strings.EqualFold(field, "allow_insecure_configs") {
		return true
	}
	return slices.ContainsFunc(unsupportedSettings(), func(u unsupported) bool { return strings.EqualFold(u.path, field) })
}
