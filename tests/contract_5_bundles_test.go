package tests_test

import (
	"archive/zip"
	"bytes"
	"crypto"
	"crypto/md5"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestContract5Bundles is section 5 of the plugin contract.
func TestContract5Bundles(t *testing.T) {
	t.Parallel()
	t.Run("bundle build", testBundleBuild)
	t.Run("zip, checksum, signature, manifest_signature", testBundleForm)
	t.Run("keys in all forms", testBundleKeys)
	t.Run("public_key_path: what is unsigned, wrongly signed or tampered with is refused", testBundleVerification)
	t.Run("download from http, https, file", testBundleDownload)
	t.Run("retries; a server that hangs", testBundleServerTrouble)
	t.Run("unsafe zips are refused", testUnsafeBundles)
	t.Run("stored under the md5 of the name; a changed bundle is taken, a broken one is not", testBundleOfTheSameName)
	t.Run("several bundles, comma-separated", testSeveralBundles)
}

// unzip reads the files of a bundle.
func unzip(t *testing.T, path string) map[string][]byte {
	t.Helper()
	archive, err := zip.OpenReader(path)
	require.NoError(t, err)
	defer archive.Close()
	files := map[string][]byte{}
	for _, file := range archive.File {
		content, err := file.Open()
		require.NoError(t, err)
		files[file.Name], err = io.ReadAll(content)
		require.NoError(t, err)
		require.NoError(t, content.Close())
	}
	return files
}

// entry is one entry of a zip that krait would not build.
type entry struct {
	name, content string
	mode          fs.FileMode
}

func writeZip(t *testing.T, path string, entries ...entry) {
	t.Helper()
	var data bytes.Buffer
	archive := zip.NewWriter(&data)
	for _, e := range entries {
		header := &zip.FileHeader{Name: e.name, Method: zip.Deflate}
		header.SetMode(e.mode | 0o644)
		w, err := archive.CreateHeader(header)
		require.NoError(t, err)
		_, err = io.WriteString(w, e.content)
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
	require.NoError(t, os.WriteFile(path, data.Bytes(), 0o600))
}

// makeKeys makes a key pair in all forms in dir.
func makeKeys(t *testing.T, dir string) {
	t.Helper()
	run(t, dir, "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "pkcs8.pem")
	run(t, dir, "openssl", "rsa", "-in", "pkcs8.pem", "-traditional", "-out", "pkcs1.pem")
	run(t, dir, "openssl", "rsa", "-in", "pkcs8.pem", "-pubout", "-out", "public.pem")
	run(t, dir, "openssl", "rsa", "-in", "pkcs8.pem", "-RSAPublicKey_out", "-out", "rsa-public.pem")
}

func testBundleForm(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	makeKeys(t, dir)
	for name, content := range map[string]string{
		"manifest.json": `{"file_list": ["middleware.py", "a.py"], "custom_middleware": {"driver": "python", "pre": [{"name": "Pre"}]}}`,
		"middleware.py": "import a\n", "a.py": "A = 1\n", "unlisted.py": "B = 2\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	output, err := krait(t, dir, "bundle", "build", "-k", "pkcs8.pem")
	require.NoError(t, err, output)
	files := unzip(t, filepath.Join(dir, "bundle.zip"))
	require.Len(t, files, 3)
	var manifest struct {
		FileList          []string `json:"file_list"`
		Checksum          string
		Signature         string
		ManifestSignature string `json:"manifest_signature"`
	}
	require.NoError(t, json.Unmarshal(files["manifest.json"], &manifest))
	require.Equal(t, []string{"middleware.py", "a.py"}, manifest.FileList)

	content := []byte("import a\nA = 1\n")
	sum := md5.Sum(content)
	require.Equal(t, hex.EncodeToString(sum[:]), manifest.Checksum, "md5 of the files in the list's order")

	data, err := os.ReadFile(filepath.Join(dir, "public.pem"))
	require.NoError(t, err)
	block, _ := pem.Decode(data)
	require.NotNil(t, block)
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	require.NoError(t, err)
	key, ok := parsed.(*rsa.PublicKey)
	require.True(t, ok)
	signature, err := base64.StdEncoding.DecodeString(manifest.Signature)
	require.NoError(t, err)
	digest := sha256.Sum256(content)
	require.NoError(t, rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature), "RSA PKCS#1 v1.5 over SHA-256 of the same bytes")
	require.NotEmpty(t, manifest.ManifestSignature, "see bundle/interop_test.go for its form")
}

func testBundleKeys(t *testing.T) {
	t.Parallel()
	dir := pluginDirectory(t)
	makeKeys(t, dir)
	for _, private := range []string{"pkcs8.pem", "pkcs1.pem"} {
		output, err := krait(t, dir, "bundle", "build", "-k", private)
		require.NoError(t, err, output)
		for _, public := range []string{"public.pem", "rsa-public.pem"} {
			output, err := krait(t, dir, "bundle", "verify", "-k", public, "--require-manifest-signature", "bundle.zip")
			require.NoError(t, err, output)
		}
	}
}

func testBundleVerification(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := pluginDirectory(t)
	other := t.TempDir()
	makeKeys(t, dir)
	makeKeys(t, other)
	for name, arguments := range map[string][]string{
		"signed": {"-k", "pkcs8.pem"}, "unsigned": {"-y"}, "other-key": {"-k", filepath.Join(other, "pkcs8.pem")},
	} {
		output, err := krait(t, dir, append([]string{"bundle", "build", "-o", filepath.Join(s.served, name+".zip")}, arguments...)...)
		require.NoError(t, err, output)
	}
	signed := unzip(t, filepath.Join(s.served, "signed.zip"))
	manifest := string(signed["manifest.json"])
	writeZip(t, filepath.Join(s.served, "other-hook.zip"), entry{name: "middleware.py", content: string(signed["middleware.py"])},
		entry{name: "manifest.json", content: strings.Replace(manifest, "MyAuthMiddleware", "AnotherHook", 1)})
	writeZip(t, filepath.Join(s.served, "other-file.zip"), entry{name: "middleware.py", content: string(signed["middleware.py"]) + "\n"},
		entry{name: "manifest.json", content: manifest})
	var members object
	require.NoError(t, json.Unmarshal([]byte(manifest), &members))
	delete(members, "manifest_signature")
	bare, err := json.Marshal(members)
	require.NoError(t, err)
	writeZip(t, filepath.Join(s.served, "without.zip"), entry{name: "middleware.py", content: string(signed["middleware.py"])},
		entry{name: "manifest.json", content: string(bare)})

	s.conf["public_key_path"] = filepath.Join(dir, "public.pem")
	ids := []string{"signed", "unsigned", "other-key", "other-hook", "other-file", "without"}
	for _, id := range ids {
		s.api(id, echo(t), object{"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": id + ".zip"})
	}
	check := func(g *gateway, accepted ...string) {
		t.Helper()
		for _, id := range ids {
			want := http.StatusServiceUnavailable
			for _, one := range accepted {
				if one == id {
					want = http.StatusOK
				}
			}
			require.Equal(t, want, g.get("/"+id+"/", "Authorization", goodToken).status, id)
			if want != http.StatusOK {
				require.Contains(t, statusOf(t, g, id).Reason, id+".zip")
			}
		}
	}
	g := s.start()
	check(g, "signed", "without")
	require.NoError(t, g.stop())

	s.conf["require_manifest_signature"] = true
	g = s.start()
	check(g, "signed")
	require.NoError(t, g.stop())

	// Somebody changes the files on disk, and the server is away.
	delete(s.conf, "require_manifest_signature")
	s.conf["bundle_base_url"] = "http://127.0.0.1:1/"
	hash := md5.Sum([]byte("signed.zip"))
	code := filepath.Join(s.dir, "middleware", "bundles", hex.EncodeToString(hash[:]), "middleware.py")
	require.NoError(t, os.WriteFile(code, append(signed["middleware.py"], '\n'), 0o600))
	g = s.start()
	check(g, "without")
	require.NoError(t, g.stop())
}

func testBundleDownload(t *testing.T) {
	t.Parallel()
	code := map[string]string{"middleware.py": "from tyk.decorators import *\n@Hook\ndef Pre(request, session, spec):\n    request.add_header('X-Loaded', 'yes')\n    return request, session\n"}
	for scheme, c := range map[string]struct {
		insecure bool
		status   int
	}{"http": {false, 200}, "file": {false, 200}, "https": {true, 200}, "https, certificate unknown": {false, 503}} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.bundle("team/a.zip", object{"pre": hooks("Pre")}, code)
			s.api("a", echo(t), object{"custom_middleware_bundle": "team/a.zip"})
			switch {
			case scheme == "file":
				s.conf["bundle_base_url"] = "file://" + s.served + "/"
			case strings.HasPrefix(scheme, "https"):
				server := httptest.NewTLSServer(http.FileServer(http.Dir(s.served)))
				t.Cleanup(server.Close)
				server.Config.ErrorLog = nil
				s.conf["bundle_base_url"] = server.URL + "/"
				s.conf["bundle_insecure_skip_verify"] = c.insecure
			}
			g := s.start()
			require.Equal(t, c.status, g.get("/a/").status)
			if c.status == 200 {
				require.Equal(t, "yes", g.get("/a/").echoed(t).Header.Get("X-Loaded"))
			}
		})
	}
}

