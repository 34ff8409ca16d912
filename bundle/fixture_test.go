package bundle_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rsa"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/krait-gateway/krait/bundle"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const pythonManifest = `{
  "file_list": ["middleware.py", "pkg/data.txt"],
  "custom_middleware": {
    "driver": "python",
    "auth_check": {"name": "MyAuthMiddleware"}
  }
}`

// run runs a program and returns its standard output; a program that is
// missing or fails, fails the test.
func run(t testing.TB, dir, stdin, name string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, args...)
	command.Dir = dir
	command.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	require.NoError(t, command.Run(), "%s %v: %s", name, args, stderr.String())
	return stdout.String()
}

// write writes files below dir, by slash-separated path.
func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
}

// plugin writes a small plugin and returns the path of its manifest.
func plugin(t testing.TB, code string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"manifest.json": pythonManifest,
		"middleware.py": code,
		"pkg/data.txt":  "some data\n",
	})
	return filepath.Join(dir, "manifest.json")
}

// built builds a bundle of a small plugin and returns the path of the zip.
func built(t testing.TB, code string, key *rsa.PrivateKey) string {
	t.Helper()
	output := filepath.Join(t.TempDir(), "bundle.zip")
	_, err := bundle.Build(context.Background(), bundle.BuildConfig{Manifest: plugin(t, code), Output: output, Key: key})
	require.NoError(t, err)
	return output
}

// keyPair is an RSA key that openssl made.
type keyPair struct {
	dir     string
	private *rsa.PrivateKey
	public  *rsa.PublicKey
}

func (k keyPair) path(name string) string { return filepath.Join(k.dir, name) }

// opensslKey returns a key pair in all the forms that openssl writes.
func opensslKey(t testing.TB) keyPair {
	t.Helper()
	key := keyPair{dir: t.TempDir()}
	for name, text := range generateKey(t) {
		require.NoError(t, os.WriteFile(key.path(name), []byte(text), 0o600))
	}
	var err error
	key.private, err = bundle.LoadPrivateKey(key.path("pkcs8.pem"))
	require.NoError(t, err)
	key.public, err = bundle.LoadPublicKey(key.path("public.pem"))
	require.NoError(t, err)
	return key
}

// otherKey is a key that signed nothing.
func otherKey(t testing.TB) *rsa.PublicKey {
	t.Helper()
	pem := run(t, "", run(t, "", "", "openssl", "genrsa", "2048"), "openssl", "rsa", "-pubout")
	key, err := bundle.ParsePublicKey("other.pem", []byte(pem))
	require.NoError(t, err)
	return key
}

var (
	keyOnce  sync.Once
	keyForms map[string]string
)

// generateKey makes one key for the whole run: it takes a while.
func generateKey(t testing.TB) map[string]string {
	t.Helper()
	keyOnce.Do(func() {
		pkcs8 := run(t, "", "", "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
		keyForms = map[string]string{
			"pkcs8.pem":      pkcs8,
			"pkcs1.pem":      run(t, "", pkcs8, "openssl", "rsa", "-traditional"),
			"public.pem":     run(t, "", pkcs8, "openssl", "rsa", "-pubout"),
			"rsa-public.pem": run(t, "", pkcs8, "openssl", "rsa", "-RSAPublicKey_out"),
			"encrypted8.pem": run(t, "", pkcs8, "openssl", "pkcs8", "-topk8", "-passout", "pass:secret"),
			"encrypted1.pem": run(t, "", pkcs8, "openssl", "rsa", "-traditional", "-aes128", "-passout", "pass:secret"),
			"ec-private.pem": run(t, "", "", "openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"),
			"cert.pem": run(t, "", pkcs8, "openssl", "req", "-x509", "-key", "/dev/stdin",
				"-subj", "/CN=test", "-days", "1"),
			"short.pem": run(t, "", "", "openssl", "genrsa", "1024"),
		}
		keyForms["ec-public.pem"] = run(t, "", keyForms["ec-private.pem"], "openssl", "pkey", "-pubout")
		keyForms["short-public.pem"] = run(t, "", keyForms["short.pem"], "openssl", "rsa", "-pubout")
	})
	require.Contains(t, keyForms, "short-public.pem", "openssl could not make the keys")
	return keyForms
}

// entry is one entry of a handmade zip.
type entry struct {
	name    string
	content string
	change  func(*zip.FileHeader)
	raw     []byte // written as it is, not compressed
}

// zipFile writes a handmade zip and returns its path.
func zipFile(t testing.TB, entries ...entry) string {
	t.Helper()
	var out bytes.Buffer
	writer := zip.NewWriter(&out)
	for _, entry := range entries {
		header := &zip.FileHeader{Name: entry.name, Method: zip.Deflate}
		if entry.raw != nil {
			header.UncompressedSize64 = uint64(len(entry.raw))
			header.CompressedSize64 = uint64(len(entry.raw))
		}
		if entry.change != nil {
			entry.change(header)
		}
		create := writer.CreateHeader
		content := []byte(entry.content)
		if entry.raw != nil {
			create, content = writer.CreateRaw, entry.raw
		}
		w, err := create(header)
		require.NoError(t, err)
		if len(content) > 0 {
			_, err = w.Write(content)
			require.NoError(t, err)
		}
	}
	require.NoError(t, writer.Close())
	path := filepath.Join(t.TempDir(), "handmade.zip")
	require.NoError(t, os.WriteFile(path, out.Bytes(), 0o600))
	return path
}

// unzipped returns the manifest.json of a zip as text.
func unzipped(t testing.TB, path, name string) string {
	t.Helper()
	return run(t, "", "", "unzip", "-p", path, name)
}

// contentOf concatenates the files of a zip with unzip, in the order given.
func contentOf(t testing.TB, path string, names ...string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range names {
		all.WriteString(unzipped(t, path, name))
	}
	return all.String()
}

// checksumManifest returns a python manifest for files with this checksum.
func checksumManifest(checksum string, files ...string) string {
	list := `"` + strings.Join(files, `", "`) + `"`
	return fmt.Sprintf(`{"file_list": [%s], "checksum": %q, "custom_middleware": {"driver": "python", "pre": [{"name": "H"}]}}`,
		list, checksum)
}
