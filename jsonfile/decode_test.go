package jsonfile_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/jsonfile"
)

type span time.Duration

func (s *span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("is not a duration")
	}
	*s = span(d)
	return nil
}

type inner struct {
	Name  string `json:"name"`
	Count int    `json:"count,omitempty"`
}

type sample struct {
	Text    string             `json:"text"`
	Number  int                `json:"number"`
	Small   uint16             `json:"small"`
	Ratio   float64            `json:"ratio"`
	Flag    bool               `json:"flag"`
	Maybe   *bool              `json:"maybe"`
	Inner   inner              `json:"inner"`
	Pointer *inner             `json:"pointer"`
	List    []inner            `json:"list"`
	Texts   []string           `json:"texts"`
	Map     map[string][]inner `json:"map"`
	Any     any                `json:"any"`
	Object  map[string]any     `json:"object"`
	Span    span               `json:"span"`
}

func TestDecodeBindsEveryKindOfField(t *testing.T) {
	var got sample
	unknown, err := jsonfile.Decode("f.json", []byte("\xef\xbb\xbf"+`{
		"TEXT": "a", "number": -3, "small": 65535, "ratio": 1.5, "flag": true, "maybe": false,
		"inner": {"name": "n", "count": 2}, "pointer": {"name": "p"},
		"list": [{"name": "one"}, {"name": "two"}], "texts": ["x"],
		"map": {"Event": [{"name": "m"}]}, "any": [1, {"b": null}],
		"object": {"n": 12345678901234567890, "N": "free"}, "span": "10s"
	}`), &got)
	require.NoError(t, err)
	require.Empty(t, unknown)
	no := false
	require.Equal(t, sample{
		Text: "a", Number: -3, Small: 65535, Ratio: 1.5, Flag: true, Maybe: &no,
		Inner: inner{"n", 2}, Pointer: &inner{Name: "p"},
		List: []inner{{Name: "one"}, {Name: "two"}}, Texts: []string{"x"},
		Map:    map[string][]inner{"Event": {{Name: "m"}}},
		Any:    []any{json.Number("1"), map[string]any{"b": nil}},
		Object: map[string]any{"n": json.Number("12345678901234567890"), "N": "free"},
		Span:   span(10 * time.Second),
	}, got)
}

func TestDecodeLeavesAbsentAndNullFieldsAlone(t *testing.T) {
	got := sample{Text: "kept", Number: 7, Inner: inner{Name: "kept", Count: 1}}
	_, err := jsonfile.Decode("f.json", []byte(`{"text": null, "inner": {"count": 2}}`), &got)
	require.NoError(t, err)
	require.Equal(t, sample{Text: "kept", Number: 7, Inner: inner{Name: "kept", Count: 2}}, got)
}

func TestDecodeNamesUnknownMembers(t *testing.T) {
	var got sample
	unknown, err := jsonfile.Decode("f.json", []byte(`{"zeta": 1, "inner": {"extra": 1},
		"list": [{}, {"more": 1}], "map": {"Event": [{"deep": 1}]}, "object": {"fine": 1}}`), &got)
	require.NoError(t, err)
	require.Equal(t, []string{"inner.extra", "list[1].more", "map.Event[0].deep", "zeta"}, unknown)
}

