package bundle_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
)

// payloadScript recomputes what manifest_signature signs, from the package
// documentation alone. It reads an unpacked bundle.
const payloadScript = `
import hashlib, json, pathlib, sys
root = pathlib.Path(sys.argv[1])
def dump(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
manifest = json.loads((root / "manifest.json").read_text("utf-8"))
for member in ("signature", "manifest_signature"):
    manifest.pop(member, None)
out = "krait-bundle-v1\n" + dump(manifest) + "\n"
for name in manifest.get("file_list") or []:
    data = (root / name).read_bytes()
    out += "%s %d %s\n" % (hashlib.sha256(data).hexdigest(), len(data), dump(name))
sys.stdout.buffer.write(out.encode("utf-8"))
`

// opensslSign returns the base64 of a signature that openssl made.
func opensslSign(t *testing.T, key keyPair, content string) string {
	t.Helper()
	signature := run(t, "", content, "openssl", "dgst", "-sha256", "-sign", key.path("pkcs1.pem"))
	return base64.StdEncoding.EncodeToString([]byte(signature))
}

// opensslVerify fails the test unless openssl accepts the signature.
func opensslVerify(t *testing.T, key keyPair, content, signature string) {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(signature)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "signature")
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	out := run(t, "", content, "openssl", "dgst", "-sha256", "-verify", key.path("public.pem"), "-signature", path)
	require.Contains(t, out, "Verified OK")
}

func md5sum(t *testing.T, content string) string {
	t.Helper()
	return strings.Fields(run(t, "", content, "md5sum"))[0]
}

func TestBundleBuiltHereIsAcceptedByOtherTools(t *testing.T) {
	key := opensslKey(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"manifest.json": `{
			"file_list": ["middleware.py", "pkg/größe \"1\".txt", "empty.py"],
			"custom_middleware": {"driver": "python", "pre": [{"name": "H<&>"}], "id_extractor": {
				"extract_from": "header", "extract_with": "regex",
				"extractor_config": {"header_name": "X", "regex_expression": "a\t\u0001\\d", "regex_match_index": 3}}},
			"krait": {"timeout": "1.5s"},
			"x-vendor": {"b": [true, null, 1.5, -7], "a": "ü"}
		}`,
		"middleware.py":        "print('hello')\n",
		`pkg/größe "1".txt`:    "line\r\n\x00\xff",
		"empty.py":             "",
		"not-in-the-list.conf": "ignored",
	})
	output := filepath.Join(dir, "bundle.zip")
	report, err := bundle.Build(t.Context(), bundle.BuildConfig{
		Manifest: filepath.Join(dir, "manifest.json"), Output: output, Key: key.private,
	})
	require.NoError(t, err)

	var manifest struct {
		Checksum          string          `json:"checksum"`
		Signature         string          `json:"signature"`
		ManifestSignature string          `json:"manifest_signature"`
		Vendor            json.RawMessage `json:"x-vendor"`
	}
	require.NoError(t, json.Unmarshal([]byte(unzipped(t, output, "manifest.json")), &manifest))
	require.JSONEq(t, `{"b": [true, null, 1.5, -7], "a": "ü"}`, string(manifest.Vendor), "unknown members are kept")

	// unzip takes [ ] * ? for patterns, none of them is in these names.
	content := contentOf(t, output, "middleware.py", `pkg/größe "1".txt`, "empty.py")
	require.Equal(t, md5sum(t, content), manifest.Checksum)
	require.Equal(t, manifest.Checksum, report.Checksum)
	opensslVerify(t, key, content, manifest.Signature)

	unpacked := t.TempDir()
	run(t, "", "", "unzip", "-q", output, "-d", unpacked)
	payload := run(t, "", "", "python3", "-c", payloadScript, unpacked)
	opensslVerify(t, key, payload, manifest.ManifestSignature)

	// And what unzip unpacked, verifies here.
	_, err = bundle.Verify(t.Context(), unpacked, bundle.VerifyOptions{PublicKey: key.public, RequireManifestSignature: true})
	require.NoError(t, err)
}

