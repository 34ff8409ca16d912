package apidef_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/jsonfile"
)

// names lists the files in dir.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	found := make([]string, 0, len(entries))
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found
}

func TestDirLifeOfADefinition(t *testing.T) {
	path := t.TempDir()
	dir := apidef.NewDir(path)
	_, err := dir.Read("a", false)
	require.ErrorIs(t, err, apidef.ErrNoDefinition)

	first := definition("a", "/a/", `"typo": 1, `)
	written, err := dir.Add(apidef.Change{Data: []byte(first)})
	require.NoError(t, err)
	require.Equal(t, &apidef.Written{
		ID: "a", File: filepath.Join(path, "a.json"),
		Warnings: []string{"definition: typo: is not known or not supported, and without effect"},
	}, written)
	got, err := dir.Read("a", false)
	require.NoError(t, err)
	require.Equal(t, first, string(got), "as it was sent")
	info, err := os.Stat(written.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "it may hold secrets")

	require.NoError(t, os.Rename(written.File, filepath.Join(path, "other.json")))
	require.NoError(t, os.Chmod(filepath.Join(path, "other.json"), 0o644))
	second := definition("a", "/b/", "")
	written, err = dir.Replace(apidef.Change{ID: "a", Data: []byte(second)})
	require.NoError(t, err)
	require.Equal(t, filepath.Join(path, "other.json"), written.File, "whatever its name")
	require.Equal(t, second, string(read(t, written.File)))
	info, err = os.Stat(written.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o644), info.Mode().Perm(), "as it was")

	file, err := dir.Remove("a", false)
	require.NoError(t, err)
	require.Equal(t, filepath.Join(path, "other.json"), file)
	require.Empty(t, names(t, path))
	_, err = dir.Remove("a", false)
	require.ErrorIs(t, err, apidef.ErrNoDefinition)
	_, err = dir.Replace(apidef.Change{ID: "a", Data: []byte(second)})
	require.ErrorIs(t, err, apidef.ErrNoDefinition)
}

func TestDirGivesIDs(t *testing.T) {
	noID := `{"big": 12345678901234567890, "name": "<N>", "proxy": {"listen_path": "/%s/", "target_url": "http://up"}}`
	dir := apidef.NewDir(t.TempDir())
	written, err := dir.Add(apidef.Change{Data: fmt.Appendf(nil, noID, "x")})
	require.NoError(t, err)
	require.Len(t, written.ID, 32)
	got, err := dir.Read(written.ID, false)
	require.NoError(t, err)
	require.Contains(t, string(got), `"api_id": "`+written.ID+`"`)
	require.Contains(t, string(got), `12345678901234567890`)
	require.Contains(t, string(got), `"<N>"`)

	written, err = dir.Add(apidef.Change{ID: "named", Data: fmt.Appendf(nil, noID, "y")})
	require.NoError(t, err)
	require.Equal(t, "named", written.ID)

	written, err = dir.Add(apidef.Change{OAS: true, Data: extension(t, `{"info": null, "server": {"listenPath": {"value": "/z/"}}}`)})
	require.NoError(t, err)
	got, err = dir.Read(written.ID, true)
	require.NoError(t, err)
	var document struct {
		Extension struct{ Info struct{ ID string } } `json:"x-tyk-api-gateway"`
	}
	require.NoError(t, json.Unmarshal(got, &document))
	require.Equal(t, written.ID, document.Extension.Info.ID)
}

