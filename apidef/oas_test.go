package apidef_test

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/jsonfile"
)

const ext = "x-tyk-api-gateway."

// merge puts change into tree, objects member by member; null removes.
func merge(tree, change map[string]any) {
	for key, value := range change {
		inner, isObject := value.(map[string]any)
		old, wasObject := tree[key].(map[string]any)
		switch {
		case value == nil:
			delete(tree, key)
		case isObject && wasObject:
			merge(old, inner)
		default:
			tree[key] = value
		}
	}
}

// oas returns a small definition in the OAS form with members of the document
// changed.
func oas(t *testing.T, change string) []byte {
	t.Helper()
	tree := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(`{
		"openapi": "3.0.3", "info": {"title": "A", "version": "1"}, "paths": {},
		"x-tyk-api-gateway": {
			"info": {"id": "a", "state": {"active": true}},
			"upstream": {"url": "http://up/"},
			"server": {"listenPath": {"value": "/a/"}}
		}
	}`), &tree))
	changes := map[string]any{}
	require.NoError(t, json.Unmarshal([]byte(change), &changes), change)
	merge(tree, changes)
	data, err := json.Marshal(tree)
	require.NoError(t, err)
	return data
}

// extension changes members of x-tyk-api-gateway only.
func extension(t *testing.T, change string) []byte {
	t.Helper()
	return oas(t, `{"x-tyk-api-gateway": `+change+`}`)
}

func server(members string) string     { return `{"server": {` + members + `}}` }
func upstream(members string) string   { return `{"upstream": {` + members + `}}` }
func global(members string) string     { return `{"middleware": {"global": {` + members + `}}}` }
func operations(members string) string { return `{"middleware": {"operations": {` + members + `}}}` }

func auth(members string) string {
	return server(`"authentication": {"enabled": true, ` + members + `}`)
}

// scheme returns a document with one security scheme that is switched on.
func scheme(described, settings string) string {
	return `{"components": {"securitySchemes": {"s": ` + described + `}}, "security": [{"s": []}],
		"x-tyk-api-gateway": {"server": {"authentication": {"enabled": true, "securitySchemes": {"s": ` + settings + `}}}}}`
}

func TestParseTheSmallestOASDefinition(t *testing.T) {
	api, warnings, err := apidef.Parse("petstore.json", read(t, "testdata/petstore.json"))
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, &apidef.API{
		Form: apidef.FormOAS, ID: "petstore", Name: "Petstore", Active: true, Keyless: true,
		Auth: apidef.Auth{HeaderName: "Authorization"}, ConfigData: "{}",
		Proxy: apidef.Proxy{
			ListenPath: "/petstore-test/", TargetURL: mustURL(t, "https://petstore.swagger.io/v2"), StripListenPath: true,
		},
	}, api)
}

