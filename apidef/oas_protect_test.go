package apidef_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/jsonfile"
)

func TestParseRefusesOASProtectionsItDoesNotHave(t *testing.T) {
	const (
		a  = "server.authentication."
		g  = "middleware.global."
		op = "middleware.operations."
	)
	inside := func(change string) string { return `{"x-tyk-api-gateway": ` + change + `}` }
	for _, tc := range []struct{ document, field string }{
		{inside(auth(`"hmac": {"enabled": true}`)), a + "hmac"},
		{inside(auth(`"oidc": {"enabled": true}`)), a + "oidc"},
		{inside(auth(`"stripAuthorizationData": true`)), a + "stripAuthorizationData"},
		{inside(auth(`"securityProcessingMode": "compliant"`)), a + "securityProcessingMode"},
		{inside(auth(`"ofALaterTyk": {"enabled": true}`)), a + "ofALaterTyk"},
		{inside(auth(`"custom": {"enabled": true, "ofALaterTyk": true}`)), a + "custom.ofALaterTyk"},
		{scheme(`{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}`, `{"enabled": true, "source": "x"}`), a + "securitySchemes.s"},
		{scheme(`{"type": "http", "scheme": "basic"}`, `{"enabled": true}`), a + "securitySchemes.s"},
		{scheme(`{"type": "oauth2", "flows": {}}`, `{"enabled": true}`), a + "securitySchemes.s"},
		{scheme(`{"type": "openIdConnect"}`, `{"enabled": true}`), a + "securitySchemes.s"},
		{scheme(`{"type": "mutualTLS"}`, `{"enabled": true}`), a + "securitySchemes.s"},
		{scheme(`{"$ref": "#/components/securitySchemes/other"}`, `{"enabled": true}`), a + "securitySchemes.s"},
		{inside(auth(`"securitySchemes": {"not.described": {"enabled": true}}`)), a + "securitySchemes.not.described"},
		{scheme(`{"type": "apiKey", "in": "header", "name": "A"}`, `{"enabled": true, "enableClientCertificate": true}`), a + "securitySchemes.s.enableClientCertificate"},
		{scheme(`{"type": "apiKey", "in": "header", "name": "A"}`, `{"enabled": true, "signatureValidation": {"enabled": true}}`), a + "securitySchemes.s.signatureValidation"},
		{`{"components": {"securitySchemes": {"s": {"type": "apiKey", "in": "header", "name": "A"}}}, "x-tyk-api-gateway": ` + auth(`"custom": {"enabled": true}, "securitySchemes": {"s": {"enabled": true}}`) + `}`, a + "securitySchemes.s"},
		{inside(`{"info": {"state": {"internal": true}}}`), "info.state.internal"},
		{inside(`{"info": {"versioning": {"enabled": true, "name": "v1"}}}`), "info.versioning"},
		{inside(server(`"clientCertificates": {"enabled": true}`)), "server.clientCertificates"},
		{inside(server(`"clientCertificates": {"allowlist": ["id"]}`)), "server.clientCertificates"},
		{inside(server(`"ipAccessControl": {"enabled": true, "block": ["10.0.0.1"]}`)), "server.ipAccessControl"},
		{inside(server(`"port": 9000`)), "server.port"},
		{inside(server(`"protocol": "tcp"`)), "server.protocol"},
		{inside(upstream(`"rateLimit": {"enabled": true, "rate": 1, "per": "1s"}`)), "upstream.rateLimit"},
		{inside(upstream(`"loadBalancing": {"enabled": true}`)), "upstream.loadBalancing"},
		{inside(upstream(`"serviceDiscovery": {"enabled": true}`)), "upstream.serviceDiscovery"},
		{inside(upstream(`"authentication": {"enabled": true, "basicAuth": {"enabled": true}}`)), "upstream.authentication"},
		{inside(upstream(`"mutualTLS": {"enabled": true}`)), "upstream.mutualTLS"},
		{inside(upstream(`"certificatePinning": {"enabled": true}`)), "upstream.certificatePinning"},
		{inside(upstream(`"proxy": {"enabled": true, "url": "http://p"}`)), "upstream.proxy"},
		{inside(upstream(`"tlsTransport": {"minVersion": "1.3"}`)), "upstream.tlsTransport.minVersion"},
		{inside(upstream(`"tlsTransport": {"ciphers": ["x"]}`)), "upstream.tlsTransport.ciphers"},
		{inside(upstream(`"TLSTRANSPORT": {"forceCommonNameCheck": true}`)), "upstream.TLSTRANSPORT.forceCommonNameCheck"},
		{inside(global(`"requestSizeLimit": {"enabled": true, "value": 1}`)), g + "requestSizeLimit"},
		{inside(global(`"transformRequestHeaders": {"enabled": true, "remove": ["X"]}`)), g + "transformRequestHeaders"},
		{inside(global(`"transformResponseHeaders": {"enabled": true, "remove": ["X"]}`)), g + "transformResponseHeaders"},
		{inside(global(`"authenticationPlugin": {"enabled": true, "functionName": "A"}`)), g + "authenticationPlugin"},
		{inside(operations(`"op": {"allow": {"enabled": true}}`)), op + "op.allow"},
		{inside(operations(`"op": [{"block": {"enabled": true}}]`)), op + "op"},
		{inside(`{"middleware": {"operations": [{"op": {"block": {"enabled": true}}}]}}`), "middleware.operations"},
		{inside(`{"info": {"expiration": 978307200}}`), "info.expiration"},
		{inside(server(`"customDomain": {"enabled": true}`)), "server.customDomain.name"},
		{inside(server(`"ipAccessControl": {"enabled": true, "Enabled": false, "allow": ["10.0.0.1"]}`)), "server.ipAccessControl"},
		{inside(server(`"ipAccessControl": {"enabled": true, "disabled": true, "allow": ["10.0.0.1"]}`)), "server.ipAccessControl"},
		{inside(operations(`"op": {"block": {"enabled": true}}`)), op + "op.block"},
		{inside(operations(`"op": {"internal": {"enabled": true}}`)), op + "op.internal"},
		{inside(operations(`"op": {"validateRequest": {"enabled": true}}`)), op + "op.validateRequest"},
		{inside(operations(`"op": {"mockResponse": {"enabled": true}}`)), op + "op.mockResponse"},
		{inside(operations(`"op": {"rateLimit": {"enabled": true}}`)), op + "op.rateLimit"},
		{inside(operations(`"op": {"urlRewrite": {"enabled": true}}`)), op + "op.urlRewrite"},
		{inside(operations(`"op": {"transformResponseBody": {"enabled": true}}`)), op + "op.transformResponseBody"},
		{inside(operations(`"pets/{id}GET": {"postPlugins": [{"enabled": true, "functionName": "x"}]}`)), op + "pets/{id}GET.postPlugins"},
		{inside(operations(`"op": {"ofALaterTyk": {"enabled": true}}`)), op + "op.ofALaterTyk"},
		{inside(`{"middleware": {"mcpTools": {"t": {"block": {"enabled": true}}}}}`), "middleware.mcpTools"},
		{inside(`{"middleware": {"ofALaterTyk": {"enabled": true}}}`), "middleware.ofALaterTyk"},
	} {
		t.Run(tc.document, func(t *testing.T) {
			_, _, err := apidef.Parse("a.json", oas(t, tc.document))
			requireFault(t, err, ext+tc.field)
		})
	}
	t.Run("streams beside the gateway's extension", func(t *testing.T) {
		_, _, err := apidef.Parse("a.json", oas(t, `{"x-tyk-streaming": {"streams": {"s": {"input": {}, "x": 1}}}}`))
		requireFault(t, err, "x-tyk-streaming")
	})
}

