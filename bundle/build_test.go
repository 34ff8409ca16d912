package bundle_test

import (
	"archive/zip"
	"crypto/rsa"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/jsonfile"
)

func TestBuildIsReproducible(t *testing.T) {
	key := opensslKey(t)
	for name, signer := range map[string]*rsa.PrivateKey{"signed": key.private, "unsigned": nil} {
		t.Run(name, func(t *testing.T) {
			first, err := os.ReadFile(built(t, "x = 1\n", signer))
			require.NoError(t, err)
			second, err := os.ReadFile(built(t, "x = 1\n", signer))
			require.NoError(t, err)
			require.Equal(t, first, second)
		})
	}
}

func TestBuildPacksManifestFirstAndOnlyListedFiles(t *testing.T) {
	manifest := plugin(t, "x = 1\n")
	write(t, filepath.Dir(manifest), map[string]string{"secret.env": "x"})
	output := filepath.Join(t.TempDir(), "bundle.zip")
	report, err := bundle.Build(t.Context(), bundle.BuildConfig{Manifest: manifest, Output: output})
	require.NoError(t, err)
	require.Equal(t, output, report.Path)

	reader, err := zip.OpenReader(output)
	require.NoError(t, err)
	defer func() { require.NoError(t, reader.Close()) }()
	var names []string
	for _, file := range reader.File {
		names = append(names, file.Name)
	}
	require.Equal(t, []string{"manifest.json", "middleware.py", "pkg/data.txt"}, names)

	left, err := filepath.Glob(filepath.Join(filepath.Dir(output), ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "no temporary file is left")
}

func TestBuildReplacesOldSealsAndOutput(t *testing.T) {
	key := opensslKey(t)
	manifest := plugin(t, "x = 1\n")
	write(t, filepath.Dir(manifest), map[string]string{"manifest.json": strings.Replace(pythonManifest, "{",
		`{"checksum": "old", "signature": "old", "manifest_signature": "old",`, 1)})
	output := filepath.Join(filepath.Dir(manifest), "bundle.zip")
	write(t, filepath.Dir(manifest), map[string]string{"bundle.zip": "an old one"})

	_, err := bundle.Build(t.Context(), bundle.BuildConfig{Manifest: manifest, Output: output})
	require.NoError(t, err)
	report, err := bundle.Verify(t.Context(), output, bundle.VerifyOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Manifest.Signature)
	require.Empty(t, report.Manifest.ManifestSignature)

	_, err = bundle.Build(t.Context(), bundle.BuildConfig{Manifest: manifest, Output: output, Key: key.private})
	require.NoError(t, err)
	_, err = bundle.Verify(t.Context(), output, bundle.VerifyOptions{PublicKey: key.public, RequireManifestSignature: true})
	require.NoError(t, err)
}

func TestBuildAcceptsGRPCBundleWithoutFiles(t *testing.T) {
	key := opensslKey(t)
	dir := t.TempDir()
	write(t, dir, map[string]string{"manifest.json": `{"custom_middleware": {"driver": "grpc", "pre": [{"name": "H"}]}}`})
	output := filepath.Join(dir, "bundle.zip")
	report, err := bundle.Build(t.Context(), bundle.BuildConfig{
		Manifest: filepath.Join(dir, "manifest.json"), Output: output, Key: key.private,
	})
	require.NoError(t, err)
	require.Empty(t, report.Manifest.Entry())
	_, err = bundle.Verify(t.Context(), output, bundle.VerifyOptions{PublicKey: key.public})
	require.NoError(t, err)
}

func TestBuildFollowsLinksInsideTheDirectory(t *testing.T) {
	manifest := plugin(t, "x = 1\n")
	dir := filepath.Dir(manifest)
	require.NoError(t, os.Rename(filepath.Join(dir, "middleware.py"), filepath.Join(dir, "real.py")))
	require.NoError(t, os.Symlink("real.py", filepath.Join(dir, "middleware.py")))
	output := filepath.Join(t.TempDir(), "bundle.zip")
	_, err := bundle.Build(t.Context(), bundle.BuildConfig{Manifest: manifest, Output: output})
	require.NoError(t, err)
	require.Equal(t, "x = 1\n", unzipped(t, output, "middleware.py"))
}

func TestBuildRefusesFilesItCannotPack(t *testing.T) {
	cases := map[string]struct {
		prepare func(t *testing.T, dir string)
		output  string
		field   string
		problem string
	}{
		"missing file": {
			prepare: func(t *testing.T, dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "middleware.py"))) },
			field:   "file_list[0]", problem: "does not exist",
		},
		"directory": {
			prepare: func(t *testing.T, dir string) {
				require.NoError(t, os.Remove(filepath.Join(dir, "middleware.py")))
				require.NoError(t, os.Mkdir(filepath.Join(dir, "middleware.py"), 0o755))
			},
			field: "file_list[0]", problem: "is a directory",
		},
		"link that leaves the directory": {
			prepare: func(t *testing.T, dir string) {
				outside := filepath.Join(t.TempDir(), "outside.py")
				require.NoError(t, os.WriteFile(outside, nil, 0o600))
				require.NoError(t, os.Remove(filepath.Join(dir, "middleware.py")))
				require.NoError(t, os.Symlink(outside, filepath.Join(dir, "middleware.py")))
			},
			field: "file_list[0]", problem: "escapes",
		},
		"directory that is a link leaving it": {
			prepare: func(t *testing.T, dir string) {
				outside := t.TempDir()
				write(t, outside, map[string]string{"data.txt": "x"})
				require.NoError(t, os.RemoveAll(filepath.Join(dir, "pkg")))
				require.NoError(t, os.Symlink(outside, filepath.Join(dir, "pkg")))
			},
			field: "file_list[1]", problem: "escapes",
		},
		"pipe": {
			prepare: func(t *testing.T, dir string) {
				require.NoError(t, os.Remove(filepath.Join(dir, "middleware.py")))
				run(t, dir, "", "mkfifo", "middleware.py")
			},
			field: "file_list[0]", problem: "special file",
		},
		"the output itself": {
			output: "middleware.py", field: "file_list[0]", problem: "is the output itself",
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			manifest := plugin(t, "x = 1\n")
			dir := filepath.Dir(manifest)
			if test.prepare != nil {
				test.prepare(t, dir)
			}
			output := filepath.Join(t.TempDir(), "bundle.zip")
			if test.output != "" {
				output = filepath.Join(dir, test.output)
			}
			_, err := bundle.Build(t.Context(), bundle.BuildConfig{Manifest: manifest, Output: output})
			var faults *jsonfile.Error
			require.ErrorAs(t, err, &faults)
			require.Equal(t, test.field, faults.Faults[0].Field)
			require.Contains(t, faults.Faults[0].Problem, test.problem)
			if test.output == "" {
				require.NoFileExists(t, output)
			}
		})
	}
}