// TestBundleBuiltByOtherToolsLoadsHere builds with md5sum, openssl and zip, by
// the reference's rules.
func TestBundleBuiltByOtherToolsLoadsHere(t *testing.T) {
	key := opensslKey(t)
	dir := t.TempDir()
	files := map[string]string{"middleware.py": "import helper\n", "helper.py": "X = 1\n"}
	write(t, dir, files)
	content := files["middleware.py"] + files["helper.py"]
	// The reference writes every member of its type, empty ones too.
	write(t, dir, map[string]string{"manifest.json": fmt.Sprintf(`{"file_list":["middleware.py","helper.py"],
		"custom_middleware":{"pre":null,"post":[],"post_key_auth":null,"auth_check":{"name":"Auth","path":"","require_session":false,
		"raw_body_only":false},"response":null,"driver":"python","id_extractor":{"extract_from":"","extract_with":"","extractor_config":null}},
		"checksum":%q,"signature":%q}`, md5sum(t, content), opensslSign(t, key, content))})
	run(t, dir, "", "zip", "-q", "bundle.zip", "middleware.py", "helper.py", "manifest.json")
	archive := filepath.Join(dir, "bundle.zip")

	report, err := bundle.Verify(t.Context(), archive, bundle.VerifyOptions{PublicKey: key.public})
	require.NoError(t, err)
	require.True(t, report.SignatureValid)
	require.False(t, report.ManifestSignatureValid)
	require.Equal(t, "middleware.py", report.Manifest.Entry())

	target := filepath.Join(t.TempDir(), "unpacked")
	_, err = bundle.Unpack(t.Context(), archive, target, bundle.VerifyOptions{PublicKey: key.public})
	require.NoError(t, err)
	helper, err := os.ReadFile(filepath.Join(target, "helper.py"))
	require.NoError(t, err)
	require.Equal(t, files["helper.py"], string(helper))

	_, err = bundle.Verify(t.Context(), archive, bundle.VerifyOptions{PublicKey: key.public, RequireManifestSignature: true})
	require.ErrorIs(t, err, bundle.ErrUnsigned)
	require.ErrorContains(t, err, "require_manifest_signature")
}

func TestBundleWithoutFilesSignedByOtherTools(t *testing.T) {
	key := opensslKey(t)
	manifest := fmt.Sprintf(`{"file_list": [], "checksum": %q, "custom_middleware": {"driver": "grpc", "pre": [{"name": "H"}]}}`,
		md5sum(t, ""))
	dir := t.TempDir()
	write(t, dir, map[string]string{"manifest.json": manifest})
	payload := run(t, "", "", "python3", "-c", payloadScript, dir)
	signed := func(manifestSignature string) string {
		text := strings.Replace(manifest, "{", fmt.Sprintf(`{"signature": %q,`, opensslSign(t, key, "")), 1)
		if manifestSignature != "" {
			text = strings.Replace(text, "{", fmt.Sprintf(`{"manifest_signature": %q,`, manifestSignature), 1)
		}
		return zipFile(t, entry{name: "manifest.json", content: text})
	}
	options := bundle.VerifyOptions{PublicKey: key.public}

	report, err := bundle.Verify(t.Context(), signed(opensslSign(t, key, payload)), options)
	require.NoError(t, err)
	require.True(t, report.ManifestSignatureValid)
	require.Empty(t, report.Manifest.Entry())

	_, err = bundle.Verify(t.Context(), signed(""), options)
	require.ErrorIs(t, err, bundle.ErrUnsigned, "a signature over nothing signs any manifest")
	_, err = bundle.Verify(t.Context(), signed(opensslSign(t, key, "")), options)
	require.ErrorIs(t, err, bundle.ErrBadSignature)
}

// TestCanonicalFormIsThatOfRFC8785 signs the canonical text by hand; numbers
// and order of members are the examples of RFC 8785 section 3.2.
func TestCanonicalFormIsThatOfRFC8785(t *testing.T) {
	key := opensslKey(t)
	manifest := `{
		"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001, -0, 1e21, 9007199254740991],
		"literals": [null, true, false],
		"string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
		"sorted": {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\ud83d\ude00": 5, "\u0080": 6, "\u00f6": 7},
		"controls": "\b\t\n\f\r\u0000\u007f<&>",
		"checksum": "` + md5sum(t, "") + `", "signature": "", "manifest_signature": "SIGNATURE",
		"custom_middleware": {"pre": [{"name": "H"}], "driver": "grpc"}}`
	canonical := `{"checksum":"` + md5sum(t, "") + `",` +
		`"controls":"\b\t\n\f\r\u0000` + "\x7f" + `<&>",` +
		`"custom_middleware":{"driver":"grpc","pre":[{"name":"H"}]},` +
		`"literals":[null,true,false],` +
		`"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27,0,1e+21,9007199254740991],` +
		`"sorted":{"\r":2,"1":4,"` + "\u0080" + `":6,"ö":7,"€":1,"😀":5,"` + "\ufb33" + `":3},` +
		`"string":"€$\u000f\nA'B\"\\\\\"/"}`
	signature := opensslSign(t, key, "krait-bundle-v1\n"+canonical+"\n")
	path := zipFile(t, entry{name: "manifest.json", content: strings.Replace(manifest, "SIGNATURE", signature, 1)})
	_, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{PublicKey: key.public})
	require.NoError(t, err)
}
