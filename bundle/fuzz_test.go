package bundle_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
)

func FuzzManifest(f *testing.F) {
	f.Add([]byte(pythonManifest))
	f.Add([]byte(checksumManifest("x", "a.py", "b/c.py")))
	f.Fuzz(func(t *testing.T, data []byte) {
		manifest, err := bundle.ParseManifest("manifest.json", data)
		if err != nil {
			require.NotEmpty(t, err.Error())
			return
		}
		if entry := manifest.Entry(); entry != "" {
			require.True(t, fs.ValidPath(entry))
		}
		for _, name := range manifest.FileList {
			require.True(t, filepath.IsLocal(filepath.FromSlash(name)), name)
		}
	})
}

func FuzzUnzip(f *testing.F) {
	for _, path := range []string{
		built(f, "x = 1\n", nil),
		zipFile(f, entry{name: "manifest.json", content: checksumManifest("900150983cd24fb0d6963f7d28e17f72", "./a.py")},
			entry{name: "./a.py", content: "abc"}, entry{name: "../b", content: "x"}),
	} {
		data, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(data)
	}
	limits := bundle.Limits{Archive: 1 << 16, Manifest: 1 << 12, File: 1 << 14, Total: 1 << 15, Entries: 50}
	f.Fuzz(func(t *testing.T, data []byte) {
		outside := t.TempDir()
		archive, dir := filepath.Join(outside, "bundle.zip"), filepath.Join(outside, "in", "bundle")
		require.NoError(t, os.Mkdir(filepath.Dir(dir), 0o700))
		require.NoError(t, os.WriteFile(archive, data, 0o600))
		report, err := bundle.Unpack(t.Context(), archive, dir, bundle.VerifyOptions{Limits: limits})

		beside, readErr := os.ReadDir(outside)
		require.NoError(t, readErr)
		require.Len(t, beside, 2, "nothing leaves the directory")
		inside, readErr := os.ReadDir(filepath.Dir(dir))
		require.NoError(t, readErr)
		if err != nil {
			require.Empty(t, inside, "a refused bundle leaves nothing")
			return
		}
		require.Len(t, inside, 1)
		require.Empty(t, report.Uncovered, "only listed files are unpacked")
		var total int64
		for _, file := range report.Files {
			total += file.Size
		}
		require.LessOrEqual(t, total, limits.Total)
		_, err = bundle.Verify(t.Context(), dir, bundle.VerifyOptions{Limits: limits})
		require.NoError(t, err)
	})
}
