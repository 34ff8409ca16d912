package apidef

import (
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

// warnOAS lists what a definition in the OAS form asks for in vain.
func warnOAS(judge *protections, document *oasDocument, api *API, unknown []string) []string {
	w := warner{name: judge.name}
	w.common(api)
	switch a := document.Extension.Server.Authentication; {
	case !api.Keyless || api.CustomAuth:
	case a != nil && len(a.enabledSchemes()) > 0:
		w.keyless(api.Form, a.enabledSchemes()[0]+" of securitySchemes has no effect")
	case len(document.Security) > 0 && len(document.Security[0]) > 0:
		w.add("security", "has no effect, because "+api.Form.Field("use_keyless")+" is not true; anybody may call the API")
	}
	for _, operation := range jsonfile.Find(judge.tree, oasPrefix+"middleware.operations.*") {
		for _, m := range jsonfile.Find(operation.Value, "*") {
			if harmlessOperation(m.Field) && asks(m.Value) {
				w.add(joinField(operation.Field, m.Field), "is not supported and without effect")
			}
		}
	}
	w.unknown(judge.tree, unknown, isInertOAS)
	for i, line := range w.lines {
		w.lines[i] = strings.Replace(line, oasAnyScheme, oasSchemesField+"."+judge.scheme, 1)
	}
	slices.Sort(w.lines)
	return w.lines
}

// isInertOAS is [isInert] for the OAS form. The rest of an OpenAPI document is
// for people and other tools.
func isInertOAS(field string) bool {
	field = strings.ToLower(field)
	inside, ok := strings.CutPrefix(field, oasPrefix)
	if !ok {
		top, _, nested := strings.Cut(field, ".")
		return nested || isOpenAPI(top)
	}
	for _, prefix := range [...]string{
		"info.dbid", "info.expiration", "info.versioning", "info.state.internal",
		"server.gatewaytags", "server.detailedactivitylogs", "server.detailedtracing", "server.contextvariables",
		"server.authentication", "server.clientcertificates", "server.ipaccesscontrol", "server.port", "server.protocol",
		"upstream.servicediscovery", "upstream.uptimetests", "upstream.mutualtls", "upstream.certificatepinning",
		"upstream.ratelimit", "upstream.authentication", "upstream.loadbalancing", "upstream.tlstransport", "upstream.proxy",
		"middleware.operations", "middleware.mcptools", "middleware.mcpresources", "middleware.mcpprompts",
		"middleware.global.trafficlogs", "middleware.global.contextvariables", "middleware.global.skipquotareset",
		"middleware.global.requestsizelimit", "middleware.global.authenticationplugin", "middleware.global.mockresponse",
		"middleware.global.transformrequestheaders", "middleware.global.transformresponseheaders",
		"middleware.global.transformrequestbody", "middleware.global.transformresponsebody", "middleware.global.validaterequest",
	} {
		if rest, ok := strings.CutPrefix(inside, prefix); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// isOpenAPI says whether a member of the document is one that OpenAPI 3
// defines, or an extension for others than gateways.
func isOpenAPI(name string) bool {
	switch name {
	case "openapi", "info", "jsonschemadialect", "servers", "paths", "webhooks", "components", "security", "tags", "externaldocs":
		return true
	}
	return strings.HasPrefix(name, "x-")
}