// An API is the same in both forms.
func TestBothFormsGiveEqualAPIs(t *testing.T) {
	for _, tc := range []struct{ name, classic, oas string }{
		{"keyless", `"use_keyless": true`, `{}`},
		{"authentication switched off", `"use_keyless": true`, server(`"authentication": {"enabled": false}`)},
		{"stored keys", ``, auth(`"securitySchemes": {}`)},
		{"inactive", `"use_keyless": true, "active": false`, `{"info": {"state": {"active": false}}}`},
		{"organisation, name and slug", `"use_keyless": true, "org_id": "o", "name": "N", "slug": "s"`, `{"info": {"orgId": "o", "name": "N"}, "server": {"slug": "s"}}`},
		{"domain", `"use_keyless": true, "domain": "x.example"`, server(`"customDomain": {"enabled": true, "name": "x.example"}`)},
		{"domain switched off", `"use_keyless": true, "domain": "x.example", "domain_disabled": true`, server(`"customDomain": {"enabled": false, "name": "x.example"}`)},
		{"expiration", `"use_keyless": true, "expiration": "2999-12-31 23:59"`, `{"info": {"expiration": "2999-12-31 23:59"}}`},
		{
			"proxy", `"use_keyless": true, "proxy": {"listen_path": "/b", "target_url": "https://up:1/x", "strip_listen_path": true, "preserve_host_header": true, "transport": {"ssl_insecure_skip_verify": true}}`,
			`{"server": {"listenPath": {"value": "/b", "strip": true}}, "upstream": {"url": "https://up:1/x", "preserveHostHeader": {"enabled": true}, "tlsTransport": {"insecureSkipVerify": true}}}`,
		},
		{
			"plugin authenticates", `"enable_coprocess_auth": true, "custom_middleware_bundle": "b.zip"`,
			`{"server": {"authentication": {"enabled": true, "custom": {"enabled": true}}}, "middleware": {"global": {"pluginConfig": {"bundle": {"enabled": true, "path": "b.zip"}}}}}`,
		},
		{
			"the plugin's own place of the key", `"enable_coprocess_auth": true, "custom_middleware_bundle": "b.zip", "auth_configs": {"coprocess": {"disable_header": true, "use_param": true, "param_name": "k"}}`,
			`{"server": {"authentication": {"enabled": true, "custom": {"enabled": true, "query": {"enabled": true, "name": "k"}}}}, "middleware": {"global": {"pluginConfig": {"bundle": {"enabled": true, "path": "b.zip"}}}}}`,
		},
		{
			"hooks without a bundle", `"enable_coprocess_auth": true, "custom_middleware": {
				"driver": "grpc", "auth_check": {"name": "A", "raw_body_only": true}, "pre": [{"name": "P"}, {"name": "Off", "disabled": true}],
				"post_key_auth": [{"name": "K", "require_session": true}], "post": [{"name": "O", "path": "p"}], "response": [{"name": "R"}],
				"id_extractor": {"extract_from": "form", "extract_with": "xpath", "extractor_config": {"param_name": "f", "xpath_expression": "//x"}}}`,
			`{"server": {"authentication": {"enabled": true, "custom": {"enabled": true, "config": {"enabled": true, "functionName": "A", "rawBodyOnly": true,
				"idExtractor": {"enabled": true, "source": "form", "with": "xpath", "config": {"formParamName": "f", "xPathExp": "//x"}}}}}},
			"middleware": {"global": {"pluginConfig": {"driver": "grpc"}, "prePlugins": [{"enabled": true, "functionName": "P"}, {"enabled": false, "functionName": "Off"}],
				"postAuthenticationPlugins": [{"enabled": true, "functionName": "K", "requireSession": true}],
				"postPlugins": [{"enabled": true, "functionName": "O", "path": "p"}], "responsePlugins": [{"enabled": true, "functionName": "R"}]}}}`,
		},
		{
			"old names of the lists", `"use_keyless": true, "custom_middleware": {"driver": "grpc", "pre": [{"name": "P"}], "post_key_auth": [{"name": "K"}], "post": [{"name": "O"}], "response": [{"name": "R"}]}`,
			global(`"pluginConfig": {"driver": "grpc"}, "prePlugin": {"plugins": [{"enabled": true, "functionName": "P"}]}, "postAuthenticationPlugin": {"plugins": [{"enabled": true, "functionName": "K"}]},
				"postPlugin": {"plugins": [{"enabled": true, "functionName": "O"}]}, "responsePlugin": {"plugins": [{"enabled": true, "functionName": "R"}]}`),
		},
		{"bundle switched off", `"use_keyless": true, "custom_middleware_bundle": "b", "custom_middleware_bundle_disabled": true`, global(`"pluginConfig": {"bundle": {"enabled": false, "path": "b"}}`)},
		{"plugin data", `"use_keyless": true, "config_data": {"b": [1, "<"], "a": {}}`, global(`"pluginConfig": {"data": {"enabled": true, "value": {"b": [1, "<"], "a": {}}}}`)},
		{"plugin data switched off", `"use_keyless": true, "config_data": {"a": 1}, "config_data_disabled": true`, global(`"pluginConfig": {"data": {"enabled": false, "value": {"a": 1}}}`)},
		{
			"limits and lifetime", `"disable_rate_limit": true, "disable_quota": true, "session_lifetime": 5400`,
			`{"server": {"authentication": {"enabled": true, "customKeyLifetime": {"enabled": true, "value": "1h30m"}}}, "middleware": {"global": {"skipRateLimit": true, "skipQuota": true}}}`,
		},
		{
			"events", `"use_keyless": true, "event_handlers": {"events": {
				"AuthFailure": [{"handler_name": "eh_log_handler", "handler_meta": {"prefix": "p"}},
					{"handler_name": "eh_web_hook_handler", "handler_meta": {"method": "PUT", "target_path": "http://h", "event_timeout": 60, "header_map": {"A": "b"}}}],
				"Mine": [{"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "OnMine"}}]}}`,
			server(`"eventHandlers": [{"enabled": true, "trigger": "AuthFailure", "type": "log", "name": "n", "logPrefix": "p"},
				{"enabled": true, "trigger": "Mine", "type": "custom", "functionName": "OnMine"},
				{"enabled": true, "trigger": "AuthFailure", "type": "webhook", "method": "PUT", "url": "http://h", "cooldownPeriod": "1m", "headers": [{"name": "A", "value": "b"}]},
				{"enabled": false, "trigger": "AuthFailure", "type": "log"}]`),
		},
		{
			"external OAuth that is switched off", `"external_oauth": {"enabled": false, "providers": [{"jwt": {"enabled": true, "signing_method": "hmac", "source": "dHlrLTEyMw==", "identity_base_field": "sub", "issued_at_validation_skew": 1}},
				{"introspection": {"enabled": true, "url": "http://idp", "client_id": "c", "client_secret": "s", "cache": {"enabled": true, "timeout": 3}}}]}`,
			auth(`"securitySchemes": {"idp": {"enabled": false, "providers": [{"jwt": {"enabled": true, "signingMethod": "hmac", "source": "dHlrLTEyMw==", "identityBaseField": "sub", "issuedAtValidationSkew": 1}},
				{"introspection": {"enabled": true, "url": "http://idp", "clientID": "c", "clientSecret": "s", "cache": {"enabled": true, "timeout": 3}}}]}}`),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			classic, _, err := apidef.Parse("a.json", with(tc.classic))
			require.NoError(t, err)
			got, warnings, err := apidef.Parse("a.json", extension(t, tc.oas))
			require.NoError(t, err)
			require.Equal(t, apidef.FormOAS, got.Form)
			got.Form = apidef.FormClassic
			require.Equal(t, classic, got)
			require.Empty(t, warnings)
		})
	}
}

