package apidef_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
)

func TestIDExtractorFaults(t *testing.T) {
	type (
		x = apidef.IDExtractor
		c = apidef.ExtractorConfig
	)
	const config = "m.id_extractor.extractor_config."
	for _, tc := range []struct {
		name string
		x    apidef.IDExtractor
		want []string
	}{
		{"none", x{}, nil},
		{"value from a header", x{ExtractFrom: "header", ExtractWith: "value", Config: c{HeaderName: "A"}}, nil},
		{"value from a form", x{ExtractFrom: "form", ExtractWith: "value", Config: c{ParamName: "a"}}, nil},
		{"regex from a header", x{ExtractFrom: "header", ExtractWith: "regex", Config: c{HeaderName: "A", RegexExpression: "a+"}}, nil},
		{"regex from a form", x{ExtractFrom: "form", ExtractWith: "regex", Config: c{ParamName: "a", RegexExpression: "a+", RegexMatchIndex: 99}}, nil},
		{"regex from the body", x{ExtractFrom: "body", ExtractWith: "regex", Config: c{RegexExpression: "a+"}}, nil},
		{"xpath from a header", x{ExtractFrom: "header", ExtractWith: "xpath", Config: c{HeaderName: "A", XPathExpression: "//a"}}, nil},
		{"xpath from a form", x{ExtractFrom: "form", ExtractWith: "xpath", Config: c{ParamName: "a", XPathExpression: "//a"}}, nil},
		{"xpath from the body", x{ExtractFrom: "body", ExtractWith: "xpath", Config: c{XPathExpression: "//a"}}, nil},
		{"disabled", x{ExtractFrom: "body", ExtractWith: "value", Disabled: true}, nil},
		{"value from the body", x{ExtractFrom: "body", ExtractWith: "value"}, []string{"m.id_extractor.extract_with"}},
		{"unknown source and method", x{ExtractFrom: "moon", ExtractWith: "magic"}, []string{"m.id_extractor.extract_from", "m.id_extractor.extract_with"}},
		{"names missing", x{ExtractFrom: "header", ExtractWith: "regex"}, []string{config + "header_name", config + "regex_expression"}},
		{"form field missing", x{ExtractFrom: "form", ExtractWith: "xpath"}, []string{config + "param_name", config + "xpath_expression"}},
		{
			"broken regex",
			x{ExtractFrom: "body", ExtractWith: "regex", Config: c{RegexExpression: "(", RegexMatchIndex: -1}},
			[]string{config + "regex_expression", config + "regex_match_index"},
		},
		{
			"an index beyond all reason",
			x{ExtractFrom: "body", ExtractWith: "regex", Config: c{RegexExpression: "a", RegexMatchIndex: 100}},
			[]string{config + "regex_match_index"},
		},
		{"broken xpath", x{ExtractFrom: "body", ExtractWith: "xpath", Config: c{XPathExpression: "//a["}}, []string{config + "xpath_expression"}},
		{
			"xpath that gives the same for everybody",
			x{ExtractFrom: "body", ExtractWith: "xpath", Config: c{XPathExpression: "count(//a)"}},
			[]string{config + "xpath_expression"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := apidef.CustomMiddleware{IDExtractor: tc.x}
			var fields []string
			for _, fault := range m.Faults("f.json", "m") {
				require.Equal(t, "f.json", fault.File)
				fields = append(fields, fault.Field)
			}
			require.Equal(t, tc.want, fields)
		})
	}
}