func testBundleServerTrouble(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.bundle("b.zip", object{"pre": hooks("AddMark")}, map[string]string{"middleware.py": `
from tyk.decorators import *

@Hook
def AddMark(request, session, spec):
    request.add_header('X-Mark', 'here')
    return request, session
`})
	s.api("b", echo(t), object{"custom_middleware_bundle": "b.zip"})
	files := http.FileServer(http.Dir(s.served))
	var asked atomic.Int64
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(failing.Close)
	s.conf["bundle_base_url"] = failing.URL + "/"
	first := s.start()
	require.Equal(t, "here", first.get("/b/").echoed(t).Header.Get("X-Mark"), "it tries again")
	require.NoError(t, first.stop())

	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hanging.Close)
	s.conf["bundle_base_url"] = hanging.URL + "/"
	second := s.start()
	require.Equal(t, "here", second.get("/b/").echoed(t).Header.Get("X-Mark"), "the version on disk serves meanwhile")
	require.Contains(t, statusOf(t, second, "b").Reason, "no complete answer within 5s")
	require.NoError(t, second.stop(), "the download that goes on does not hold up the stop")
}

func testUnsafeBundles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const code = "from tyk.decorators import *\n@Hook\ndef Pre(request, session, spec):\n    return request, session\n"
	sum := md5.Sum([]byte(code))
	good := []entry{
		{name: "manifest.json", content: `{"file_list": ["middleware.py"], "custom_middleware": {"driver": "python", "pre": [{"name": "Pre"}]}, "checksum": "` +
			hex.EncodeToString(sum[:]) + `"}`},
		{name: "middleware.py", content: code},
	}
	zips := map[string][]entry{
		"leaves-the-directory": {{name: "../outside.py", content: "x"}},
		"absolute":             {{name: "/tmp/outside.py", content: "x"}},
		"link":                 {{name: "link.py", content: "/etc/passwd", mode: fs.ModeSymlink}},
		"twice":                {{name: "middleware.py", content: code}},
		"bomb":                 {{name: "zeros.bin", content: strings.Repeat("\x00", 64<<20)}},
		"good":                 nil,
	}
	for id, more := range zips {
		writeZip(t, filepath.Join(s.served, id+".zip"), append(good[:2:2], more...)...)
		s.api(id, echo(t), object{"custom_middleware_bundle": id + ".zip"})
	}
	g := s.start()
	for id := range zips {
		if id == "good" {
			require.Equal(t, http.StatusOK, g.get("/good/").status)
			continue
		}
		requireRefused(t, g, id, id+".zip")
	}
	require.NoFileExists(t, filepath.Join(s.dir, "middleware", "bundles", "outside.py"))
	left, err := filepath.Glob(filepath.Join(s.dir, "middleware", "bundles", "*"))
	require.NoError(t, err)
	for _, path := range left {
		require.NotContains(t, path, "outside")
	}
}

