package apidef_test

import (
	"encoding/json"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/jsonfile"
)

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	require.NoError(t, err)
	return u
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func TestParseForumDefinition(t *testing.T) {
	api, warnings, err := apidef.Parse("forum.json", read(t, "testdata/forum.json"))
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, &apidef.API{
		ID: "1", Name: "Tyk Test API", OrgID: "default", Active: true, CustomAuth: true,
		Auth:       apidef.Auth{HeaderName: "Authorization"},
		Bundles:    []string{"test-bundle.zip"},
		ConfigData: "{}",
		Proxy: apidef.Proxy{
			ListenPath: "/quickstart/", TargetURL: mustURL(t, "http://httpbin.org/"), StripListenPath: true,
		},
	}, api)
}

func TestParseDashboardExportFullOfInactiveDefaults(t *testing.T) {
	api, warnings, err := apidef.Parse("full.json", read(t, "testdata/full.json"))
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, &apidef.API{
		ID: "orders", Name: "Orders", OrgID: "acme", Slug: "orders", Active: true, Domain: "orders.example",
		CustomAuth: true,
		Auth:       apidef.Auth{HeaderName: "X-Plugin-Token", UseCookie: true, CookieName: "tok"},
		CustomMiddleware: apidef.CustomMiddleware{
			Pre:         []apidef.MiddlewareDefinition{{Name: "Pre", RawBodyOnly: true}, {Name: "Off", Disabled: true}},
			PostKeyAuth: []apidef.MiddlewareDefinition{{Name: "PostKeyAuth", RequireSession: true}},
			Response:    []apidef.MiddlewareDefinition{},
			AuthCheck:   apidef.MiddlewareDefinition{Name: "Auth"},
			Driver:      "python",
		},
		Bundles:    []string{"first.zip", "second.zip"},
		ConfigData: `{"a":"<x & y>","b":12345678901234567890,"Ünï":null}`,
		Proxy: apidef.Proxy{
			ListenPath: "/orders/", TargetURL: mustURL(t, "https://orders.internal:8443/v2"),
			StripListenPath: true, PreserveHostHeader: true,
			Transport: apidef.Transport{SSLInsecureSkipVerify: true},
		},
		SessionLifetime: 90 * time.Second, DisableRateLimit: true,
		EventHandlers: map[string][]apidef.EventHandler{"AuthFailure": {{
			Name: "eh_web_hook_handler",
			Meta: map[string]any{"method": "POST", "target_path": "http://hooks", "event_timeout": json.Number("10")},
		}}},
	}, api)
}

// with returns a small definition with members replaced or added.
func with(members string) []byte {
	tree := map[string]json.RawMessage{
		"api_id": json.RawMessage(`"a"`),
		"proxy":  json.RawMessage(`{"listen_path": "/a/", "target_url": "http://up/"}`),
	}
	if err := json.Unmarshal([]byte("{"+members+"}"), &tree); err != nil {
		panic(err)
	}
	data, err := json.Marshal(tree)
	if err != nil {
		panic(err)
	}
	return data
}

func TestParseDefaults(t *testing.T) {
	api, _, err := apidef.Parse("a.json", with(``))
	require.NoError(t, err)
	require.True(t, api.Active)
	require.Equal(t, "a", api.Name, "the id serves as name")
	require.Equal(t, "Authorization", api.Auth.HeaderName)
	require.Equal(t, "{}", api.ConfigData)
	require.True(t, api.ExpiresAt.IsZero())
}