// requireFault wants a fault of field, and problem and next step with each.
func requireFault(t *testing.T, err error, field string) {
	t.Helper()
	var fields []string
	for _, fault := range jsonfile.Faults("a.json", err) {
		fields = append(fields, fault.Field)
		require.NotEmpty(t, fault.Problem)
		require.NotEmpty(t, fault.Next)
	}
	require.Contains(t, fields, field)
}

func TestParseRefusesSeveralKindsOfAuthentication(t *testing.T) {
	_, _, err := apidef.Parse("a.json", oas(t, `{
		"components": {"securitySchemes": {"a": {"type": "apiKey", "in": "header", "name": "A"}, "b": {"type": "apiKey", "in": "header", "name": "B"}}},
		"x-tyk-api-gateway": `+auth(`"securitySchemes": {"a": {"enabled": true}, "b": {"enabled": true}}`)+`}`))
	require.EqualError(t, err, "a.json: "+ext+"server.authentication.securitySchemes.b: is enabled beside server.authentication.securitySchemes.a, "+
		"but one API has one kind of authentication; set enabled of one of the two to false")
}

func TestParseReadsExternalOAuthAsTykWritesIt(t *testing.T) {
	for _, name := range []string{"clientId", "clientID"} {
		api, warnings, err := apidef.Parse("a.json", oas(t, scheme(`{"type": "oauth2"}`, `{
			"enabled": true, "header": {"enabled": true, "name": "X-Token"},
			"providers": [{"introspection": {"enabled": true, "url": "https://idp/introspect", "`+name+`": "c", "clientSecret": "s",
				"identityBaseField": "sub", "cache": {"enabled": true, "timeout": 3}}}]}`)))
		require.NoError(t, err)
		require.Empty(t, warnings)
		require.False(t, api.Keyless)
		require.Equal(t, "X-Token", api.Auth.HeaderName)
		require.Equal(t, apidef.ExternalOAuth{Enabled: true, Providers: []apidef.OAuthProvider{{Introspection: apidef.OAuthIntrospection{
			Enabled: true, URL: "https://idp/introspect", ClientID: "c", ClientSecret: "s", IdentityBaseField: "sub",
			Cache: &apidef.OAuthCache{Enabled: true, Timeout: 3},
		}}}}, api.ExternalOAuth)
	}
	_, _, err := apidef.Parse("a.json", oas(t, scheme(`{"type": "oauth2"}`, `{"enabled": true, "ofALaterTyk": {"enabled": true},
		"providers": [{"jwt": {"enabled": true, "signingMethod": "hmac", "source": "dHlrLTEyMw=="}}]}`)))
	requireFault(t, err, ext+"server.authentication.securitySchemes.s.ofALaterTyk")
}

