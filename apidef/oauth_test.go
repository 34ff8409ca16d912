package apidef_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/jsonfile"
)

// oauthFaults returns the fields of all faults about external OAuth of a
// definition with one provider.
func oauthFaults(t *testing.T, provider string) []string {
	t.Helper()
	_, _, err := apidef.Parse("a.json", with(`"external_oauth": {"enabled": true, "providers": [`+provider+`]}`))
	var fields []string
	for _, fault := range jsonfile.Faults("a.json", err) {
		require.NotEmpty(t, fault.Next, fault.String())
		fields = append(fields, fault.Field)
	}
	return fields
}

// pemOf returns a public key as PEM.
func pemOf(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func rsaKey(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return key
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func TestOAuthProvidersInEverySpelling(t *testing.T) {
	want := apidef.OAuthProvider{
		JWT: apidef.OAuthJWT{SigningMethod: "rsa", IssuedAtSkew: 1, NotBeforeSkew: 2, ExpiresAtSkew: 3},
		Introspection: apidef.OAuthIntrospection{
			Enabled: true, URL: "http://idp/introspect", ClientID: "id", ClientSecret: "secret", IdentityBaseField: "user.id",
			Cache: &apidef.OAuthCache{Enabled: true, Timeout: 3},
		},
	}
	for name, provider := range map[string]string{
		"classic": `{
			"jwt": {"enabled": false, "signing_method": "rsa", "issued_at_validation_skew": 1,
				"not_before_validation_skew": 2, "expires_at_validation_skew": 3, "identity_base_field": ""},
			"introspection": {"enabled": true, "url": "http://idp/introspect", "client_id": "id", "client_secret": "secret",
				"identity_base_field": "user.id", "cache": {"enabled": true, "timeout": 3}}}`,
		"OAS": `{
			"jwt": {"enabled": false, "signingMethod": "RSA", "issuedAtValidationSkew": 1,
				"notBeforeValidationSkew": 2, "expiresAtValidationSkew": 3},
			"introspection": {"enabled": true, "url": "http://idp/introspect", "clientId": "id", "clientSecret": "secret",
				"identityBaseField": "user.id", "cache": {"enabled": true, "timeout": 3}}}`,
		"clientID": `{
			"jwt": {"signingMethod": "rsa", "issuedAtValidationSkew": 1, "notBeforeValidationSkew": 2, "expiresAtValidationSkew": 3},
			"introspection": {"enabled": true, "url": "http://idp/introspect", "clientID": "id", "clientSecret": "secret",
				"identityBaseField": "user.id", "cache": {"enabled": true, "timeout": 3}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			api, warnings, err := apidef.Parse("a.json", with(`"external_oauth": {"enabled": false, "providers": [`+provider+`]}`))
			require.NoError(t, err)
			require.Empty(t, warnings)
			require.Equal(t, apidef.ExternalOAuth{Providers: []apidef.OAuthProvider{want}}, api.ExternalOAuth)
		})
	}
}

func TestOAuthCachingDefaults(t *testing.T) {
	for name, tc := range map[string]struct {
		in      apidef.OAuthIntrospection
		on      bool
		seconds int64
	}{
		"no cache":                      {},
		"phantom tokens are kept":       {in: apidef.OAuthIntrospection{PhantomToken: true}, on: true},
		"unless that is switched off":   {in: apidef.OAuthIntrospection{PhantomToken: true, Cache: &apidef.OAuthCache{}}},
		"for the seconds that are said": {in: apidef.OAuthIntrospection{Cache: &apidef.OAuthCache{Enabled: true, Timeout: 7}}, on: true, seconds: 7},
	} {
		t.Run(name, func(t *testing.T) {
			on, seconds := tc.in.Caching()
			require.Equal(t, tc.on, on)
			require.Equal(t, tc.seconds, seconds)
		})
	}
}

func TestOAuthFaultsAreReportedTogether(t *testing.T) {
	const at = "external_oauth.providers[0]."
	for _, tc := range []struct {
		name, provider string
		fields         []string
	}{
		{"nothing enabled", `{}`, []string{"external_oauth.providers[0]"}},
		{"jwt without anything", `{"jwt": {"enabled": true}}`, []string{at + "jwt.signing_method"}},
		{"unknown signing method", `{"jwt": {"enabled": true, "signing_method": "none", "source": "eA=="}}`, []string{at + "jwt.signing_method"}},
		{"empty source", `{"jwt": {"enabled": true, "signing_method": "hmac"}}`, []string{at + "jwt.source"}},
		{
			"negative and absurd skews", `{"jwt": {"enabled": true, "signing_method": "hmac", "source": "eA==", "expires_at_validation_skew": -1, "issuedAtValidationSkew": 100000}}`,
			[]string{at + "jwt.expires_at_validation_skew", at + "jwt.issued_at_validation_skew"},
		},
		{
			"introspection without anything", `{"introspection": {"enabled": true}}`,
			[]string{at + "introspection.url", at + "introspection.client_id"},
		},
		{"relative URL", `{"introspection": {"enabled": true, "url": "/introspect", "client_id": "a"}}`, []string{at + "introspection.url"}},
		{"URL with a password", `{"introspection": {"enabled": true, "url": "https://a:b@idp/", "client_id": "a"}}`, []string{at + "introspection.url"}},
		{"other scheme", `{"introspection": {"enabled": true, "url": "file:///etc/passwd", "client_id": "a"}}`, []string{at + "introspection.url"}},
		{
			"unknown options", `{"introspection": {"enabled": true, "url": "http://idp/", "client_id": "a", "client_auth": "jwt", "accept": "text/html", "request_timeout": 61, "cache": {"timeout": -1}}}`,
			[]string{at + "introspection.client_auth", at + "introspection.accept", at + "introspection.cache.timeout", at + "introspection.request_timeout"},
		},
		{"phantom token as JSON", `{"introspection": {"enabled": true, "url": "http://idp/", "client_id": "a", "phantom_token": true, "accept": "application/json"}}`, []string{at + "introspection.accept"}},
		{"keys for answers that are not signed", `{"introspection": {"enabled": true, "url": "http://idp/", "client_id": "a", "jwks_url": "http://idp/jwks"}}`, []string{at + "introspection.jwks_url"}},
		{
			"wrong types", `{"introspection": {"enabled": true, "url": 1, "client_id": "a", "clientSecret": 2}}`,
			[]string{at + "introspection.clientSecret", at + "introspection.url"},
		},
		{"unknown member", `{"introspection": {"enabled": true, "url": "http://idp/", "client_id": "a", "scopes": ["x"]}}`, []string{at + "introspection.scopes"}},
		{"unknown member with a dot", `{"introspection": {"enabled": true, "url": "http://idp/", "client_id": "a", "a.b": 1}}`, []string{at + "introspection.a.b"}},
		{"unknown kind of check", `{"oidc": {"enabled": true}, "introspection": {"enabled": true, "url": "http://idp/", "client_id": "a"}}`, []string{at + "oidc"}},
		{"unknown members of what is off", `{"jwt": {"enabled": false, "x": 1}, "introspection": {"enabled": true, "url": "http://idp/", "client_id": "a"}}`, nil},
		{"one member in two spellings", `{"introspection": {"enabled": true, "url": "http://idp/", "client_id": "a", "clientID": "b"}}`, []string{at + "introspection.client_id"}},
		{"no object", `"jwt"`, []string{"external_oauth.providers[0]", "external_oauth.providers"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.ElementsMatch(t, tc.fields, oauthFaults(t, tc.provider))
		})
	}
}

func TestOAuthFaultsNeverShowSecrets(t *testing.T) {
	_, _, err := apidef.Parse("a.json", with(`"external_oauth": {"enabled": true, "providers": [{"jwt": {"enabled": true,
		"signing_method": "hmac", "source": "hunter2!"}}]}`))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestOAuthSource(t *testing.T) {
	rsaPublic, ecPublic := rsaKey(t, 2048).Public(), ecKey(t).Public()
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	private, err := x509.MarshalPKCS8PrivateKey(ecKey(t))
	require.NoError(t, err)
	privatePEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))

	for _, tc := range []struct {
		name, method, source, problem string
		want                          apidef.OAuthKey
	}{
		{"secret of the reference's example", "hmac", "dHlrLTEyMw==", "", apidef.OAuthKey{Secret: []byte("tyk-123")}},
		{"PEM", "rsa", pemOf(t, rsaPublic), "", apidef.OAuthKey{Public: rsaPublic}},
		{"PEM in base64", "ecdsa", encode(pemOf(t, ecPublic)), "", apidef.OAuthKey{Public: ecPublic}},
		{"JWKS URL", "rsa", "https://idp.example/jwks", "", apidef.OAuthKey{JWKS: mustURL(t, "https://idp.example/jwks")}},
		{"JWKS URL in base64", "ecdsa", encode("https://idp.example/jwks"), "", apidef.OAuthKey{JWKS: mustURL(t, "https://idp.example/jwks")}},
		{"public key as a secret", "hmac", encode(pemOf(t, rsaPublic)), "source is a PEM block", apidef.OAuthKey{}},
		{"JWKS URL as a secret", "hmac", encode("https://idp.example/jwks"), "source is a URL", apidef.OAuthKey{}},
		{"key of the other family", "ecdsa", pemOf(t, rsaPublic), "source holds an RSA key", apidef.OAuthKey{}},
		{"key of the other family (EC)", "rsa", pemOf(t, ecPublic), "source holds an ECDSA key", apidef.OAuthKey{}},
		{"short RSA key", "rsa", pemOf(t, rsaKey(t, 1024).Public()), "less than 2048 bits", apidef.OAuthKey{}},
		{"private key", "ecdsa", privatePEM, "private key", apidef.OAuthKey{}},
		{"secret for rsa", "rsa", "dHlrLTEyMw==", "no public key", apidef.OAuthKey{}},
		{"neither", "hmac", "tyk-123", "neither base64 nor PEM", apidef.OAuthKey{}},
		{"damaged PEM", "rsa", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "cannot be read", apidef.OAuthKey{}},
		{"URL without a host", "rsa", "https:///jwks", "not a usable URL", apidef.OAuthKey{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			j := apidef.OAuthJWT{SigningMethod: tc.method, Source: tc.source}
			key, err := j.Key()
			if tc.problem != "" {
				require.ErrorContains(t, err, tc.problem)
				return
			}
			require.NoError(t, err)
			require.Equal(t, tc.want, key)
		})
	}
}

// byHMAC is external OAuth with the reference's example of a JWT provider.
func byHMAC(more string) string {
	return `"external_oauth": {"enabled": true, "providers": [{"jwt": {"enabled": true, "signing_method": "hmac",
		"source": "dHlrLTEyMw==", "identity_base_field": "sub"}}` + more + `]}`
}

func TestExternalOAuthReadsItsOwnAuthSettings(t *testing.T) {
	const settings = `, "auth_configs": {"externalOAuth": {"auth_header_name": "X-OAuth"}, "authToken": {"auth_header_name": "X-Key"}}`
	for members, header := range map[string]string{
		`"external_oauth": {"enabled": false}` + settings:      "X-Key",
		byHMAC("") + settings:                                  "X-OAuth",
		byHMAC("") + `, "auth": {"auth_header_name": "X-Old"}`: "X-Old",
		byHMAC(""): "Authorization",
	} {
		api, _, err := apidef.Parse("a.json", with(members))
		require.NoError(t, err)
		require.Equal(t, header, api.Auth.HeaderName)
	}
}

func TestExternalOAuthWarnings(t *testing.T) {
	introspection := func(url, more string) string {
		return `"external_oauth": {"enabled": true, "providers": [{"introspection": {"enabled": true, "client_id": "a", "url": "` + url + `"` + more + `}}]}`
	}
	for _, tc := range []struct{ name, members, want string }{
		{"short secret", byHMAC(""), "a.json: external_oauth.providers[0].jwt.source: is a secret of less than 32 bytes"},
		{"second provider", byHMAC(", {}"), "a.json: external_oauth.providers: lists more than one"},
		{"keyless", `"use_keyless": true, ` + byHMAC(""), "a.json: use_keyless: is true, so that no token is checked"},
		{"plain HTTP", introspection("http://idp.example/", ""), "a.json: external_oauth.providers[0].introspection.url: is not https"},
		{"plain HTTP on this machine", introspection("http://127.0.0.1:9000/", ""), ""},
		{
			"any certificate", introspection("https://idp.example/", `, "tls": {"insecure_skip_verify": true}`),
			"a.json: external_oauth.providers[0].introspection.tls.insecure_skip_verify: is true",
		},
		{"encrypted and verified", introspection("https://idp.example/", ""), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, warnings, err := apidef.Parse("a.json", with(tc.members))
			require.NoError(t, err)
			if tc.want == "" {
				require.Empty(t, warnings)
				return
			}
			require.Contains(t, strings.Join(warnings, "\n"), tc.want)
		})
	}
}

func FuzzOAuthProviders(f *testing.F) {
	f.Add([]byte(`[{"jwt": {"enabled": true, "signingMethod": "RSA", "source": "aHR0cHM6Ly9pZHAvandrcw=="}}]`))
	f.Add([]byte(`[{"introspection": {"enabled": true, "client_id": "a", "clientID": "b", "tls": {"caFile": "x"}, "cache": []}}]`))
	f.Fuzz(func(t *testing.T, providers []byte) {
		if !json.Valid(providers) {
			return
		}
		api, _, err := apidef.Parse("a.json", with(`"external_oauth": {"enabled": true, "providers": `+string(providers)+`}`))
		if err == nil {
			require.NotEmpty(t, api.ExternalOAuth.Providers)
			require.True(t, api.ExternalOAuth.Providers[0].JWT.Enabled || api.ExternalOAuth.Providers[0].Introspection.Enabled)
		}
	})
}
