package bundle_test

import (
	"archive/zip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
)

// unpackedBundle returns the directory of an unpacked, signed bundle.
func unpackedBundle(t *testing.T, key keyPair) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "unpacked")
	_, err := bundle.Unpack(t.Context(), built(t, "x = 1\n", key.private), dir, bundle.VerifyOptions{})
	require.NoError(t, err)
	return dir
}

// edit replaces text in a file.
func edit(t *testing.T, path, old, replacement string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(data), old)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(data), old, replacement, 1)), 0o600))
}

func TestTamperedBundlesAreRefused(t *testing.T) {
	key := opensslKey(t)
	withKey := bundle.VerifyOptions{PublicKey: key.public}
	cases := map[string]struct {
		tamper  func(t *testing.T, dir string)
		options bundle.VerifyOptions
		want    error
	}{
		"untouched":              {options: withKey},
		"untouched, without key": {},
		"another key":            {options: bundle.VerifyOptions{PublicKey: otherKey(t)}, want: bundle.ErrBadSignature},
		"changed file, without key": {
			tamper: func(t *testing.T, dir string) { edit(t, filepath.Join(dir, "middleware.py"), "1", "2") },
			want:   bundle.ErrBadChecksum,
		},
		"changed file and checksum, without key": {
			tamper: func(t *testing.T, dir string) {
				edit(t, filepath.Join(dir, "middleware.py"), "1", "2")
				edit(t, filepath.Join(dir, "manifest.json"), md5sum(t, "x = 1\nsome data\n"), md5sum(t, "x = 2\nsome data\n"))
			},
		},
		"changed file and checksum": {
			tamper: func(t *testing.T, dir string) {
				edit(t, filepath.Join(dir, "middleware.py"), "1", "2")
				edit(t, filepath.Join(dir, "manifest.json"), md5sum(t, "x = 1\nsome data\n"), md5sum(t, "x = 2\nsome data\n"))
			},
			options: withKey, want: bundle.ErrBadSignature,
		},
		"bytes moved from one file to the next": {
			tamper: func(t *testing.T, dir string) {
				edit(t, filepath.Join(dir, "middleware.py"), "1\n", "1")
				edit(t, filepath.Join(dir, "pkg/data.txt"), "some", "\nsome")
			},
			options: withKey, want: bundle.ErrBadSignature,
		},
		"changed hook name": {
			tamper: func(t *testing.T, dir string) {
				edit(t, filepath.Join(dir, "manifest.json"), "MyAuthMiddleware", "Other")
			},
			options: withKey, want: bundle.ErrBadSignature,
		},
		"added setting": {
			tamper: func(t *testing.T, dir string) {
				edit(t, filepath.Join(dir, "manifest.json"), "{", `{"krait": {"timeout": "1h"},`)
			},
			options: withKey, want: bundle.ErrBadSignature,
		},
		"no checksum": {
			tamper: func(t *testing.T, dir string) {
				edit(t, filepath.Join(dir, "manifest.json"), `"checksum"`, `"other"`)
			},
			want: bundle.ErrBadChecksum,
		},
		"no signature": {
			tamper: func(t *testing.T, dir string) {
				edit(t, filepath.Join(dir, "manifest.json"), `"signature"`, `"other"`)
			},
			options: withKey, want: bundle.ErrUnsigned,
		},
		"signature that is not base64": {
			tamper: func(t *testing.T, dir string) {
				edit(t, filepath.Join(dir, "manifest.json"), `"signature": "`, `"signature": "!`)
			},
			options: withKey, want: bundle.ErrBadSignature,
		},
		"file that is not listed": {
			tamper:  func(t *testing.T, dir string) { write(t, dir, map[string]string{"json.py": "evil"}) },
			options: withKey, want: bundle.ErrUncovered,
		},
		"file that is not listed, without key": {
			tamper: func(t *testing.T, dir string) { write(t, dir, map[string]string{"notes.txt": ""}) },
		},
		"link that is not listed": {
			tamper:  func(t *testing.T, dir string) { require.NoError(t, os.Symlink("/etc", filepath.Join(dir, "vendor"))) },
			options: withKey, want: bundle.ErrUncovered,
		},
		"bytecode": {
			tamper:  func(t *testing.T, dir string) { write(t, dir, map[string]string{"__pycache__/m.pyc": "evil"}) },
			options: withKey, want: bundle.ErrUncovered,
		},
		"missing file": {
			tamper: func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "middleware.py"))) },
			want:   bundle.ErrBroken,
		},
		"file that is a link to outside": {
			tamper: func(t *testing.T, dir string) {
				outside := filepath.Join(t.TempDir(), "same.py")
				require.NoError(t, os.Rename(filepath.Join(dir, "middleware.py"), outside))
				require.NoError(t, os.Symlink(outside, filepath.Join(dir, "middleware.py")))
			},
			want: bundle.ErrBroken,
		},
		"no manifest": {
			tamper: func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "manifest.json"))) },
			want:   bundle.ErrBroken,
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			dir := unpackedBundle(t, key)
			if test.tamper != nil {
				test.tamper(t, dir)
			}
			report, err := bundle.Verify(t.Context(), dir, test.options)
			if test.want == nil {
				require.NoError(t, err)
				require.Equal(t, bundle.KindDirectory, report.Kind)
				return
			}
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, dir, "the bundle is named")
		})
	}
}

