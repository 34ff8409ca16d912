package jsonfile_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/jsonfile"
)

func TestFind(t *testing.T) {
	tree, err := jsonfile.Parse("f.json", []byte(`{"A": {"b": 1, "B": 2}, "a": "text", "c": {"x": {"n": "first"}, "y": {"n": "second"}}}`))
	require.NoError(t, err)
	fields := func(path string) (found []string) {
		for _, m := range jsonfile.Find(tree, path) {
			found = append(found, m.Field)
		}
		return found
	}
	require.Equal(t, []string{"A", "a"}, fields("a"))
	require.Equal(t, []string{"A.B", "A.b"}, fields("a.b"))
	require.Equal(t, []string{"c.x.n", "c.y.n"}, fields("c.*.n"))
	require.Empty(t, fields("a.b.c"))
	require.Equal(t, "first", jsonfile.TextAt(tree, "c.*.n"))
	require.Empty(t, jsonfile.TextAt(tree, "a.b"))
	require.True(t, jsonfile.Holds(tree, "a.b"))
	require.False(t, jsonfile.Holds(tree, "a.c"))
}

func TestIsOn(t *testing.T) {
	for _, tc := range []struct {
		json    string
		set, on bool
	}{
		{`null`, false, false},
		{`false`, false, false},
		{`true`, true, true},
		{`""`, false, false},
		{`"false"`, true, true},
		{`0`, false, false},
		{`0.0e3`, false, false},
		{`-1`, true, true},
		{`1e999`, true, true},
		{`[]`, false, false},
		{`[0, "", [], {}]`, false, false},
		{`[0, 1]`, true, true},
		{`{"a": {"b": [null]}}`, false, false},
		{`{"a": {"b": [1]}}`, true, true},
		{`{"enabled": false, "a": 1}`, true, false},
		{`{"Enable": false, "a": 1}`, true, false},
		{`{"disabled": true, "a": 1}`, true, false},
		{`{"disabled": false, "a": 1}`, true, true},
	} {
		t.Run(tc.json, func(t *testing.T) {
			tree, err := jsonfile.Parse("f.json", []byte(`{"v": `+tc.json+`}`))
			require.NoError(t, err)
			require.Equal(t, tc.set, jsonfile.IsSet(tree["v"]))
			require.Equal(t, tc.on, jsonfile.IsOn(tree["v"]))
		})
	}
}
