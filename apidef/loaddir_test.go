package apidef_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
)

func definition(id, path, extra string) string {
	return `{"api_id": "` + id + `", "org_id": "o", "name": "N", ` + extra + `"proxy": {"listen_path": "` + path + `", "target_url": "http://up"}}`
}

func writeDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	return dir
}

func TestLoadDirKeepsFilesApart(t *testing.T) {
	dir := writeDir(t, map[string]string{
		"a.json":       definition("a", "/a/", ""),
		"b.json":       `{"api_id": `,
		"c.json":       definition("c", "/c/", `"enable_jwt": true, "domain": "d", `),
		"d.json":       definition("", "nowhere", ""),
		"e.JSON":       definition("e", "/e/", `"typo": 1, `),
		"f.json.bak":   "x",
		".hidden.json": "x",
		"readme.txt":   "x",
	})
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub.json"), 0o700))
	require.NoError(t, os.Symlink(filepath.Join(dir, "gone"), filepath.Join(dir, "z.json")))

	loaded, err := apidef.LoadDir(dir)
	require.NoError(t, err)
	require.Len(t, loaded, 6)
	byName := map[string]apidef.Loaded{}
	for _, l := range loaded {
		byName[filepath.Base(l.File)] = l
		require.NotEqual(t, l.API == nil, l.Err == nil, "either API or Err is set")
	}
	require.Equal(t, "a", byName["a.json"].API.ID)
	require.ErrorContains(t, byName["b.json"].Err, filepath.Join(dir, "b.json")+":1:11: not valid JSON")
	require.Nil(t, byName["b.json"].Partial)
	require.ErrorContains(t, byName["c.json"].Err, "enable_jwt")
	partial := byName["c.json"].Partial
	require.NotNil(t, partial)
	require.Equal(t, "/c/", partial.Asked.Proxy.ListenPath)
	partial.Asked = nil
	require.Equal(t, &apidef.Partial{
		ID: "c", Name: "N", OrgID: "o", ListenPath: "/c/", Domain: "d", Active: true, Unsupported: true,
	}, partial)
	require.Empty(t, byName["d.json"].Partial.ID)
	require.Empty(t, byName["d.json"].Partial.ListenPath)
	require.False(t, byName["d.json"].Partial.Unsupported)
	require.Len(t, byName["e.JSON"].Warnings, 1)
	require.ErrorContains(t, byName["z.json"].Err, "cannot be read: no such file or directory")
}

func TestLoadDirRefusesTheLaterOfTwo(t *testing.T) {
	dir := writeDir(t, map[string]string{
		"1.json": definition("a", "/a/", ""),
		"2.json": definition("a", "/other/", ""),
		"3.json": definition("b", "/a", ""),
		"4.json": definition("c", "/a/", `"domain": "d", `),
		"5.json": definition("d", "/a/", `"active": false, `),
		"6.json": definition("e", "/a/", `"domain": "D", `),
	})
	loaded, err := apidef.LoadDir(dir)
	require.NoError(t, err)
	first := filepath.Join(dir, "1.json")
	require.NoError(t, loaded[0].Err)
	require.EqualError(t, loaded[1].Err, filepath.Join(dir, "2.json")+": api_id: is also the id of the API in "+first+"; give each API its own id")
	require.Equal(t, "/other/", loaded[1].Partial.ListenPath)
	require.ErrorContains(t, loaded[2].Err, "proxy.listen_path: is also the listen path of the API in "+first)
	require.Empty(t, loaded[2].Partial.ListenPath, "the path belongs to the first API")
	require.NoError(t, loaded[3].Err, "another domain is another route")
	require.NoError(t, loaded[4].Err, "an inactive API takes no route")
	require.ErrorContains(t, loaded[5].Err, "4.json")
}

func TestLoadDirOfADirectoryThatCannotBeRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "apps")
	_, err := apidef.LoadDir(dir)
	require.EqualError(t, err, "read API definitions: "+dir+": no such file or directory; set app_path of tyk.conf to the directory that holds them")
}

// Opening a pipe that nobody writes to waits forever.
func TestLoadDirOpensRegularFilesOnly(t *testing.T) {
	dir := writeDir(t, map[string]string{"a.json": definition("a", "/a/", ""), "huge.json": ""})
	require.NoError(t, os.Truncate(filepath.Join(dir, "huge.json"), 16<<20+1))
	pipe := filepath.Join(dir, "pipe.json")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	loaded, err := apidef.LoadDir(dir)
	require.NoError(t, err)
	require.Len(t, loaded, 3)
	require.NoError(t, loaded[0].Err)
	require.ErrorContains(t, loaded[1].Err, "is larger than 16 MiB")
	require.ErrorContains(t, loaded[2].Err, "is not a regular file")
	_, err = apidef.LoadDir(pipe)
	require.ErrorContains(t, err, "not a directory")
}