func TestRequiredManifestSignatureNeedsAKey(t *testing.T) {
	_, err := bundle.Verify(t.Context(), "x.zip", bundle.VerifyOptions{RequireManifestSignature: true})
	require.ErrorContains(t, err, "public_key_path")
}

func TestUnsignedBundleIsRefusedWithAKey(t *testing.T) {
	key := opensslKey(t)
	_, err := bundle.Verify(t.Context(), built(t, "x = 1\n", nil), bundle.VerifyOptions{PublicKey: key.public})
	require.ErrorIs(t, err, bundle.ErrUnsigned)
	require.ErrorContains(t, err, "krait bundle build --key")
}

func TestMissingBundleIsNotFound(t *testing.T) {
	_, err := bundle.Inspect(t.Context(), filepath.Join(t.TempDir(), "x.zip"), bundle.Limits{})
	require.ErrorIs(t, err, bundle.ErrNotFound)
}

func TestInspectShowsAlsoWhatVerifyRefuses(t *testing.T) {
	path := zipFile(t,
		entry{name: "manifest.json", content: checksumManifest("wrong", "middleware.py")},
		entry{name: "middleware.py", content: "abc"},
		entry{name: "extra.txt", content: "x"})
	report, err := bundle.Inspect(t.Context(), path, bundle.Limits{})
	require.NoError(t, err)
	require.Equal(t, md5sum(t, "abc"), report.Checksum)
	require.Equal(t, []string{"extra.txt"}, report.Uncovered)
	require.Equal(t, []bundle.FileInfo{{
		Name: "middleware.py", Size: 3,
		SHA256: strings.Fields(run(t, "", "abc", "sha256sum"))[0],
	}}, report.Files)

	var text strings.Builder
	require.NoError(t, report.WriteText(&text))
	for _, part := range []string{"python", "pre H", "WRONG", "absent", "extra.txt", "middleware.py (3 bytes"} {
		require.Contains(t, text.String(), part)
	}
}

func TestVerifiedReportNamesValidSignatures(t *testing.T) {
	key := opensslKey(t)
	report, err := bundle.Verify(t.Context(), built(t, "x = 1\n", key.private), bundle.VerifyOptions{PublicKey: key.public})
	require.NoError(t, err)
	var text strings.Builder
	require.NoError(t, report.WriteText(&text))
	require.Equal(t, 2, strings.Count(text.String(), "valid\n"))
}