func TestParseOASDefinitionFullOfInactiveSettings(t *testing.T) {
	got, warnings, err := apidef.Parse("full-oas.json", read(t, "testdata/full-oas.json"))
	require.NoError(t, err)
	require.Empty(t, warnings)
	want, _, err := apidef.Parse("full.json", read(t, "testdata/full.json"))
	require.NoError(t, err)
	want.Form = apidef.FormOAS
	want.CustomMiddleware.Response = nil
	want.CustomMiddleware.IDExtractor = apidef.IDExtractor{
		ExtractFrom: "header", ExtractWith: "regex", Disabled: true,
		Config: apidef.ExtractorConfig{HeaderName: "A", RegexExpression: "a+", RegexMatchIndex: 1},
	}
	want.ExternalOAuth.Providers = []apidef.OAuthProvider{{Introspection: apidef.OAuthIntrospection{
		Enabled: true, URL: "https://idp/introspect", ClientID: "c", ClientSecret: "s", IdentityBaseField: "sub",
		Cache: &apidef.OAuthCache{Enabled: true, Timeout: 3},
	}}}
	want.EventHandlers = map[string][]apidef.EventHandler{
		"AuthFailure": {
			{Name: "eh_web_hook_handler", Meta: map[string]any{
				"method": "POST", "target_path": "http://hooks", "event_timeout": json.Number("10"), "header_map": map[string]any{"X-From": "krait"},
			}},
			{Name: "eh_log_handler", Meta: map[string]any{"prefix": "AUDIT"}},
		},
		"KeyExpired": {{Name: "cp_dynamic_handler", Meta: map[string]any{"name": "OnExpired"}}},
	}
	require.Equal(t, 90*time.Second, got.SessionLifetime)
	require.Equal(t, want, got)
}

