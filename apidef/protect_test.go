package apidef_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/jsonfile"
)

// version returns members that hold one version with settings.
func version(settings string) string {
	return `"version_data": {"not_versioned": true, "versions": {"Default": {` + settings + `}}}`
}

func extended(paths string) string {
	return version(`"use_extended_paths": true, "extended_paths": {` + paths + `}`)
}

func TestParseRefusesProtectionsItDoesNotHave(t *testing.T) {
	const (
		at    = "version_data.versions.Default."
		paths = at + "extended_paths."
		entry = `[{"path": "/x", "method": "GET"}]`
	)
	for _, tc := range []struct{ members, field string }{
		{`"enable_jwt": true`, "enable_jwt"},
		{`"ENABLE_JWT": true`, "ENABLE_JWT"},
		{`"enable_jwt": "true"`, "enable_jwt"},
		{`"enable_jwt": true, "use_keyless": true`, "enable_jwt"},
		{`"use_basic_auth": true`, "use_basic_auth"},
		{`"use_oauth2": true`, "use_oauth2"},
		{`"use_openid": true`, "use_openid"},
		{`"enable_signature_checking": true`, "enable_signature_checking"},
		{`"use_go_plugin_auth": true`, "use_go_plugin_auth"},
		{`"external_oauth": {"enabled": true, "providers": [{}]}`, "external_oauth.providers[0]"},
		{`"external_oauth": {"enabled": true}`, "external_oauth.providers"},
		{`"external_oauth": {"enabled": true}, "enable_coprocess_auth": true`, "external_oauth.enabled"},
		{`"external_oauth": {"enabled": true}, "use_standard_auth": true`, "use_standard_auth"},
		{`"use_mutual_tls_auth": true`, "use_mutual_tls_auth"},
		{`"client_certificates": ["id"]`, "client_certificates"},
		{`"auth": {"use_certificate": true}`, "auth.use_certificate"},
		{`"auth_configs": {"authToken": {"use_certificate": true}}`, "auth_configs.authToken.use_certificate"},
		{`"auth_configs": {"coprocess": {"validate_signature": true}}`, "auth_configs.coprocess.validate_signature"},
		{`"auth": {"validate_signature": true}`, "auth.validate_signature"},
		{`"auth_provider": {"storage_engine": "ldap"}`, "auth_provider.storage_engine"},
		{`"strip_auth_data": true`, "strip_auth_data"},
		{`"enable_ip_whitelisting": true, "allowed_ips": ["10.0.0.1"]`, "enable_ip_whitelisting"},
		{`"enable_ip_blacklisting": true`, "enable_ip_blacklisting"},
		{`"internal": true`, "internal"},
		{`"global_rate_limit": {"rate": 10, "per": 1}`, "global_rate_limit"},
		{`"global_rate_limit": {"rate": "10", "per": 1}`, "global_rate_limit"},
		{`"listen_port": 9000`, "listen_port"},
		{`"protocol": "tcp"`, "protocol"},
		{`"enable_proxy_protocol": true`, "enable_proxy_protocol"},
		{`"graphql": {"enabled": true}`, "graphql.enabled"},
		{`"is_oas": true`, "is_oas"},
		{`"definition": {"enabled": true}`, "definition.enabled"},
		{`"response_processors": [{"name": "header_injector", "options": {"remove_headers": ["X-Secret"]}}]`, "response_processors"},
		{`"request_signing": {"is_enabled": true}`, "request_signing.is_enabled"},
		{`"upstream_auth": {"enabled": true, "basic_auth": {"enabled": true}}`, "upstream_auth"},
		{`"upstream_certificates": {"*": "id"}`, "upstream_certificates"},
		{`"pinned_public_keys": {"*": "id"}`, "pinned_public_keys"},
		{version(`"global_size_limit": 1024`), at + "global_size_limit"},
		{version(`"global_headers_remove": ["X-Internal"]`), at + "global_headers_remove"},
		{version(`"global_response_headers_remove": ["Server"]`), at + "global_response_headers_remove"},
		{version(`"override_target": "http://other"`), at + "override_target"},
		{version(`"paths": {"white_list": ["/x"]}`), at + "paths.white_list"},
		{version(`"paths": {"black_list": ["/x"]}`), at + "paths.black_list"},
		{extended(`"white_list": ` + entry), paths + "white_list"},
		{extended(`"black_list": ` + entry), paths + "black_list"},
		{extended(`"validate_json": ` + entry), paths + "validate_json"},
		{extended(`"validate_request": [{"enabled": true, "path": "/x"}]`), paths + "validate_request"},
		{extended(`"size_limits": ` + entry), paths + "size_limits"},
		{extended(`"internal": ` + entry), paths + "internal"},
		{extended(`"rate_limit": ` + entry), paths + "rate_limit"},
		{extended(`"transform_response_headers": ` + entry), paths + "transform_response_headers"},
		{extended(`"of_a_later_tyk": ` + entry), paths + "of_a_later_tyk"},
		{`"version_data": {"versions": {"v1": {}}}`, "version_data.versions"},
		{`"version_data": {"versions": {"Default": {}, "v2": {}}}`, "version_data.versions"},
		{`"version_data": {"not_versioned": true, "versions": {"v1": {}, "v2": {}}}`, "version_data.versions"},
	} {
		t.Run(tc.members, func(t *testing.T) {
			_, _, err := apidef.Parse("a.json", with(tc.members))
			faults := jsonfile.Faults("a.json", err)
			var fields []string
			for _, fault := range faults {
				fields = append(fields, fault.Field)
				require.NotEmpty(t, fault.Problem)
				require.NotEmpty(t, fault.Next)
			}
			require.Contains(t, fields, tc.field)
		})
	}
}

