package tests_test

import (
	"archive/zip"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
)

const compiledHooks = `
from tyk.decorators import *
import answer

@Hook
def Answer(request, session, spec):
    request.object.return_overrides.response_code = 200
    request.object.return_overrides.response_body = answer.value()
    return request, session
`

// TestContract5ReloadOfCompiledModules is section 5 of the plugin contract: a
// library that is mapped is found by its path, so changed code has to come from
// another one.
func TestContract5ReloadOfCompiledModules(t *testing.T) {
	upstream := echo(t)
	version := func(s *site, value string) {
		file, library := compiled(t, "answer", "def value(): return '"+value+"'\n")
		s.bundle("answer.zip", object{"pre": hooks("Answer")}, map[string]string{"middleware.py": compiledHooks, file: library})
	}
	t.Run("of a downloaded bundle", func(t *testing.T) {
		s := newSite(t)
		version(s, "one")
		s.api("answer", upstream, object{"custom_middleware_bundle": "answer.zip"})
		g := s.start()
		require.Equal(t, "one", g.get("/answer/").body)
		version(s, "two")
		g.reload()
		require.Equal(t, "two", g.get("/answer/").body)
	})
	t.Run("of a directory that was put there by hand", func(t *testing.T) {
		s := newSite(t)
		s.conf["enable_bundle_downloader"] = false
		dir := filepath.Join(s.dir, "middleware", "bundles", bundle.ID("answer.zip"))
		version(s, "one")
		unzipTo(t, filepath.Join(s.served, "answer.zip"), dir)
		s.api("answer", upstream, object{"custom_middleware_bundle": "answer.zip"})
		g := s.start()
		require.Equal(t, "one", g.get("/answer/").body)
		version(s, "two")
		unzipTo(t, filepath.Join(s.served, "answer.zip"), dir)
		g.reload()
		r := g.get("/answer/")
		require.Equal(t, http.StatusOK, r.status)
		require.Equal(t, "two", r.body)
	})
}

// unzipTo unpacks an archive over what is in dir.
func unzipTo(t *testing.T, archive, dir string) {
	t.Helper()
	files, err := zip.OpenReader(archive)
	require.NoError(t, err)
	defer files.Close()
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.MkdirAll(filepath.Dir(dir), 0o750))
	require.NoError(t, os.CopyFS(dir, files))
}