func TestDecodeFaults(t *testing.T) {
	for _, tc := range []struct{ name, data, want string }{
		{"text for a number", `{"number": "3"}`, `f.json: number: must be a number, but is text; write digits without quotes`},
		{"number for text", `{"text": 3}`, `f.json: text: must be text in double quotes, but is a number; write "..."`},
		{"text for a bool", `{"flag": "true"}`, `f.json: flag: must be true or false, but is text; write true or false without quotes`},
		{"text for an optional bool", `{"maybe": "x"}`, `f.json: maybe: must be true or false, but is text; write true or false without quotes`},
		{"object for a list", `{"list": {}}`, `f.json: list: must be a list, but is an object; write [ ... ]`},
		{"text for a list of text", `{"texts": "x"}`, `f.json: texts: must be a list, but is text; write [ ... ]`},
		{"list for an object", `{"inner": []}`, `f.json: inner: must be an object, but is a list; write { ... }`},
		{"list for a free object", `{"object": []}`, `f.json: object: must be an object, but is a list; write { ... }`},
		{"fraction for a whole number", `{"number": 1.5}`, `f.json: number: 1.5 is not a whole number; write it without fraction and exponent`},
		{"exponent for a whole number", `{"small": 1e3}`, `f.json: small: 1e3 is not a whole number; write it without fraction and exponent`},
		{"overflow", `{"small": 65536}`, `f.json: small: 65536 does not fit into 16 bits; write a smaller number`},
		{"overflow of 64 bits", `{"number": 9223372036854775808}`, `f.json: number: 9223372036854775808 does not fit into 64 bits; write a smaller number`},
		{"negative", `{"small": -1}`, `f.json: small: -1 is negative; write 0 or more`},
		{"float overflow", `{"ratio": 1e999}`, `f.json: ratio: 1e999 is too large`},
		{"bad text form", `{"span": "ten"}`, `f.json: span: is not a duration`},
		{"number for a text form", `{"span": 10}`, `f.json: span: must be text in double quotes, but is a number; write "..."`},
		{"inside a list", `{"list": [{}, {"count": true}]}`, `f.json: list[1].count: must be a number, but is true or false; write digits without quotes`},
		{"inside a map", `{"map": {"Auth": [{"count": []}]}}`, `f.json: map.Auth[0].count: must be a number, but is a list; write digits without quotes`},
		{"duplicate member", "{\"inner\": {\"name\": \"a\",\n \"name\": \"b\"}}", `f.json:2:7: inner.name: is there twice; remove one of the two`},
		{"members that differ in letter case", `{"inner": {"Name": "a", "NAME": "b"}}`, `f.json: inner: has the member "name" twice, in different letter case; remove one of the two`},
		{"list instead of an object", `[]`, `f.json: the file holds a list, not a JSON object; put its members into { and }`},
		{"empty file", " \n", `f.json: the file is empty; it has to hold a JSON object, at least {}`},
		{"not UTF-8", "{\"text\":\n \"ä\xff\"}", `f.json:2:4: the file is not UTF-8 text; save it with the encoding UTF-8`},
		{"syntax error", "{\n  \"text\": \"ä\" x}", "f.json:2:15: not valid JSON: invalid character 'x' after object key:value pair; correct the file at or just before this place"},
		{"cut off", `{"text": `, `f.json:1:9: not valid JSON: unexpected end of JSON input; correct the file at or just before this place`},
		{"trailing data", `{} {}`, "f.json:1:4: not valid JSON: invalid character '{' after top-level value; correct the file at or just before this place"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := jsonfile.Decode("f.json", []byte(tc.data), new(sample))
			require.EqualError(t, err, tc.want)
			var e *jsonfile.Error
			require.ErrorAs(t, err, &e)
			require.Len(t, e.Faults, 1)
		})
	}
}

func TestDecodeReportsAllFaultsTogether(t *testing.T) {
	got := sample{}
	_, err := jsonfile.Decode("f.json", []byte(`{"text": 1, "text": 2, "number": "x", "flag": true,
		"list": [{"count": "x"}, {"count": 1.5}]}`), &got)
	var fields []string
	for _, fault := range jsonfile.Faults("f.json", err) {
		fields = append(fields, fault.Field)
	}
	require.Equal(t, []string{"text", "list[0].count", "list[1].count", "number", "text"}, fields)
	require.True(t, got.Flag, "what is right is decoded all the same")
}

func TestDecodeRefusesAbsurdNesting(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	_, err := jsonfile.Decode("f.json", []byte(deep), new(sample))
	require.ErrorContains(t, err, "nested deeper than 200 levels")
}

func TestDecodeNeverRepeatsTextValues(t *testing.T) {
	_, err := jsonfile.Decode("f.json", []byte(`{"number": "hunter2", "flag": "hunter2", "list": ["hunter2"], "inner": "hunter2"}`), new(sample))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestFaultsOfOtherErrors(t *testing.T) {
	require.Nil(t, jsonfile.Faults("f.json", nil))
	require.Equal(t, []jsonfile.Fault{{File: "f.json", Problem: "boom"}}, jsonfile.Faults("f.json", errors.New("boom")))
	require.NoError(t, jsonfile.NewError(nil))
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"text": "a", "list": [{"count": 1}], "map": {"x": []}, "any": {"deep": [null]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got sample
		unknown, err := jsonfile.Decode("f.json", data, &got)
		if err == nil {
			require.True(t, json.Valid([]byte(strings.TrimPrefix(string(data), "\xef\xbb\xbf"))))
			return
		}
		var e *jsonfile.Error
		require.ErrorAs(t, err, &e)
		require.NotEmpty(t, e.Faults)
		for _, fault := range e.Faults {
			require.Equal(t, "f.json", fault.File)
			require.NotEmpty(t, fault.Problem)
		}
		_ = unknown
	})
}
