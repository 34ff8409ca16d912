package jsonfile_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

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
		{`{"disabled": "false", "a": 1}`, true, true},
		{`{"enabled": true, "disabled": true}`, true, true},
		{`{"enabled": true, "Enabled": false}`, true, true},
		{`{"enabled": true, "enable": false}`, true, true},
		{`{"enabled": "false"}`, true, true},
		{`{"enabled": null, "a": 1}`, true, true},
	} {
		t.Run(tc.json, func(t *testing.T) {
			tree, err := jsonfile.Parse("f.json", []byte(`{"v": `+tc.json+`}`))
			require.NoError(t, err)
			require.Equal(t, tc.set, jsonfile.IsSet(tree["v"]))
			require.Equal(t, tc.on, jsonfile.IsOn(tree["v"]))
		})
	}
}

func TestUnbound(t *testing.T) {
	data := []byte(`{"INNER": {"Extra": 1, "other": 2}, "object": {"free": 4}, "more": {"deep": 3}, "list": [{"one": 1}], "a.b": 1, "nothing": null}`)
	var into sample
	tree, err := jsonfile.Parse("f.json", data)
	require.NoError(t, err)
	unknown, err := jsonfile.Bind("f.json", tree, &into)
	require.NoError(t, err)
	require.Equal(t, []string{"a.b", "inner.Extra", "inner.other", "list[0].one", "more", "nothing"}, unknown)
	for path, want := range map[string]any{
		"inner.Extra": json.Number("1"), "inner.other": json.Number("2"),
		"more": map[string]any{"deep": json.Number("3")}, "more.deep": json.Number("3"), "nothing": nil,
	} {
		value, found := jsonfile.Unbound(tree, path)
		require.True(t, found, path)
		require.Equal(t, want, value, path)
	}
	for _, path := range []string{"a.b", "list[0].one", "more.deep.er", "gone", ""} {
		_, found := jsonfile.Unbound(tree, path)
		require.False(t, found, path)
	}
}

func TestUnboundTakesLittleTime(t *testing.T) {
	tree := make(map[string]any)
	for i := range 50_000 {
		tree["a."+strconv.Itoa(i)] = json.Number("1")
	}
	began := time.Now()
	for name := range tree {
		_, found := jsonfile.Unbound(tree, name)
		require.False(t, found)
	}
	require.Less(t, time.Since(began), 20*time.Second, "a search of all members for each one takes minutes")
}
