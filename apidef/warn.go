package apidef

import (
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

// warn lists what the definition asks for in vain.
func warn(name string, file *classic, tree map[string]any, unknown []string) []string {
	var warnings []string
	add := func(field, text string) { warnings = append(warnings, name+": "+field+": "+text) }

	if file.CustomMiddleware.IDExtractor.Runs() {
		add("custom_middleware.id_extractor", "is not used by this version; auth_check runs for every request")
	}
	if file.UseKeyless && (file.EnableCoprocessAuth || file.CustomPluginAuthEnabled) {
		add("use_keyless", "is true, so that the auth_check hook does not run and anybody may call the API")
	}
	for _, event := range sortedKeys(file.EventHandlers.Events) {
		for _, handler := range file.EventHandlers.Events[event] {
			switch handler.Name {
			case "", handlerPlugin, "eh_log_handler", "eh_web_hook_handler":
			default:
				add("event_handlers.events."+event, "the handler "+handler.Name+" is not known and is not called")
			}
		}
	}
	for _, version := range jsonfile.Find(tree, "version_data.versions.*") {
		for _, m := range jsonfile.Find(version.Value, "extended_paths.*") {
			if harmlessPath(m.Field[strings.IndexByte(m.Field, '.')+1:]) && hasEntry(m.Value) && jsonfile.Holds(version.Value, "use_extended_paths") {
				add(joinField(version.Field, m.Field), "is not supported and without effect")
			}
		}
	}
	for _, field := range unknown {
		if isInert(field) {
			continue
		}
		found := jsonfile.Find(tree, field)
		if len(found) == 0 || slices.ContainsFunc(found, func(m jsonfile.Member) bool { return jsonfile.IsOn(m.Value) }) {
			add(field, "is not known or not supported, and without effect")
		}
	}
	slices.Sort(warnings)
	return warnings
}

// isInert says whether nobody needs to hear that a member has no effect: it
// is an identifier or a statistic, a detail of something that has its own
// switch, or something the table of protections has judged.
func isInert(field string) bool {
	top, _, _ := strings.Cut(strings.ToLower(field), ".")
	if strings.HasPrefix(top, "jwt_") || strings.HasPrefix(top, "hmac_") {
		return true
	}
	switch top {
	case "_id", "created_at", "updated_at", "do_not_track", "enable_detailed_recording", "detailed_tracing",
		"expire_analytics_after", "tag_headers", "tags", "tags_disabled", "analytics_plugin", "uptime_tests",
		"dont_set_quota_on_create", "dont_set_quotas_on_create", "session_lifetime_respects_key_expiration",
		"auth_provider", "session_provider", "oauth_meta", "openid_options", "basic_auth", "notifications",
		"scopes", "idp_client_id_mapping_disabled", "base_identity_provided_by",
		"definition", "version_data", "request_signing", "global_rate_limit", "graphql", "upstream_auth",
		"upstream_certificates", "upstream_certificates_disabled", "pinned_public_keys",
		"certificate_pinning_disabled", "response_processors", "protocol", "listen_port",
		"ip_access_control_disabled", "allowed_ips", "blacklisted_ips", "enable_ip_whitelisting",
		"enable_ip_blacklisting", "enable_jwt", "use_basic_auth", "use_oauth2", "use_openid",
		"enable_signature_checking", "use_go_plugin_auth", "use_mutual_tls_auth", "client_certificates",
		"strip_auth_data", "internal", "enable_proxy_protocol", "is_oas":
		return true
	}
	for _, prefix := range [...]string{
		"proxy.service_discovery", "proxy.transport.", "proxy.target_list", "proxy.enable_load_balancing",
		"proxy.check_host_against_uptime_tests", "auth.", "auth_configs.", "external_oauth.",
	} {
		if strings.HasPrefix(strings.ToLower(field), prefix) {
			return true
		}
	}
	return false
}
