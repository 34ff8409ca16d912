package tests_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestContract4Modules is section 4 of the plugin contract: files and imports.
func TestContract4Modules(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	upstream := echo(t)
	use := func(id string, changes object) {
		members := object{"custom_middleware_bundle": id + ".zip"}
		for key, value := range changes {
			members[key] = value
		}
		s.api(id, upstream, members)
	}
	s.bundleOf("testdata/public/vendored", "vendored.zip")
	use("vendored", nil)
	for _, id := range []string{"one", "two"} {
		s.bundle(id+".zip", object{"pre": hooks("MyHook")}, map[string]string{
			"middleware.py": `
from tyk.decorators import *
import utils

@Hook
def MyHook(request, session, spec):
    from lazy import WORD
    request.add_header('X-Bundle', utils.NAME + ' ' + WORD)
    return request, session
`,
			"utils.py": "NAME = '" + id + "'\n",
			"lazy.py":  "WORD = 'lazy " + id + "'\n",
		})
		use(id, nil)
	}
	entry := func(name string) string {
		return "from tyk.decorators import *\n@Hook\ndef Entry(request, session, spec):\n    request.add_header('X-Entry', '" + name + "')\n    return request, session\n"
	}
	s.bundle("both.zip", object{"pre": hooks("Entry")}, map[string]string{"a.py": entry("a.py"), "middleware.py": entry("middleware.py")})
	use("both", nil)
	s.writeJSON("first/manifest.json", object{
		"file_list": []string{"z-first.py", "a.py"}, "custom_middleware": object{"driver": "python", "pre": hooks("Entry")},
	})
	s.write("first/z-first.py", entry("z-first.py"))
	s.write("first/a.py", entry("a.py"))
	s.bundleOf(filepath.Join(s.dir, "first"), "first.zip")
	use("first", nil)
	s.bundleOf(extension(t), "extension.zip")
	use("extension", nil)
	g := s.start()

	t.Run("sibling modules, also inside functions; vendor/; data files; __file__", func(t *testing.T) {
		got := g.get("/vendored/", "X-Name", "you").echoed(t)
		require.Equal(t, []string{"hello you!", "middleware.py"}, []string{got.Header.Get("X-Greeting"), got.Header.Get("X-File")})
		require.Equal(t, "hello world!", g.get("/vendored/").echoed(t).Header.Get("X-Greeting"))
	})
	t.Run("two bundles with the same modules and hooks do not see each other", func(t *testing.T) {
		for range 3 {
			for _, id := range []string{"one", "two"} {
				require.Equal(t, id+" lazy "+id, g.get("/"+id+"/").echoed(t).Header.Get("X-Bundle"))
			}
		}
	})
	t.Run("entry module: middleware.py", func(t *testing.T) {
		require.Equal(t, "middleware.py", g.get("/both/").echoed(t).Header.Get("X-Entry"))
	})
	t.Run("entry module: else the first of file_list, whose name need not be an identifier", func(t *testing.T) {
		require.Equal(t, "z-first.py", g.get("/first/").echoed(t).Header.Get("X-Entry"))
	})
	t.Run("a vendored C extension", func(t *testing.T) {
		require.Equal(t, strconv.Itoa('a'+'b'+'c'), g.send(http.MethodPost, "/extension/", strings.NewReader("abc")).echoed(t).Header.Get("X-Sum"))
	})
}

// extension is the directory of a plugin whose C extension was compiled.
func extension(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/public/extension")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "vendor"), 0o750))
	include := run(t, dir, filepath.Join(venv(t), "bin", "python3"), "-c", "import sysconfig; print(sysconfig.get_path('include'))")
	run(t, dir, "cc", "-shared", "-fPIC", "-I"+include, "-o", "vendor/fastsum.so", "fastsum.c")
	return dir
}