func TestOASPlacesOfAKey(t *testing.T) {
	const inHeader = `{"type": "apiKey", "in": "header", "name": "X-Key"}`
	for _, tc := range []struct {
		name, document string
		want           apidef.Auth
	}{
		{"as the document describes it", scheme(inHeader, `{"enabled": true}`), apidef.Auth{HeaderName: "X-Key"}},
		{"query", scheme(`{"type": "apiKey", "in": "query", "name": "k"}`, `{"enabled": true}`), apidef.Auth{UseParam: true, ParamName: "k"}},
		{"cookie", scheme(`{"type": "apiKey", "in": "cookie", "name": "k"}`, `{"enabled": true}`), apidef.Auth{UseCookie: true, CookieName: "k"}},
		{
			"further places", scheme(inHeader, `{"enabled": true, "query": {"enabled": true}, "cookie": {"enabled": true, "name": "c"}}`),
			apidef.Auth{HeaderName: "X-Key", UseParam: true, ParamName: "X-Key", UseCookie: true, CookieName: "c"},
		},
		{"the document's name wins", scheme(inHeader, `{"enabled": true, "header": {"enabled": true, "name": "X-Other"}}`), apidef.Auth{HeaderName: "X-Key"}},
		{"a place that is switched off", scheme(inHeader, `{"enabled": true, "query": {"enabled": false, "name": "k"}}`), apidef.Auth{HeaderName: "X-Key", ParamName: "k"}},
		{"a scheme that is not switched on", scheme(inHeader, `{"enabled": false}`), apidef.Auth{HeaderName: "X-Key"}},
		{"a scheme without settings", `{"components": {"securitySchemes": {"s": ` + inHeader + `}}, "security": [{"s": []}], "x-tyk-api-gateway": ` + auth(`"hmac": {"enabled": false}`) + `}`, apidef.Auth{HeaderName: "X-Key"}},
		{"no scheme", `{"x-tyk-api-gateway": ` + auth(`"hmac": {"enabled": false}`) + `}`, apidef.Auth{HeaderName: "Authorization"}},
		{"a name with dots", `{"components": {"securitySchemes": {"a.b": ` + inHeader + `}}, "x-tyk-api-gateway": ` + auth(`"securitySchemes": {"a.b": {"enabled": true}}`) + `}`, apidef.Auth{HeaderName: "X-Key"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api, _, err := apidef.Parse("a.json", oas(t, tc.document))
			require.NoError(t, err)
			require.False(t, api.Keyless)
			require.False(t, api.CustomAuth)
			require.Equal(t, tc.want, api.Auth)
		})
	}
}

func TestParseOASWarnings(t *testing.T) {
	for _, tc := range []struct {
		name, document string
		want           []string
	}{
		{"unknown members", `{"typo": 1, "x-other": {"a": 1}, "x-tyk-api-gateway": {"typo": true, "server": {"listenPath": {"stripp": true}, "new": {"enabled": true}}}}`, []string{
			"a.json: typo: is not known or not supported, and without effect",
			"a.json: " + ext + "server.listenPath.stripp: is not known or not supported, and without effect",
			"a.json: " + ext + "server.new: is not known or not supported, and without effect",
			"a.json: " + ext + "typo: is not known or not supported, and without effect",
		}},
		{"what would only open the API or change answers", `{"x-tyk-api-gateway": ` + global(`"cors": {"enabled": true}, "cache": {"enabled": true}`) + `}`, []string{
			"a.json: " + ext + "middleware.global.cache: is not known or not supported, and without effect",
			"a.json: " + ext + "middleware.global.cors: is not known or not supported, and without effect",
		}},
		{"operations that Tyk leaves unprotected stay protected", `{"x-tyk-api-gateway": ` + operations(`"op": {"ignoreAuthentication": {"enabled": true}}`) + `}`, []string{
			"a.json: " + ext + "middleware.operations.op.ignoreAuthentication: is not supported and without effect",
		}},
		{"a scheme beside authentication that is off", `{"components": {"securitySchemes": {"s": {"type": "http", "scheme": "bearer"}}}, "security": [{"s": []}], "x-tyk-api-gateway": ` +
			server(`"authentication": {"enabled": false, "securitySchemes": {"s": {"enabled": true}}}`) + `}`, []string{
			"a.json: " + ext + "server.authentication.enabled: is false, so that s of securitySchemes has no effect and anybody may call the API",
		}},
		{"a plugin beside authentication that is off", `{"x-tyk-api-gateway": ` + server(`"authentication": {"enabled": false, "custom": {"enabled": true}}`) + `}`, []string{
			"a.json: " + ext + "server.authentication.enabled: is false, so that the auth_check hook does not run and anybody may call the API",
		}},
		{"security that nothing enforces", `{"security": [{"s": []}]}`, []string{
			"a.json: security: has no effect, because " + ext + "server.authentication.enabled is not true; anybody may call the API",
		}},
		{"event handlers in JavaScript", `{"x-tyk-api-gateway": ` + server(`"eventHandlers": [{"enabled": true, "trigger": "E", "type": "custom", "functionName": "f", "path": "f.js"}]`) + `}`, []string{
			"a.json: " + ext + "server.eventHandlers.E: the handler custom is not known and is not called",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, warnings, err := apidef.Parse("a.json", oas(t, tc.document))
			require.NoError(t, err)
			require.Equal(t, tc.want, warnings)
		})
	}
}

