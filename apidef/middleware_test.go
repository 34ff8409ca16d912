package apidef_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
)

func TestCustomMiddlewareHasHooks(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    apidef.CustomMiddleware
		want bool
	}{
		{"nothing", apidef.CustomMiddleware{Driver: "python"}, false},
		{"an empty auth_check is none", apidef.CustomMiddleware{AuthCheck: apidef.MiddlewareDefinition{RawBodyOnly: true}}, false},
		{"a disabled hook does not run", apidef.CustomMiddleware{Pre: []apidef.MiddlewareDefinition{{Name: "A", Disabled: true}}}, false},
		{"auth_check", apidef.CustomMiddleware{AuthCheck: apidef.MiddlewareDefinition{Name: "A"}}, true},
		{"response", apidef.CustomMiddleware{Response: []apidef.MiddlewareDefinition{{Name: "A"}}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, tc.m.HasHooks()) })
	}
}

func TestIDExtractorFaults(t *testing.T) {
	for _, tc := range []struct {
		name string
		x    apidef.IDExtractor
		want []string
	}{
		{"value from a header", apidef.IDExtractor{ExtractFrom: "header", ExtractWith: "value", Config: apidef.ExtractorConfig{HeaderName: "A"}}, nil},
		{"value from a form", apidef.IDExtractor{ExtractFrom: "form", ExtractWith: "value", Config: apidef.ExtractorConfig{ParamName: "a"}}, nil},
		{"regex from the body", apidef.IDExtractor{ExtractFrom: "body", ExtractWith: "regex", Config: apidef.ExtractorConfig{RegexExpression: "a+"}}, nil},
		{"xpath from the body", apidef.IDExtractor{ExtractFrom: "body", ExtractWith: "xpath", Config: apidef.ExtractorConfig{XPathExpression: "//a"}}, nil},
		{"disabled", apidef.IDExtractor{ExtractFrom: "body", ExtractWith: "value", Disabled: true}, nil},
		{"value from the body", apidef.IDExtractor{ExtractFrom: "body", ExtractWith: "value"}, []string{"m.id_extractor.extract_with"}},
		{"unknown source and method", apidef.IDExtractor{ExtractFrom: "moon", ExtractWith: "magic"}, []string{"m.id_extractor.extract_from", "m.id_extractor.extract_with"}},
		{"names missing", apidef.IDExtractor{ExtractFrom: "header", ExtractWith: "regex"}, []string{"m.id_extractor.extractor_config.header_name", "m.id_extractor.extractor_config.regex_expression"}},
		{"form field missing", apidef.IDExtractor{ExtractFrom: "form", ExtractWith: "xpath"}, []string{"m.id_extractor.extractor_config.param_name", "m.id_extractor.extractor_config.xpath_expression"}},
		{
			"broken regex",
			apidef.IDExtractor{ExtractFrom: "body", ExtractWith: "regex", Config: apidef.ExtractorConfig{RegexExpression: "(", RegexMatchIndex: -1}},
			[]string{"m.id_extractor.extractor_config.regex_expression", "m.id_extractor.extractor_config.regex_match_index"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := apidef.CustomMiddleware{IDExtractor: tc.x}
			var fields []string
			for _, fault := range m.Faults("f.json", "m") {
				fields = append(fields, fault.Field)
			}
			require.Equal(t, tc.want, fields)
		})
	}
}

func TestCustomMiddlewareIsWrittenWithoutWhatIsNotThere(t *testing.T) {
	data, err := json.Marshal(apidef.CustomMiddleware{Driver: "python", AuthCheck: apidef.MiddlewareDefinition{Name: "A"}})
	require.NoError(t, err)
	require.JSONEq(t, `{"driver": "python", "auth_check": {"name": "A"}}`, string(data))
}