const versionedHooks = `
import time
from tyk.decorators import *
from gateway import TykGateway as tyk

@Hook
def Pre(request, session, spec):
    if request.get_header('X-Slow'):
        tyk.log('slow begins')
        time.sleep(1)
    request.add_header('X-Version', 'VERSION')
    return request, session

@Hook
def Post(request, session, spec):
    request.add_header('X-Version', request.get_header('X-Version') + ' VERSION')
    return request, session
`

func testBundleOfTheSameName(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	build := func(version string) {
		s.bundle("b.zip", object{"pre": hooks("Pre"), "post": hooks("Post")},
			map[string]string{"middleware.py": strings.ReplaceAll(versionedHooks, "VERSION", version)})
	}
	build("1")
	s.api("b", echo(t), object{"custom_middleware_bundle": "b.zip"})
	served := func(g *gateway) string { return g.get("/b/").echoed(t).Header.Get("X-Version") }
	g := s.start()
	require.Equal(t, "1 1", served(g))
	hash := md5.Sum([]byte("b.zip"))
	require.FileExists(t, filepath.Join(s.dir, "middleware", "bundles", hex.EncodeToString(hash[:]), "middleware.py"))

	t.Run("a reload takes the changed bundle; a request in flight ends on the code it began with", func(t *testing.T) {
		began := make(chan reply, 1)
		go func() {
			r, err := g.try(http.MethodGet, "/b/", nil, "X-Slow", "yes")
			assert.NoError(t, err)
			began <- r
		}()
		g.awaitLog("slow begins")
		build("2")
		require.Equal(t, http.StatusOK, g.admin(http.MethodGet, "/tyk/reload?block=true", "").status)
		require.Equal(t, "2 2", served(g))
		require.Equal(t, "1 1", (<-began).echoed(t).Header.Get("X-Version"))
	})
	old := func(t *testing.T, g *gateway) {
		t.Helper()
		require.Equal(t, "2 2", served(g))
		require.Contains(t, statusOf(t, g, "b").Reason, "b.zip", "the status says so")
	}
	require.NoError(t, os.WriteFile(filepath.Join(s.served, "b.zip"), []byte("half a zip"), 0o600))
	t.Run("one that is broken leaves the old one in service", func(t *testing.T) {
		g.admin(http.MethodGet, "/tyk/reload?block=true", "") // what it answers is tested with reloads
		old(t, g)
	})
	require.NoError(t, g.stop())
	g = s.start()
	t.Run("at a start too", func(t *testing.T) { old(t, g) })
	t.Run("and one whose code does not load", func(t *testing.T) {
		build("2'\n  this is not Python '")
		g.admin(http.MethodGet, "/tyk/reload?block=true", "")
		old(t, g)
	})
	require.NoError(t, g.stop())
}

