package idextract_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/idextract"
	"github.com/krait-gateway/krait/jsonfile"
)

const form = "application/x-www-form-urlencoded"

// The settings of the tables.
func from(source, with string) apidef.IDExtractor {
	return apidef.IDExtractor{ExtractFrom: source, ExtractWith: with, Config: apidef.ExtractorConfig{
		HeaderName: "x-id", ParamName: "id", RegexExpression: `[a-z]+\b`, RegexMatchIndex: 1, XPathExpression: "//user/@id",
	}}
}

func request(t *testing.T, method, query, contentType string, header ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://gateway/a/?"+query, nil)
	require.NoError(t, err)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for _, value := range header {
		r.Header.Add("X-Id", value)
	}
	return r
}

func TestValueFromHeader(t *testing.T) {
	for name, tc := range map[string]struct {
		with   string
		header []string
		want   string
		err    error
	}{
		"value":                           {"value", []string{"Bearer abc"}, "Bearer abc", nil},
		"value of one character":          {"value", []string{"a"}, "a", nil},
		"value that is not UTF-8":         {"value", []string{"\xff"}, "\xff", nil},
		"missing":                         {"value", nil, "", idextract.ErrMissing},
		"empty":                           {"value", []string{""}, "", idextract.ErrMissing},
		"blank":                           {"value", []string{" \t"}, "", idextract.ErrMissing},
		"twice":                           {"value", []string{"a", "b"}, "", idextract.ErrAmbiguous},
		"twice the same":                  {"value", []string{"a", "a"}, "", idextract.ErrAmbiguous},
		"regex":                           {"regex", []string{"one 2 three four"}, "three", nil},
		"regex, index beyond the matches": {"regex", []string{"one 2"}, "", idextract.ErrMissing},
		"regex without a match":           {"regex", []string{"1 2"}, "", idextract.ErrMissing},
		"regex, header twice":             {"regex", []string{"one two", "three four"}, "", idextract.ErrAmbiguous},
		"xpath":                           {"xpath", []string{`<r><user id="u1"/><user id="u2"/></r>`}, "u1", nil},
		"xpath without a node":            {"xpath", []string{`<r/>`}, "", idextract.ErrMissing},
		"xpath with an empty node":        {"xpath", []string{`<user id=""/>`}, "", idextract.ErrMissing},
		"xpath in what is no XML":         {"xpath", []string{`{}`}, "", idextract.ErrMissing},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := idextract.New(from("header", tc.with))
			require.NoError(t, err)
			r := request(t, http.MethodPost, "id=query", form, tc.header...)
			require.False(t, e.ReadsBody(r))
			got, err := e.Value(r, []byte("id=body"))
			require.ErrorIs(t, err, tc.err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestValueFromForm(t *testing.T) {
	const post, xml = http.MethodPost, "%3Cuser+id='u1'/%3E"
	for name, tc := range map[string]struct {
		with, method, media, query, body string
		want                             string
		err                              error
	}{
		"query":                            {"value", "GET", "", "a=b&id=al%20ice", "", "al ice", nil},
		"body":                             {"value", post, form, "", "a=b&id=al+ice", "al ice", nil},
		"body with a charset":              {"value", post, form + "; charset=utf-8", "", "id=alice", "alice", nil},
		"body with a broken parameter":     {"value", post, form + `; charset="`, "", "id=alice", "alice", nil},
		"PUT":                              {"value", "PUT", form, "", "id=alice", "alice", nil},
		"PATCH":                            {"value", "PATCH", form, "", "id=alice", "alice", nil},
		"escaped name":                     {"value", "GET", "", "%69d=alice", "", "alice", nil},
		"malformed fields beside":          {"value", "GET", "", "%zz=1&x=%&id=alice&a;b=c", "", "alice", nil},
		"query beside a body without it":   {"value", post, form, "id=alice", "x=1", "alice", nil},
		"body of a GET is no form":         {"value", "GET", form, "", "id=alice", "", idextract.ErrMissing},
		"JSON is no form":                  {"value", post, "application/json", "", "id=alice", "", idextract.ErrMissing},
		"multipart is no form":             {"value", post, "multipart/form-data; boundary=x", "", "id=alice", "", idextract.ErrMissing},
		"body without a type is no form":   {"value", post, "", "", "id=alice", "", idextract.ErrMissing},
		"missing":                          {"value", post, form, "x=1", "y=2", "", idextract.ErrMissing},
		"empty":                            {"value", post, form, "", "id=", "", idextract.ErrMissing},
		"name without a value":             {"value", "GET", "", "id", "", "", idextract.ErrMissing},
		"malformed value":                  {"value", "GET", "", "id=%zz", "", "", idextract.ErrMissing},
		"name in another case":             {"value", "GET", "", "ID=alice", "", "", idextract.ErrMissing},
		"twice in the query":               {"value", "GET", "", "id=a&id=b", "", "", idextract.ErrAmbiguous},
		"in body and query":                {"value", post, form, "id=a", "id=b", "", idextract.ErrAmbiguous},
		"a million times":                  {"value", post, form, "", strings.Repeat("id&", 1e6), "", idextract.ErrAmbiguous},
		"long value":                       {"value", post, form, "", "id=" + strings.Repeat("x", 5<<20), strings.Repeat("x", 5<<20), nil},
		"regex":                            {"regex", post, form, "", "id=one+2+three", "three", nil},
		"regex without a match":            {"regex", post, form, "", "id=1", "", idextract.ErrMissing},
		"regex, value too long":            {"regex", post, form, "", "id=" + strings.Repeat("x", 5<<20), "", idextract.ErrTooLarge},
		"xpath":                            {"xpath", post, form, "", "id=" + xml, "u1", nil},
		"xpath in the query":               {"xpath", "GET", "", "id=" + xml, "", "u1", nil},
		"xpath in what is no XML":          {"xpath", "GET", "", "id=x", "", "", idextract.ErrMissing},
		"xpath, value is too deep":         {"xpath", post, form, "", "id=" + strings.Repeat("<a>", 1000), "", idextract.ErrTooLarge},
		"a million other fields in a form": {"value", post, form, "", strings.Repeat("a&", 1e6) + "id=alice", "alice", nil},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := idextract.New(from("form", tc.with))
			require.NoError(t, err)
			r := request(t, tc.method, tc.query, tc.media, "header")
			var body []byte
			if e.ReadsBody(r) {
				body = []byte(tc.body)
			}
			got, err := e.Value(r, body)
			require.ErrorIs(t, err, tc.err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestValueFromBody(t *testing.T) {
	for name, tc := range map[string]struct {
		with, body string
		want       string
		err        error
	}{
		"regex":                      {"regex", `{"a": "bc"}`, "bc", nil},
		"regex in bytes":             {"regex", "\xff\xfeone\x00two", "two", nil},
		"regex without a match":      {"regex", "{}", "", idextract.ErrMissing},
		"regex in an empty body":     {"regex", "", "", idextract.ErrMissing},
		"regex at the limit":         {"regex", strings.Repeat("1", idextract.MaxText-3) + "a b", "b", nil},
		"regex beyond the limit":     {"regex", strings.Repeat("1", idextract.MaxText-2) + "a b", "", idextract.ErrTooLarge},
		"xpath":                      {"xpath", `<soap:Envelope xmlns:soap="u"><soap:Body><user id="u1"/></soap:Body></soap:Envelope>`, "u1", nil},
		"xpath without a node":       {"xpath", `<user/>`, "", idextract.ErrMissing},
		"xpath in an empty body":     {"xpath", "", "", idextract.ErrMissing},
		"xpath in malformed XML":     {"xpath", `<user id="u1">`, "", idextract.ErrMissing},
		"xpath in an entity bomb":    {"xpath", `<!DOCTYPE l [<!ENTITY a "lol">]><user id="&a;"/>`, "", idextract.ErrMissing},
		"xpath in many elements":     {"xpath", "<r>" + strings.Repeat("<a/>", 500_000) + "</r>", "", idextract.ErrTooLarge},
		"xpath in a very large text": {"xpath", "<r>" + strings.Repeat("x", idextract.MaxText) + "</r>", "", idextract.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := idextract.New(from("body", tc.with))
			require.NoError(t, err)
			r := request(t, http.MethodGet, "id=query", "", "header")
			require.True(t, e.ReadsBody(r))
			got, err := e.Value(r, []byte(tc.body))
			require.ErrorIs(t, err, tc.err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestWholeMatchesCount(t *testing.T) {
	x := from("header", "regex")
	x.Config.RegexExpression, x.Config.RegexMatchIndex = `user=(\w+)`, 0
	e, err := idextract.New(x)
	require.NoError(t, err)
	got, err := e.Value(request(t, http.MethodGet, "", "", "user=alice;role=x"), nil)
	require.NoError(t, err)
	require.Equal(t, "user=alice", got, "groups do not count")

	x.Config.RegexExpression = `x*`
	e, err = idextract.New(x)
	require.NoError(t, err)
	_, err = e.Value(request(t, http.MethodGet, "", "", "alice"), nil)
	require.ErrorIs(t, err, idextract.ErrMissing, "an empty match identifies nobody")
}

func TestNewRefusesFaults(t *testing.T) {
	for _, x := range []apidef.IDExtractor{
		from("body", "value"), from("moon", "value"), from("body", ""),
		{ExtractFrom: "header", ExtractWith: "value"},
		{ExtractFrom: "body", ExtractWith: "xpath", Config: apidef.ExtractorConfig{XPathExpression: "//a["}},
		{ExtractFrom: "body", ExtractWith: "regex", Config: apidef.ExtractorConfig{RegexExpression: "("}},
	} {
		e, err := idextract.New(x)
		var faults *jsonfile.Error
		require.ErrorAs(t, err, &faults)
		require.ErrorContains(t, err, "id_extractor.")
		require.Nil(t, e)
	}
}

func TestSessionID(t *testing.T) {
	require.Equal(t, "default900150983cd24fb0d6963f7d28e17f72", idextract.SessionID("default", "abc"))
	require.NotEqual(t, idextract.SessionID("o", "Bearer abc"), idextract.SessionID("o", "abc"))
}