func TestDirRefusesWhatCannotBeUsed(t *testing.T) {
	path := writeDir(t, map[string]string{"old.json": definition("old", "/old/", "")})
	dir := apidef.NewDir(path)
	for _, tc := range []struct {
		name, id, data, want string
		oas                  bool
	}{
		{name: "no JSON", data: `{"api_id": `, want: "definition:1:11: not valid JSON"},
		{name: "nothing", data: ``, want: "definition: the file is empty"},
		{name: "all faults", data: `{"api_id": "a", "enable_jwt": true}`, want: "definition: proxy.listen_path: is missing; write a plain path such as /my-api/\ndefinition: proxy.target_url: is missing"},
		{name: "another id than the request's", id: "b", data: definition("a", "/a/", ""), want: "definition: api_id: is not the id that the request names; write the same id in both"},
		{name: "the classic form where OAS is asked for", oas: true, data: definition("a", "/a/", ""), want: "definition: is not in the OAS form; use /tyk/apis, which takes both forms"},
		{name: "what the gateway cannot serve", data: definition("a", "/hello", ""), want: "definition: proxy.listen_path: is taken"},
		{name: "a path as id", data: definition("../a", "/a/", ""), want: "definition: api_id: has characters that a file name should not have; use letters, digits, hyphens and underscores"},
		{name: "a path as id of the OAS form", data: string(extension(t, `{"info": {"id": "a/b"}}`)), want: "definition: " + ext + "info.id: has characters"},
		{name: "an id of two dots", data: definition("..", "/a/", ""), want: "begins with a dot"},
		{name: "a hidden id", data: definition(".a", "/a/", ""), want: "begins with a dot"},
		{name: "a very long id", data: definition(strings.Repeat("a", 201), "/a/", ""), want: "is longer than 200 characters"},
		{name: "the name of a second file", data: definition("a-OAS", "/a/", ""), want: "ends in -oas"},
		{name: "the name of an endpoint", data: definition("oas", "/a/", ""), want: "is the name of an endpoint"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := dir.Add(apidef.Change{ID: tc.id, Data: []byte(tc.data), OAS: tc.oas, Check: func(file string, api *apidef.API) error {
				if api.Proxy.ListenPath == "/hello" {
					return jsonfile.NewError([]jsonfile.Fault{{File: file, Field: "proxy.listen_path", Problem: "is taken"}})
				}
				return nil
			}})
			var faults *jsonfile.Error
			require.ErrorAs(t, err, &faults)
			require.ErrorContains(t, err, tc.want)
			require.Equal(t, []string{"old.json"}, names(t, path), "nothing is written")
		})
	}
	t.Run("a change that cannot be used leaves the file as it is", func(t *testing.T) {
		_, err := dir.Replace(apidef.Change{ID: "old", Data: []byte(definition("old", "nowhere", ""))})
		require.ErrorContains(t, err, "does not start with /")
		require.Equal(t, definition("old", "/old/", ""), string(read(t, filepath.Join(path, "old.json"))))
	})
}

func TestDirRefusesConflicts(t *testing.T) {
	files := map[string]string{
		"a.json":      definition("a", "/a/", ""),
		"b.json":      definition("b2", "/b/", ""),
		"broken.json": `{"api_id": "faulty"}`,
		"half.json":   `{"api_id": "`,
		"off.json":    definition("off", "/off/", `"active": false, `),
		"one.json":    definition("twice", "/one/", ""),
		"two.json":    definition("twice", "/two/", ""),
	}
	path := writeDir(t, files)
	target := filepath.Join(t.TempDir(), "target.json")
	require.NoError(t, os.WriteFile(target, []byte(definition("linked", "/linked/", "")), 0o600))
	require.NoError(t, os.Symlink(target, filepath.Join(path, "link.json")))
	dir := apidef.NewDir(path)
	add := func(id, listen string) error {
		_, err := dir.Add(apidef.Change{Data: []byte(definition(id, listen, ""))})
		return err
	}
	replace := func(id, listen string) error {
		_, err := dir.Replace(apidef.Change{ID: id, Data: []byte(definition(id, listen, ""))})
		return err
	}
	remove := func(id string) error {
		_, err := dir.Remove(id, false)
		return err
	}
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"an id that is there", add("a", "/new/"), `an API with the id "a" is in ` + filepath.Join(path, "a.json") + "; change it with PUT"},
		{"an id in a faulty file", add("faulty", "/new/"), `an API with the id "faulty"`},
		{"a listen path that is there", add("new", "/a"), `proxy.listen_path is also the listen path of the API "a"`},
		{"a file with another id", add("b", "/new/"), "b.json is already there"},
		{"a file that cannot be read", add("half", "/new/"), "half.json is already there"},
		{"another's listen path", replace("a", "/b/"), `listen path of the API "b2"`},
		{"an id in two files", replace("twice", "/new/"), `one.json and ` + filepath.Join(path, "two.json") + ` hold the id "twice"`},
		{"removing one of two", remove("twice"), `hold the id "twice"`},
		{"a link", replace("linked", "/linked/"), "link.json is a link"},
		{"removing a link", remove("linked"), "link.json is a link"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			require.ErrorIs(t, tc.err, apidef.ErrConflict)
			require.ErrorContains(t, tc.err, tc.want)
		})
	}
	for name, content := range files {
		require.Equal(t, content, string(read(t, filepath.Join(path, name))))
	}
	require.FileExists(t, target)
	require.NoError(t, add("new", "/off/"), "an inactive API takes no route")
	require.NoError(t, replace("a", "/a/other/"), "its own listen path is no conflict")
	require.NoError(t, replace("faulty", "/faulty/"), "a faulty definition can be repaired")
}