func TestParseOASFaults(t *testing.T) {
	const off = "; write true, or false to leave out what is beside it"
	for _, tc := range []struct{ name, document, want string }{
		{"no version of OpenAPI", `{"openapi": null}`, `openapi: is not a version of OpenAPI 3; write for example "3.0.3"`},
		{"Swagger 2", `{"openapi": "2.0"}`, `openapi: is not a version of OpenAPI 3; write for example "3.0.3"`},
		{"no id", `{"x-tyk-api-gateway": {"info": {"id": ""}}}`, ext + `info.id: is missing; write an id that no other API of this gateway has`},
		{"no listen path", `{"x-tyk-api-gateway": {"server": null}}`, ext + `server.listenPath.value: is missing; write a plain path such as /my-api/`},
		{"no upstream", `{"x-tyk-api-gateway": {"upstream": null}}`, ext + `upstream.url: is missing; write an absolute URL such as http://upstream:8080/`},
		{"an upstream that is no URL keeps its password", `{"x-tyk-api-gateway": {"upstream": {"url": "http://u:hunter2@h:x/"}}}`, ext + `upstream.url: is not a URL; write an absolute URL such as http://upstream:8080/`},
		{"text as a switch", `{"x-tyk-api-gateway": {"server": {"authentication": {"enabled": "true"}}}}`, ext + `server.authentication.enabled: must be true or false, but is text; write true or false without quotes`},
		{"authentication without its switch", `{"x-tyk-api-gateway": {"server": {"authentication": {"securitySchemes": {"s": {"enabled": true}}}}}}`, ext + `server.authentication.enabled: is missing` + off},
		{"a domain without its switch", `{"x-tyk-api-gateway": {"server": {"customDomain": {"name": "x"}}}}`, ext + `server.customDomain.enabled: is missing` + off},
		{"a plugin without its switch", `{"x-tyk-api-gateway": ` + global(`"pluginConfig": {"driver": "python"}, "prePlugins": [{"functionName": "A"}]`) + `}`, ext + `middleware.global.prePlugins[0].enabled: is missing` + off},
		{"a plugin without a name", `{"x-tyk-api-gateway": ` + global(`"pluginConfig": {"driver": "grpc"}, "postAuthenticationPlugins": [{"enabled": true}, {"enabled": true, "functionName": "B"}]`) + `}`, ext + `middleware.global.postAuthenticationPlugins[0].functionName: is missing; write the name of the hook function`},
		{"both names of a list", `{"x-tyk-api-gateway": ` + global(`"pluginConfig": {"driver": "grpc"}, "prePlugins": [{"enabled": true, "functionName": "A"}], "prePlugin": {"plugins": [{"enabled": true, "functionName": "B"}]}`) + `}`, ext + `middleware.global.prePlugin: is the old form of prePlugins, which is there too; move its plugins to prePlugins`},
		{"hooks of a driver we lack", `{"x-tyk-api-gateway": ` + global(`"pluginConfig": {"driver": "goplugin"}, "prePlugins": [{"enabled": true, "functionName": "A"}]`) + `}`, ext + `middleware.global.pluginConfig.driver: "goplugin" is not a driver of this gateway; use python or grpc`},
		{"a plugin that is nowhere authenticates", `{"x-tyk-api-gateway": ` + auth(`"custom": {"enabled": true}`) + `}`, ext + `server.authentication.custom.enabled: is true, but nothing defines an auth_check hook; name a bundle in ` + ext + `middleware.global.pluginConfig.bundle.path or a function in ` + ext + `server.authentication.custom.config.functionName`},
		{"an extractor that mixes up callers", `{"x-tyk-api-gateway": ` + auth(`"custom": {"enabled": false, "config": {"enabled": true, "idExtractor": {"enabled": true, "source": "body", "with": "value"}}}`) + `}`, ext + `server.authentication.custom.config.idExtractor.with: value cannot be used with the body, all callers would share one session; use regex or xpath, or extract from header or form`},
		{"an extractor without an expression", `{"x-tyk-api-gateway": ` + auth(`"custom": {"enabled": false, "config": {"enabled": true, "idExtractor": {"enabled": true, "source": "body", "with": "xpath"}}}`) + `}`, ext + `server.authentication.custom.config.idExtractor.config.xPathExp: is missing; write the XPath expression`},
		{"a lifetime that is no time", `{"x-tyk-api-gateway": ` + auth(`"customKeyLifetime": {"enabled": true, "value": "90"}`) + `}`, ext + `server.authentication.customKeyLifetime.value: is not a length of time; write for example "90s" or "1h30m"`},
		{"an event handler without a trigger", `{"x-tyk-api-gateway": ` + server(`"eventHandlers": [{"enabled": true, "type": "log"}]`) + `}`, ext + `server.eventHandlers[0].trigger: is missing; write the name of an event such as AuthFailure`},
		{"an event handler without a type", `{"x-tyk-api-gateway": ` + server(`"eventHandlers": [{"enabled": true, "trigger": "E"}]`) + `}`, ext + `server.eventHandlers[0].type: is missing; write webhook, log or custom`},
		{"expired", `{"x-tyk-api-gateway": {"info": {"expiration": "2001-01-02 15:04"}}}`, ext + `info.expiration: has passed, the API has expired; move it into the future or remove the definition`},
		{"a domain that is no host name", `{"x-tyk-api-gateway": ` + server(`"customDomain": {"enabled": true, "name": "*.x"}`) + `}`, ext + `server.customDomain.name: is not a plain host name, which is all that is matched; write a name such as api.example.com, or remove it`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api, _, err := apidef.Parse("a.json", oas(t, tc.document))
			require.EqualError(t, err, "a.json: "+tc.want)
			require.Nil(t, api)
		})
	}
}