func TestUnsafeZipsAreRefused(t *testing.T) {
	manifest := entry{name: "manifest.json", content: checksumManifest("x", "a.py")}
	mode := func(mode os.FileMode) func(*zip.FileHeader) {
		return func(header *zip.FileHeader) { header.SetMode(mode) }
	}
	cases := map[string]struct {
		entries []entry
		limits  bundle.Limits
		want    error
		says    string
	}{
		"parent directory":      {entries: []entry{{name: "../a.py"}}, want: bundle.ErrUnsafe, says: `".."`},
		"absolute path":         {entries: []entry{{name: "/a.py"}}, want: bundle.ErrUnsafe, says: "absolute"},
		"drive letter":          {entries: []entry{{name: "C:/a.py"}}, want: bundle.ErrUnsafe, says: "drive"},
		"backslashes":           {entries: []entry{{name: `..\a.py`}}, want: bundle.ErrUnsafe, says: "backslash"},
		"control characters":    {entries: []entry{{name: "a\x00b"}}, want: bundle.ErrUnsafe, says: "control"},
		"not UTF-8":             {entries: []entry{{name: "a\xff"}}, want: bundle.ErrUnsafe, says: "UTF-8"},
		"empty name":            {entries: []entry{{name: ""}}, want: bundle.ErrUnsafe, says: "empty"},
		"directory that leaves": {entries: []entry{{name: "../"}}, want: bundle.ErrUnsafe, says: `".."`},
		"link":                  {entries: []entry{{name: "a.py", content: "/etc/passwd", change: mode(os.ModeSymlink | 0o777)}}, want: bundle.ErrUnsafe, says: "link"},
		"device":                {entries: []entry{{name: "a.py", change: mode(os.ModeDevice | 0o600)}}, want: bundle.ErrUnsafe, says: "special file"},
		"pipe":                  {entries: []entry{{name: "a.py", change: mode(os.ModeNamedPipe | 0o600)}}, want: bundle.ErrUnsafe, says: "special file"},
		"twice":                 {entries: []entry{{name: "a.py"}, {name: "a.py"}}, want: bundle.ErrUnsafe, says: "twice"},
		"twice with dot":        {entries: []entry{{name: "a.py"}, {name: "./a.py"}}, want: bundle.ErrUnsafe, says: "twice"},
		"case":                  {entries: []entry{{name: "a.py"}, {name: "A.py"}}, want: bundle.ErrUnsafe, says: "upper and lower case"},
		"second manifest":       {entries: []entry{{name: "MANIFEST.json"}}, want: bundle.ErrUnsafe, says: "upper and lower case"},
		"file and directory":    {entries: []entry{{name: "a.py"}, {name: "a.py/b"}}, want: bundle.ErrUnsafe, says: "which is a file"},
		"encrypted":             {entries: []entry{{name: "a.py", raw: []byte("x"), change: func(h *zip.FileHeader) { h.Flags |= 1 }}}, want: bundle.ErrUnsafe, says: "encrypted"},
		"unknown compression":   {entries: []entry{{name: "a.py", raw: []byte("x"), change: func(h *zip.FileHeader) { h.Method = 99 }}}, want: bundle.ErrUnsafe, says: "method 99"},
		"ratio": {
			entries: []entry{{name: "a.py", content: strings.Repeat("0", 100_000)}},
			limits:  bundle.Limits{RatioFrom: 10_000, Ratio: 100}, want: bundle.ErrUnsafe, says: "times its size",
		},
		"large file":     {entries: []entry{{name: "a.py", content: "12345"}}, limits: bundle.Limits{File: 4}, want: bundle.ErrTooLarge},
		"large together": {entries: []entry{{name: "a.py", content: strings.Repeat("1", 300)}}, limits: bundle.Limits{Total: 200}, want: bundle.ErrTooLarge},
		"many entries":   {entries: []entry{{name: "a.py"}, {name: "b.py"}}, limits: bundle.Limits{Entries: 2}, want: bundle.ErrTooLarge},
		"large manifest": {limits: bundle.Limits{Manifest: 10}, want: bundle.ErrTooLarge},
		"large archive":  {limits: bundle.Limits{Archive: 20}, want: bundle.ErrTooLarge},
		"missing file":   {want: bundle.ErrBroken, says: "a.py"},
		"size that lies": {
			entries: []entry{{name: "a.py", raw: []byte("12345"), change: func(h *zip.FileHeader) { h.Method, h.UncompressedSize64 = zip.Store, 2 }}},
			want:    bundle.ErrBroken, says: "a.py",
		},
		"wrong CRC": {
			entries: []entry{{name: "a.py", raw: []byte("12345"), change: func(h *zip.FileHeader) { h.Method, h.CRC32 = zip.Store, 7 }}},
			want:    bundle.ErrBroken, says: "a.py",
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			path := zipFile(t, append([]entry{manifest}, test.entries...)...)
			outside := t.TempDir()
			dir := filepath.Join(outside, "unpacked")
			_, err := bundle.Unpack(t.Context(), path, dir, bundle.VerifyOptions{Limits: test.limits})
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, test.says)
			left, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Empty(t, left, "nothing is left behind")

			_, err = bundle.Verify(t.Context(), path, bundle.VerifyOptions{Limits: test.limits})
			require.ErrorIs(t, err, test.want, "verify refuses what unpack refuses")
		})
	}
}