func TestParseVariants(t *testing.T) {
	for _, tc := range []struct {
		name, members string
		check         func(*testing.T, *apidef.API)
	}{
		{"id serves when api_id is absent", `"api_id": "", "id": "from-id"`, func(t *testing.T, a *apidef.API) { require.Equal(t, "from-id", a.ID) }},
		{"inactive", `"active": false`, func(t *testing.T, a *apidef.API) { require.False(t, a.Active) }},
		{"disabled domain", `"domain": "x", "domain_disabled": true`, func(t *testing.T, a *apidef.API) { require.Empty(t, a.Domain) }},
		{"disabled bundle", `"custom_middleware_bundle": "b.zip", "custom_middleware_bundle_disabled": true`, func(t *testing.T, a *apidef.API) { require.Empty(t, a.Bundles) }},
		{"disabled config data", `"config_data": {"a": 1}, "config_data_disabled": true`, func(t *testing.T, a *apidef.API) { require.Equal(t, "{}", a.ConfigData) }},
		{"null config data", `"config_data": null`, func(t *testing.T, a *apidef.API) { require.Equal(t, "{}", a.ConfigData) }},
		{"auth from the old member", `"auth": {"auth_header_name": "X-Old", "use_param": true, "param_name": "key"}`, func(t *testing.T, a *apidef.API) {
			require.Equal(t, apidef.Auth{HeaderName: "X-Old", UseParam: true, ParamName: "key"}, a.Auth)
		}},
		{"parameter without a name", `"auth": {"use_param": true, "auth_header_name": "key"}`, func(t *testing.T, a *apidef.API) { require.Equal(t, "key", a.Auth.ParamName) }},
		{"auth_configs wins over auth", `"auth": {"auth_header_name": "X-Old"}, "auth_configs": {"authToken": {"auth_header_name": "X-New"}}`, func(t *testing.T, a *apidef.API) { require.Equal(t, "X-New", a.Auth.HeaderName) }},
		{"custom auth falls back to auth", `"enable_coprocess_auth": true, "custom_middleware_bundle": "b", "auth": {"auth_header_name": "X-Old"}, "auth_configs": {"authToken": {"auth_header_name": "X-New"}}`, func(t *testing.T, a *apidef.API) { require.Equal(t, "X-Old", a.Auth.HeaderName) }},
		{"header switched off", `"auth_configs": {"authToken": {"disable_header": true, "use_cookie": true, "cookie_name": "c"}}`, func(t *testing.T, a *apidef.API) {
			require.Equal(t, apidef.Auth{UseCookie: true, CookieName: "c"}, a.Auth)
		}},
		{"websocket target", `"proxy": {"listen_path": "/", "target_url": "wss://up"}`, func(t *testing.T, a *apidef.API) { require.Equal(t, "wss", a.Proxy.TargetURL.Scheme) }},
		{"single version chosen by default", `"version_data": {"not_versioned": false, "versions": {"Default": {"expires": "2999-12-31 23:59"}}}`, func(t *testing.T, a *apidef.API) {
			require.Equal(t, time.Date(2999, 12, 31, 23, 59, 0, 0, time.UTC), a.ExpiresAt)
		}},
		{"letter case of members does not count", `"Use_Keyless": true`, func(t *testing.T, a *apidef.API) { require.True(t, a.Keyless) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api, _, err := apidef.Parse("a.json", with(tc.members))
			require.NoError(t, err)
			tc.check(t, api)
		})
	}
}

func TestParseWarnings(t *testing.T) {
	for _, tc := range []struct {
		name, members string
		want          []string
	}{
		{"unknown member", `"typo_here": 1`, []string{"a.json: typo_here: is not known or not supported, and without effect"}},
		{"unknown member without a value", `"typo_here": {"a": [0, ""]}`, nil},
		{"what would only open the API", `"CORS": {"enable": true}, "enable_batch_request_support": true`, []string{
			"a.json: CORS: is not known or not supported, and without effect",
			"a.json: enable_batch_request_support: is not known or not supported, and without effect",
		}},
		{"paths that Tyk leaves unprotected stay protected", `"version_data": {"not_versioned": true, "versions": {"Default": {"use_extended_paths": true, "extended_paths": {"ignored": [{"path": "/open"}]}}}}`, []string{
			"a.json: version_data.versions.Default.extended_paths.ignored: is not supported and without effect",
		}},
		{"keyless beside custom auth", `"use_keyless": true, "enable_coprocess_auth": true`, []string{
			"a.json: use_keyless: is true, so that the auth_check hook does not run and anybody may call the API",
		}},
		{"unknown event handler", `"event_handlers": {"events": {"KeyExpired": [{"handler_name": "eh_mail"}]}}`, []string{
			"a.json: event_handlers.events.KeyExpired: the handler eh_mail is not known and is not called",
		}},
		{"member inside a hook", `"custom_middleware": {"driver": "python", "pre": [{"name": "A", "nane": "B"}]}`, []string{
			"a.json: custom_middleware.pre[0].nane: is not known or not supported, and without effect",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, warnings, err := apidef.Parse("a.json", with(tc.members))
			require.NoError(t, err)
			require.Equal(t, tc.want, warnings)
		})
	}
}

