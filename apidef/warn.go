package apidef

import (
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

// warner collects what a definition asks for in vain.
type warner struct {
	name  string
	lines []string
}

func (w *warner) add(field, text string) { w.lines = append(w.lines, w.name+": "+field+": "+text) }

// warnClassic lists what a definition in the classic form asks for in vain.
func warnClassic(name string, api *API, tree map[string]any, unknown []string) []string {
	w := warner{name: name}
	w.common(api)
	for _, version := range jsonfile.Find(tree, "version_data.versions.*") {
		for _, m := range jsonfile.Find(version.Value, "extended_paths.*") {
			if harmlessPath(m.Field[strings.IndexByte(m.Field, '.')+1:]) && hasEntry(m.Value) && jsonfile.Holds(version.Value, "use_extended_paths") {
				w.add(joinField(version.Field, m.Field), "is not supported and without effect")
			}
		}
	}
	w.unknown(tree, unknown, isInert)
	slices.Sort(w.lines)
	return w.lines
}

// common is what both forms can ask for.
func (w *warner) common(api *API) {
	if api.Keyless && api.CustomAuth {
		w.keyless(api.Form, "the auth_check hook does not run")
	}
	if api.Keyless && api.ExternalOAuth.Enabled && api.Form == FormClassic {
		w.keyless(api.Form, "no token is checked")
	}
	if !api.Keyless {
		w.externalOAuth(api)
	}
	for _, event := range sortedKeys(api.EventHandlers) {
		for _, handler := range api.EventHandlers[event] {
			switch handler.Name {
			case "", handlerPlugin, "eh_log_handler", "eh_web_hook_handler":
			default:
				w.add(api.Form.Field("event_handlers.events."+event), "the handler "+handler.Name+" is not known and is not called")
			}
		}
	}
}

// keyless says that authentication is configured and switched off.
func (w *warner) keyless(form Form, so string) {
	is := "is true"
	if form == FormOAS {
		is = "is false"
	}
	w.add(form.Field("use_keyless"), is+", so that "+so+" and anybody may call the API")
}

// unknown names members that no setting of this gateway takes, but for those
// that are inert.
func (w *warner) unknown(tree map[string]any, fields []string, inert func(field string) bool) {
	for _, field := range fields {
		if inert(field) {
			continue
		}
		if value, found := jsonfile.Unbound(tree, field); !found || jsonfile.IsOn(value) {
			w.add(field, "is not known or not supported, and without effect")
		}
	}
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