func TestBrokenZipsAreRefused(t *testing.T) {
	whole, err := os.ReadFile(built(t, "x = 1\n", nil))
	require.NoError(t, err)
	const kind = `is not a readable zip: it is another kind of file, or was cut off; build it with "krait bundle build" and copy all of it`
	cases := map[string]struct{ content, says string }{
		"empty":             {"", kind},
		"a web page":        {"<html></html>", kind},
		"cut in the middle": {string(whole[:len(whole)/2]), kind},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bundle.zip")
			require.NoError(t, os.WriteFile(path, []byte(test.content), 0o600))
			_, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{})
			require.ErrorIs(t, err, bundle.ErrBroken)
			require.ErrorContains(t, err, test.says)
		})
	}
}

func TestManifestOfAZippedDirectoryIsFoundForTheMessage(t *testing.T) {
	path := zipFile(t, entry{name: "plugin/"}, entry{name: "plugin/manifest.json", content: "{}"})
	_, err := bundle.Verify(t.Context(), path, bundle.VerifyOptions{})
	require.ErrorIs(t, err, bundle.ErrBroken)
	require.ErrorContains(t, err, "plugin/manifest.json")
}

func TestUnpackLeavesOutWhatIsNotListed(t *testing.T) {
	key := opensslKey(t)
	path := zipFile(t,
		entry{name: "manifest.json", content: checksumManifest(md5sum(t, "abc"), "./pkg/a.py")},
		entry{name: "pkg/"},
		entry{name: "./pkg/a.py", content: "abc"},
		entry{name: "json.py", content: "x"})
	dir := filepath.Join(t.TempDir(), "unpacked")
	report, err := bundle.Unpack(t.Context(), path, dir, bundle.VerifyOptions{})
	require.NoError(t, err)
	require.Equal(t, "pkg/a.py", report.Manifest.Entry())
	require.FileExists(t, filepath.Join(dir, "pkg", "a.py"))
	require.NoFileExists(t, filepath.Join(dir, "json.py"))

	_, err = bundle.Unpack(t.Context(), path, dir+"2", bundle.VerifyOptions{PublicKey: key.public})
	require.ErrorIs(t, err, bundle.ErrUncovered)
	require.NoDirExists(t, dir+"2")

	_, err = bundle.Unpack(t.Context(), path, dir, bundle.VerifyOptions{})
	require.ErrorContains(t, err, "exists already")
}