func TestBuildReportsUnusableManifestAndOutput(t *testing.T) {
	dir := t.TempDir()
	_, err := bundle.Build(t.Context(), bundle.BuildConfig{Manifest: filepath.Join(dir, "manifest.json"), Output: "x.zip"})
	require.ErrorIs(t, err, bundle.ErrNotFound)
	require.ErrorContains(t, err, "--manifest")
	_, err = bundle.Build(t.Context(), bundle.BuildConfig{Manifest: dir, Output: "x.zip"})
	require.ErrorIs(t, err, bundle.ErrBroken)
	_, err = bundle.Build(t.Context(), bundle.BuildConfig{Manifest: plugin(t, "x"), Output: dir})
	require.ErrorContains(t, err, "--output")
}

func TestBuildKeepsLimits(t *testing.T) {
	cases := map[string]bundle.Limits{
		"file":     {File: 3},
		"total":    {Total: 12},
		"manifest": {Manifest: 10},
	}
	for name, limits := range cases {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "bundle.zip")
			_, err := bundle.Build(t.Context(), bundle.BuildConfig{Manifest: plugin(t, "x = 1\n"), Output: output, Limits: limits})
			require.ErrorIs(t, err, bundle.ErrTooLarge)
			require.NoFileExists(t, output)
		})
	}
}

func TestBuildNamesTheOutputThatCannotBeWritten(t *testing.T) {
	output := filepath.Join(t.TempDir(), "missing", "bundle.zip")
	_, err := bundle.Build(t.Context(), bundle.BuildConfig{Manifest: plugin(t, "x = 1\n"), Output: output})
	require.ErrorContains(t, err, "--output "+output+": nothing can be written to the directory "+filepath.Dir(output)+
		": no such file or directory; create it, or choose another --output")
	require.NotContains(t, err.Error(), ".tmp")
}
