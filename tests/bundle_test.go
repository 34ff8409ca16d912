package tests_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// pluginDirectory holds the tutorial's files.
func pluginDirectory(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(tutorialManifest), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "middleware.py"), []byte(tutorialMiddleware), 0o600))
	return dir
}

func TestBundleCommands(t *testing.T) {
	t.Run("build, inspect, verify", func(t *testing.T) {
		dir := pluginDirectory(t)
		output, err := krait(t, dir, "bundle", "build", "-y", "-m", "manifest.json", "-o", "out.zip")
		require.NoError(t, err, output)
		output, err = krait(t, dir, "bundle", "inspect", "out.zip")
		require.NoError(t, err, output)
		require.Contains(t, output, "MyAuthMiddleware")
		require.Contains(t, output, "middleware.py")
		output, err = krait(t, dir, "bundle", "verify", "out.zip")
		require.NoError(t, err, output)
	})
	t.Run("without -y and without an answer nothing is built", func(t *testing.T) {
		dir := pluginDirectory(t)
		output, err := krait(t, dir, "bundle", "build")
		require.Error(t, err)
		require.Contains(t, output, "-y")
		require.NoFileExists(t, filepath.Join(dir, "bundle.zip"))
	})
	t.Run("signed with a key of openssl, verified, and refused when changed", func(t *testing.T) {
		dir := pluginDirectory(t)
		run(t, dir, "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem")
		run(t, dir, "openssl", "rsa", "-in", "key.pem", "-pubout", "-out", "public.pem")
		output, err := krait(t, dir, "bundle", "build", "-k", "key.pem")
		require.NoError(t, err, output)
		output, err = krait(t, dir, "bundle", "verify", "-k", "public.pem", "--require-manifest-signature", "bundle.zip")
		require.NoError(t, err, output)
		output, err = krait(t, dir, "bundle", "build", "-y", "-o", "unsigned.zip")
		require.NoError(t, err, output)
		output, err = krait(t, dir, "bundle", "verify", "-k", "public.pem", "unsigned.zip")
		require.Error(t, err)
		require.Contains(t, output, "unsigned.zip")
	})
	t.Run("what cannot be used is named by its flag", func(t *testing.T) {
		dir := pluginDirectory(t)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "text"), []byte("no key"), 0o600))
		for _, c := range []struct {
			arguments []string
			want      []string
		}{
			{[]string{"build", "-k", "text"}, []string{"--key: key is not usable", "-----BEGIN PRIVATE KEY-----"}},
			{[]string{"verify", "-k", "text", "text"}, []string{"--public-key: key is not usable", "-----BEGIN PUBLIC KEY-----"}},
			{[]string{"build", "-y", "-o", "missing/out.zip"}, []string{"--output ", "create it, or choose another --output"}},
			{[]string{"verify", "text"}, []string{"is not a readable zip", "krait bundle build"}},
			{[]string{"inspect", "missing.zip"}, []string{"missing.zip", "name the zip or the unpacked directory of a bundle"}},
		} {
			output, err := krait(t, dir, append([]string{"bundle"}, c.arguments...)...)
			require.Error(t, err)
			for _, want := range c.want {
				require.Contains(t, output, want)
			}
		}
	})
	t.Run("faults of a manifest come together", func(t *testing.T) {
		dir := pluginDirectory(t)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(`{"file_list": ["absent.py"], "custom_middleware": {"driver": "cobol"}}`), 0o600))
		output, err := krait(t, dir, "bundle", "build", "-y")
		require.Error(t, err)
		require.Contains(t, output, "driver")
		require.Contains(t, output, "manifest.json")
	})
}

// TestSignedBundlesOnly is a gateway with a public key.
func TestSignedBundlesOnly(t *testing.T) {
	s := newSite(t)
	dir := pluginDirectory(t)
	run(t, dir, "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem")
	run(t, dir, "openssl", "rsa", "-in", "key.pem", "-pubout", "-out", "public.pem")
	for name, arguments := range map[string][]string{
		"signed.zip": {"-k", "key.pem"}, "unsigned.zip": {"-y"},
	} {
		output, err := krait(t, dir, append([]string{"bundle", "build", "-o", filepath.Join(s.served, name)}, arguments...)...)
		require.NoError(t, err, output)
	}
	s.conf["public_key_path"] = filepath.Join(dir, "public.pem")
	protected := func(id string) {
		s.api(id, echo(t), object{
			"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": id + ".zip",
		})
	}
	protected("signed")
	protected("unsigned")
	g := s.start()
	g.get("/signed/", "Authorization", goodToken).echoed(t)
	require.Equal(t, 503, g.get("/unsigned/", "Authorization", goodToken).status)
	g.awaitLog("unsigned.zip")
}

// TestBundleServerThatHangs is a start while the bundle server accepts
// connections and answers nothing.
func TestBundleServerThatHangs(t *testing.T) {
	s := newSite(t)
	s.bundle("b.zip", object{"pre": hooks("AddMark")}, map[string]string{"middleware.py": `
from tyk.decorators import *

@Hook
def AddMark(request, session, spec):
    request.add_header('X-Mark', 'here')
    return request, session
`})
	s.api("b", echo(t), object{"custom_middleware_bundle": "b.zip"})
	first := s.start()
	require.Equal(t, "here", first.get("/b/").echoed(t).Header.Get("X-Mark"))
	require.NoError(t, first.stop())

	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hanging.Close)
	s.conf["bundle_base_url"] = hanging.URL + "/"
	second := s.start()
	require.Equal(t, "here", second.get("/b/").echoed(t).Header.Get("X-Mark"))
	status := second.get("/tyk/apis", "X-Tyk-Authorization", "test-secret").body
	require.Contains(t, status, "no complete answer within 5s")
	require.NoError(t, second.stop(), "the download that goes on does not hold up the stop")
}
