package tests_test

import (
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

// testBundleBuild is what krait bundle promises.
func testBundleBuild(t *testing.T) {
	t.Parallel()
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
	t.Run("a driver and at least one hook are needed", func(t *testing.T) {
		dir := t.TempDir()
		for manifest, missing := range map[string]string{
			`{"file_list": [], "custom_middleware": {"pre": [{"name": "A"}]}}`: "driver",
			`{"file_list": [], "custom_middleware": {"driver": "grpc"}}`:       "hook",
		} {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o600))
			output, err := krait(t, dir, "bundle", "build", "-y")
			require.Error(t, err)
			require.Contains(t, output, missing)
		}
	})
	t.Run("a gRPC bundle may have no files", func(t *testing.T) {
		dir := t.TempDir()
		manifest := `{"file_list": [], "custom_middleware": {"driver": "grpc", "pre": [{"name": "A"}]}}`
		require.NoError(t, os.WriteFile(filepath.Join(dir, "manifest.json"), []byte(manifest), 0o600))
		output, err := krait(t, dir, "bundle", "build", "-y")
		require.NoError(t, err, output)
		require.FileExists(t, filepath.Join(dir, "bundle.zip"), "the default of -o")
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