func TestParseFaults(t *testing.T) {
	const url = "; write an absolute URL such as http://upstream:8080/"
	const path = "; write a plain path such as /my-api/"
	for _, tc := range []struct{ name, members, want string }{
		{"no id", `"api_id": ""`, `a.json: api_id: is missing; write an id that no other API of this gateway has`},
		{"control character in the id", `"api_id": "a\nb"`, `a.json: api_id: has control characters; use letters, digits and hyphens`},
		{"no listen path", `"proxy": {"target_url": "http://up"}`, `a.json: proxy.listen_path: is missing` + path},
		{"relative listen path", `"proxy": {"target_url": "http://up", "listen_path": "a"}`, `a.json: proxy.listen_path: does not start with /` + path},
		{"pattern as listen path", `"proxy": {"target_url": "http://up", "listen_path": "/{id}/"}`, `a.json: proxy.listen_path: has a pattern, but only plain paths are supported` + path},
		{"query in listen path", `"proxy": {"target_url": "http://up", "listen_path": "/a?b"}`, `a.json: proxy.listen_path: has a query or fragment, but only paths are routed on` + path},
		{"space in listen path", `"proxy": {"target_url": "http://up", "listen_path": "/a b"}`, `a.json: proxy.listen_path: has spaces or control characters` + path},
		{"dots in listen path", `"proxy": {"target_url": "http://up", "listen_path": "/a/../b"}`, `a.json: proxy.listen_path: has empty, . or .. segments` + path},
		{"wrong escape in listen path", `"proxy": {"target_url": "http://up", "listen_path": "/%zz"}`, `a.json: proxy.listen_path: has a wrong percent-encoding` + path},
		{"no target", `"proxy": {"listen_path": "/a"}`, `a.json: proxy.target_url: is missing` + url},
		{"relative target", `"proxy": {"listen_path": "/a", "target_url": "up/x"}`, `a.json: proxy.target_url: is not an absolute URL` + url},
		{"target without host", `"proxy": {"listen_path": "/a", "target_url": "http://"}`, `a.json: proxy.target_url: has no host` + url},
		{"target that is no URL keeps its password", `"proxy": {"listen_path": "/a", "target_url": "http://u:hunter2@h:x/"}`, `a.json: proxy.target_url: is not a URL` + url},
		{"target of another kind", `"proxy": {"listen_path": "/a", "target_url": "ftp://up"}`, `a.json: proxy.target_url: has the scheme ftp, which is not supported; use http, https, h2c, ws or wss`},
		{"target from a key-value store", `"proxy": {"listen_path": "/a", "target_url": "vault://secret"}`, `a.json: proxy.target_url: refers to a key-value store (vault://), which is not supported` + url},
		{"custom auth without a hook", `"enable_coprocess_auth": true`, `a.json: enable_coprocess_auth: is true, but nothing defines an auth_check hook; name a bundle in custom_middleware_bundle or a function in custom_middleware.auth_check.name`},
		{"hooks without driver", `"custom_middleware": {"pre": [{"name": "A"}]}`, `a.json: custom_middleware.driver: is missing; write python or grpc`},
		{"hooks of a driver we lack", `"custom_middleware": {"driver": "otto", "pre": [{"name": "A"}]}`, `a.json: custom_middleware.driver: "otto" is not a driver of this gateway; use python or grpc`},
		{"hook without name", `"custom_middleware": {"driver": "python", "pre": [{"name": "A"}, {"path": "x"}]}`, `a.json: custom_middleware.pre[1].name: is missing; write the name of the hook function`},
		{"extractor that mixes up callers", `"custom_middleware": {"id_extractor": {"extract_from": "body", "extract_with": "value"}}`, `a.json: custom_middleware.id_extractor.extract_with: value cannot be used with the body, all callers would share one session; use regex or xpath, or extract from header or form`},
		{"config data that is no object", `"config_data": [1]`, `a.json: config_data: must be an object, but is a list; write { ... }`},
		{"negative session lifetime", `"session_lifetime": -1`, `a.json: session_lifetime: is negative; write a number of seconds, 0 for the gateway's default`},
		{"endless session lifetime", `"session_lifetime": 9223372036854775807`, `a.json: session_lifetime: is too large; write a number of seconds, 0 for the gateway's default`},
		{"expired version", `"version_data": {"versions": {"Default": {"expires": "2001-01-02 15:04"}}}`, `a.json: version_data.versions.Default.expires: has passed, the API has expired; move it into the future or remove the definition`},
		{"unreadable expiry", `"expiration": "tomorrow"`, `a.json: expiration: is not a time; write it as "2006-01-02 15:04" in UTC, or "" for never`},
		{"OpenAPI document that is no definition", `"openapi": "3.0.3"`, `a.json: x-tyk-api-gateway: is missing; an OpenAPI document alone does not say where the gateway listens and sends requests; add it with info, server and upstream`},
		{"dashboard export", `"proxy": null, "api_definition": {"api_id": "a"}`, `a.json: api_definition: the file is a dashboard export; keep only the object that is the value of api_definition`},
		{"two kinds of authentication", `"enable_coprocess_auth": true, "custom_middleware_bundle": "b", "use_standard_auth": true`, `a.json: use_standard_auth: asks for a stored key beside the auth_check hook, but one API has one kind of authentication; set it or enable_coprocess_auth to false`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			api, _, err := apidef.Parse("a.json", with(tc.members))
			require.EqualError(t, err, tc.want)
			require.Nil(t, api)
		})
	}
}