func TestDirChangesTheFileThatCountsOfTwo(t *testing.T) {
	path := writeDir(t, map[string]string{
		"a.json":     `{"api_id": "a", "is_oas": true, "proxy": {"listen_path": "/a/", "target_url": "http://up"}}`,
		"a-oas.json": string(oas(t, `{}`)),
	})
	dir := apidef.NewDir(path)
	changed := extension(t, `{"upstream": {"url": "http://other"}}`)
	_, err := dir.Replace(apidef.Change{ID: "a", Data: changed, OAS: true})
	require.NoError(t, err)
	require.Equal(t, []string{"a-oas.json", "a.json"}, names(t, path))
	got, err := dir.Read("a", true)
	require.NoError(t, err)
	require.Equal(t, string(changed), string(got))
	_, err = dir.Remove("a", true)
	require.NoError(t, err)
	require.Empty(t, names(t, path), "the other would be broken alone")
}

func TestDirOfOASDefinitions(t *testing.T) {
	dir := apidef.NewDir(writeDir(t, map[string]string{
		"a.json": definition("a", "/a/", ""),
		"b.json": string(extension(t, `{"info": {"id": "b"}, "server": {"listenPath": {"value": "/b/"}}}`)),
		"c.json": string(extension(t, `{"info": {"id": "c"}, "server": {"listenPath": {"value": "nowhere"}}}`)),
	}))
	all, err := dir.ReadAll()
	require.NoError(t, err)
	require.Len(t, all, 2)
	_, err = dir.Read("a", true)
	require.ErrorContains(t, err, "is not in the OAS form")
	_, err = dir.Remove("a", true)
	require.ErrorContains(t, err, "is not in the OAS form")
	_, err = dir.Read("a", false)
	require.NoError(t, err)
}

// Of many who add the same API one succeeds, and readers see whole files only.
func TestDirRefusesOtherSpellingsOfAListenPath(t *testing.T) {
	path := writeDir(t, map[string]string{
		"a.json": definition("a", "/a/", ""),
		"h.json": definition("h", "/h/", `"domain": "api.example.com", `),
	})
	for spelling, more := range map[string]string{
		"/%61/": "", "/a": "", "/%61": "",
		"/h": `"domain": "API.example.com:8080", `, "/%68/": `"domain": "api.example.com.", `,
	} {
		// Its file would come first, so that the next reload would give it the path.
		_, err := apidef.NewDir(path).Add(apidef.Change{Data: []byte(definition("0", spelling, more))})
		require.ErrorIs(t, err, apidef.ErrConflict, spelling)
	}
}

func TestDirConcurrentChanges(t *testing.T) {
	path := t.TempDir()
	dir := apidef.NewDir(path)
	var group sync.WaitGroup
	results := make([]error, 16)
	for i := range results {
		group.Go(func() {
			_, results[i] = dir.Add(apidef.Change{Data: []byte(definition("same", "/same/", ""))})
			_, err := dir.Add(apidef.Change{Data: []byte(definition(fmt.Sprint("a", i), fmt.Sprint("/a", i), ""))})
			if err != nil {
				results[i] = errors.Join(results[i], fmt.Errorf("its own: %w", err))
			}
			loaded, err := apidef.LoadDir(path)
			if err != nil || slices.ContainsFunc(loaded, func(l apidef.Loaded) bool { return l.Err != nil }) {
				results[i] = errors.Join(results[i], errors.New("a reader saw a file that is not whole"))
			}
		})
	}
	group.Wait()
	added := 0
	for _, err := range results {
		if err == nil {
			added++
			continue
		}
		require.ErrorIs(t, err, apidef.ErrConflict)
		require.NotContains(t, err.Error(), "its own")
		require.NotContains(t, err.Error(), "whole")
	}
	require.Equal(t, 1, added)
	require.Len(t, names(t, path), len(results)+1, "no temporary file is left")
}

func TestDirThatIsNotThere(t *testing.T) {
	dir := apidef.NewDir(filepath.Join(t.TempDir(), "gone"))
	_, err := dir.Add(apidef.Change{Data: []byte(definition("a", "/a/", ""))})
	require.ErrorContains(t, err, "no such file or directory")
}
