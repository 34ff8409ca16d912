package apidef_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
)

func TestUnserved(t *testing.T) {
	around := apidef.Surroundings{Drivers: []string{"python"}, HealthPath: "/hello", AdminPath: "/tyk"}
	for _, test := range []struct{ name, path, extra, want string }{
		{"plain", "/a/", "", ""},
		{"everything", "/", "", ""},
		{"below an own path", "/hello/world", "", ""},
		{"begins like an own path", "/hello-world/", "", ""},
		{"health endpoint", "/hello", "", "a.json: proxy.listen_path: is where the gateway itself answers (/hello), before any API; choose another; health_check_endpoint_name of tyk.conf moves the health endpoint"},
		{"health endpoint with slash", "/hello/", "", "(/hello)"},
		{"health endpoint in disguise", "/%68ello/", "", "(/hello)"},
		{"the gateway's own API", "/tyk", "", "is below /tyk, where the gateway itself answers"},
		{"below the gateway's own API", "/tyk/apis/", "", "is below /tyk"},
		{"begins like the gateway's own API", "/tyks/", "", ""},
		{
			"Python hooks without a bundle", "/a/", `"custom_middleware": {"driver": "python", "pre": [{"name": "A"}]}, `,
			"a.json: custom_middleware: names Python functions, but no bundle holds their code; set custom_middleware_bundle",
		},
		{
			"gRPC hooks", "/a/", `"custom_middleware": {"driver": "grpc", "pre": [{"name": "A"}]}, `,
			`a.json: custom_middleware.driver: plugin driver "grpc" is not loaded; set coprocess_options.enable_coprocess and coprocess_options.coprocess_grpc_server in tyk.conf`,
		},
		{
			"events for a driver that is not there", "/a/",
			`"custom_middleware": {"driver": "grpc"}, "event_handlers": {"events": {"E": [{"handler_name": "cp_dynamic_handler", "handler_meta": {"name": "OnE"}}]}}, `,
			`a.json: custom_middleware.driver: plugin driver "grpc" is not loaded`,
		},
		{"hooks that a bundle's replace", "/a/", `"custom_middleware_bundle": "b.zip", "custom_middleware": {"driver": "grpc", "pre": [{"name": "A"}]}, `, ""},
		{"disabled hooks", "/a/", `"custom_middleware": {"driver": "python", "pre": [{"name": "A", "disabled": true}]}, `, ""},
		{"a bundle twice", "/a/", `"custom_middleware_bundle": "b.zip, b.zip", `, `a.json: custom_middleware_bundle: bundle "b.zip" is listed twice; list it once`},
	} {
		t.Run(test.name, func(t *testing.T) {
			api, _, err := apidef.Parse("a.json", []byte(definition("a", test.path, test.extra)))
			require.NoError(t, err)
			err = api.Unserved("a.json", around)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
	require.ErrorContains(t, apidef.MissingDriver("python"), "enable_coprocess")
}