func TestParseReportsAllFaultsTogether(t *testing.T) {
	_, _, err := apidef.Parse("a.json", []byte(`{"name": 1, "enable_jwt": true, "proxy": {"listen_path": "x"}}`))
	var fields []string
	for _, fault := range jsonfile.Faults("a.json", err) {
		fields = append(fields, fault.Field)
		require.NotEmpty(t, fault.Next, fault)
	}
	require.Equal(t, []string{"name", "api_id", "proxy.listen_path", "proxy.target_url", "enable_jwt"}, fields)
}

func FuzzParse(f *testing.F) {
	for _, path := range []string{"testdata/forum.json", "testdata/full.json", "testdata/petstore.json", "testdata/full-oas.json"} {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		api, _, err := apidef.Parse("a.json", data)
		if err != nil {
			require.Nil(t, api)
			require.NotEmpty(t, jsonfile.Faults("a.json", err))
			return
		}
		require.NoError(t, api.Validate("a.json"))
		require.True(t, json.Valid([]byte(api.ConfigData)))
		require.Equal(t, byte('{'), api.ConfigData[0])
		require.NotEmpty(t, api.ID)
	})
}

func TestDomainThatIsNoHostName(t *testing.T) {
	for _, domain := range []string{"*.example.com", "{sub}.example.com", "a b", "example.com/path"} {
		_, _, err := apidef.Parse("api.json", []byte(`{"api_id": "a", "use_keyless": true, "domain": "`+domain+`",
			"proxy": {"listen_path": "/a/", "target_url": "http://127.0.0.1"}}`))
		require.ErrorContains(t, err, "api.json: domain: ", domain)
	}
}