func testSeveralBundles(t *testing.T) {
	t.Parallel()
	p := newProbe(t)
	for _, driver := range via {
		for name, places := range map[string]object{
			"first":  {"pre": hooks("Pre"), "response": hooks("Response")},
			"second": {"pre": hooks("Pre2"), "auth_check": hook("Auth"), "post": hooks("Post"), "response": hooks("Response2")},
		} {
			places["driver"] = driver
			var files map[string]string
			if driver == "python" {
				files = map[string]string{"middleware.py": p.code}
			}
			p.bundle(driver+"-"+name+".zip", places, files)
		}
		p.site.api(driver+"-both", p.upstream, object{
			"custom_middleware_bundle": driver + "-first.zip, " + driver + "-second.zip", "use_keyless": false, "enable_coprocess_auth": true,
		})
	}
	p.start()
	p.row(t, "their hooks run in the order of the list", func(t *testing.T, c caller) {
		r := c.do("both", letIn("1", nil).and(telling("Post")))
		got := r.echoed(t)
		require.Equal(t, "Pre Pre2 Auth Post", got.Header.Get("X-Order"))
		require.Equal(t, "Response Response2", r.header.Get("X-Order"))
		hash := md5.Sum([]byte(c.driver + "-second.zip"))
		require.Equal(t, hex.EncodeToString(hash[:]), shown(t, got.Header, "Post").GetSpec()["bundle_hash"])
	})
}