func TestOASFaultsOfExternalOAuthNameTheMembersOfTheFile(t *testing.T) {
	for _, tc := range []struct{ provider, field string }{
		{`{"introspection": {"enabled": true, "url": "http://idp"}}`, "[0].introspection.clientId"},
		{`{"introspection": {"enabled": true, "clientID": 7}}`, "[0].introspection.clientID"},
		{`{"jwt": {"enabled": true, "source": "dHlrLTEyMw=="}}`, "[0].jwt.signingMethod"},
		{`{"jwt": {"enabled": true, "ofALaterTyk": true}}`, "[0].jwt.ofALaterTyk"},
		{`{"jwt": {"enabled": false}}`, "[0]"},
	} {
		_, _, err := apidef.Parse("a.json", oas(t, scheme(`{"type": "oauth2"}`, `{"enabled": true, "providers": [`+tc.provider+`]}`)))
		requireFault(t, err, ext+"server.authentication.securitySchemes.s.providers"+tc.field)
	}
}

func TestParseAcceptsOASProtectionsThatAreSwitchedOff(t *testing.T) {
	for _, change := range []string{
		server(`"clientCertificates": {"enabled": false, "allowlist": ["id"]}`),
		server(`"authentication": {"enabled": false, "stripAuthorizationData": true, "hmac": {"enabled": true}}`),
		upstream(`"tlsTransport": {"minVersion": "1.2"}`),
		upstream(`"authentication": {"enabled": false, "basicAuth": {"enabled": true}}`),
		global(`"requestSizeLimit": {"enabled": false, "value": 1}`),
		operations(`"op": {"allow": {"enabled": false}, "postPlugins": [{"enabled": false, "functionName": "x"}]}`),
		`{"info": {"versioning": {"enabled": false, "versions": [{"name": "v1", "id": "x"}]}}}`,
		auth(`"securityProcessingMode": "legacy", "baseIdentityProvider": "auth_token"`),
	} {
		t.Run(change, func(t *testing.T) {
			_, warnings, err := apidef.Parse("a.json", extension(t, change))
			require.NoError(t, err)
			require.Empty(t, warnings)
		})
	}
}