func TestParseOASReportsAllFaultsTogether(t *testing.T) {
	_, _, err := apidef.Parse("a.json", []byte(`{"openapi": "3.1.0", "x-tyk-api-gateway": {"info": {"name": 1, "state": {"internal": true}}, "server": {"listenPath": {"value": "x"}}}}`))
	var fields []string
	for _, fault := range jsonfile.Faults("a.json", err) {
		fields = append(fields, fault.Field)
		require.NotEmpty(t, fault.Next, fault)
	}
	require.Equal(t, []string{ext + "info.name", ext + "info.id", ext + "server.listenPath.value", ext + "upstream.url", ext + "info.state.internal"}, fields)
}

func TestLoadDirTakesTheOASFileOfTheTwoThatTykWrites(t *testing.T) {
	dir := writeDir(t, map[string]string{
		"a.json":     `{"api_id": "a", "is_oas": true, "proxy": {"listen_path": "/a/", "target_url": "http://up"}}`,
		"a-oas.json": string(oas(t, `{}`)),
		"b.json":     `{"api_id": "b", "is_oas": true, "proxy": {"listen_path": "/b/", "target_url": "http://up"}}`,
		"c.json":     definition("a", "/c/", ""),
		"c-oas.json": string(extension(t, `{"info": {"id": "c"}, "server": {"listenPath": {"value": "/c/"}}}`)),
	})
	loaded, err := apidef.LoadDir(dir)
	require.NoError(t, err)
	var files []string
	for _, l := range loaded {
		files = append(files, filepath.Base(l.File))
	}
	require.Equal(t, []string{"a-oas.json", "b.json", "c-oas.json", "c.json"}, files)
	require.Equal(t, apidef.FormOAS, loaded[0].API.Form)
	require.ErrorContains(t, loaded[1].Err, "is_oas: is active")
	require.NoError(t, loaded[2].Err)
	require.ErrorContains(t, loaded[3].Err, "api_id: is also the id")
}

func TestLoadDirNamesTheMembersOfTheForm(t *testing.T) {
	dir := writeDir(t, map[string]string{"1.json": definition("a", "/a/", ""), "2.json": string(oas(t, `{}`))})
	loaded, err := apidef.LoadDir(dir)
	require.NoError(t, err)
	require.ErrorContains(t, loaded[1].Err, ext+"info.id: is also the id of the API in "+filepath.Join(dir, "1.json"))
	require.ErrorContains(t, loaded[1].Err, ext+"server.listenPath.value: is also the listen path")
}