func TestParseRefusesProxyProtections(t *testing.T) {
	for _, tc := range []struct{ members, field string }{
		{`"transport": {"ssl_min_version": 772}`, "proxy.transport.ssl_min_version"},
		{`"transport": {"ssl_ciphers": ["TLS_RSA_WITH_AES_128_CBC_SHA"]}`, "proxy.transport.ssl_ciphers"},
		{`"transport": {"ssl_force_common_name_check": true}`, "proxy.transport.ssl_force_common_name_check"},
		{`"transport": {"proxy_url": "http://proxy"}`, "proxy.transport.proxy_url"},
		{`"enable_load_balancing": true`, "proxy.enable_load_balancing"},
		{`"service_discovery": {"use_discovery_service": true}`, "proxy.service_discovery.use_discovery_service"},
	} {
		t.Run(tc.members, func(t *testing.T) {
			_, _, err := apidef.Parse("a.json", with(`"proxy": {"listen_path": "/a", "target_url": "http://up", `+tc.members+`}`))
			faults := jsonfile.Faults("a.json", err)
			require.Len(t, faults, 1)
			require.Equal(t, tc.field, faults[0].Field)
		})
	}
}

func TestParseRefusesProtectionsThatCannotBeSeen(t *testing.T) {
	for _, tc := range []struct{ members, field string }{
		{`"version_data": {"not_versioned": true, "versions": [{"name": "Default", "use_extended_paths": true, "extended_paths": {"black_list": [{"path": "/x"}]}}]}`, "version_data.versions"},
		{`"version_data": {"not_versioned": true, "versions": {"Default": [{"override_target": "http://x"}]}}`, "version_data.versions.Default"},
		{version(`"use_extended_paths": true, "extended_paths": [{"black_list": [{"path": "/x"}]}]`), "version_data.versions.Default.extended_paths"},
		{version(`"paths": [{"black_list": ["/x"]}]`), "version_data.versions.Default.paths"},
		{`"request_signing": [{"is_enabled": true}]`, "request_signing"},
		{`"graphql": [{"enabled": true}]`, "graphql"},
		{`"auth_configs": [{"use_certificate": true}]`, "auth_configs"},
		{`"enable_ip_whitelisting": true, "ip_access_control_disabled": "false"`, "enable_ip_whitelisting"},
		{`"global_rate_limit": {"rate": 10, "per": 1, "disabled": "no"}`, "global_rate_limit"},
		{`"global_rate_limit": {"rate": 10, "per": 1, "disabled": true, "Disabled": false}`, "global_rate_limit"},
		{`"expiration": 978307200`, "expiration"},
	} {
		t.Run(tc.members, func(t *testing.T) {
			_, _, err := apidef.Parse("a.json", with(tc.members))
			require.NotEmpty(t, jsonfile.Faults("a.json", err))
			require.Equal(t, tc.field, jsonfile.Faults("a.json", err)[0].Field)
		})
	}
}

func TestParseAcceptsProtectionsThatAreSwitchedOff(t *testing.T) {
	for _, members := range []string{
		`"enable_ip_whitelisting": true, "ip_access_control_disabled": true`,
		`"allowed_ips": ["10.0.0.1"]`,
		`"global_rate_limit": {"rate": 10, "per": 1, "disabled": true}`,
		`"global_rate_limit": {"rate": 10, "per": 0}`,
		`"protocol": "https"`,
		`"upstream_auth": {"enabled": false, "basic_auth": {"enabled": true}}`,
		`"upstream_certificates": {"*": "id"}, "upstream_certificates_disabled": true`,
		`"pinned_public_keys": {"*": "id"}, "certificate_pinning_disabled": true`,
		`"response_processors": [{"name": "response_body_transform", "options": {}}]`,
		`"use_standard_auth": true`,
		`"proxy": {"listen_path": "/a", "target_url": "http://up", "transport": {"ssl_min_version": 771}}`,
		version(`"global_size_limit": 1024, "global_size_limit_disabled": true`),
		version(`"paths": {"white_list": ["/x"]}, "use_extended_paths": true`),
		version(`"extended_paths": {"white_list": [{"path": "/x"}]}`),
		extended(`"white_list": [{"path": "/x", "disabled": true}]`),
		version(`"expires": "2001-01-02 15:04"`),
		`"version_data": {"not_versioned": true, "versions": {"v1": {}}}`,
		`"version_data": {"not_versioned": true, "versions": {"Default": {}, "v2": {"override_target": "http://x"}}}`,
	} {
		t.Run(members, func(t *testing.T) {
			_, warnings, err := apidef.Parse("a.json", with(members))
			require.NoError(t, err)
			require.Empty(t, warnings)
		})
	}
}
