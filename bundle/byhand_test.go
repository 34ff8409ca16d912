package bundle_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
)

// replaceByHand puts another bundle where byHand put one.
func replaceByHand(t *testing.T, dir, archive string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(filepath.Join(dir, bundle.ID("bundle.zip"))))
	byHand(t, dir, archive)
}

func TestBundlePutThereByHandIsCopied(t *testing.T) {
	config := bundle.Config{Dir: t.TempDir()}
	target := byHand(t, config.Dir, built(t, "x = 1\n", nil))
	write(t, target, map[string]string{"extra/more.txt": "not in file_list", "__pycache__/a.pyc": ""})
	require.NoError(t, os.Symlink("middleware.py", filepath.Join(target, "inside.py")))
	require.NoError(t, os.Symlink("../outside", filepath.Join(target, "outside")))
	fetcher := fetcher(t, config)
	first, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	require.NotEqual(t, target, first.Dir)
	require.Equal(t, "x = 1\n", code(t, first.Dir))
	require.FileExists(t, filepath.Join(first.Dir, "extra", "more.txt"))
	require.NoDirExists(t, filepath.Join(first.Dir, "__pycache__"))
	inside, err := os.Readlink(filepath.Join(first.Dir, "inside.py"))
	require.NoError(t, err)
	require.Equal(t, "middleware.py", inside)
	outside, err := os.Readlink(filepath.Join(first.Dir, "outside"))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(config.Dir, "outside"), outside, "it leads where it led")

	same, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	require.Equal(t, first.Dir, same.Dir, "it has not changed")
	same.Release()

	replaceByHand(t, config.Dir, built(t, "x = 2\n", nil))
	second, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	require.Equal(t, "x = 2\n", code(t, second.Dir))
	require.Equal(t, "x = 1\n", code(t, first.Dir), "code that is loaded keeps its files")

	edit(t, filepath.Join(target, "middleware.py"), "2", "3")
	_, err = fetcher.Fetch(t.Context(), "bundle.zip")
	require.ErrorIs(t, err, bundle.ErrBadChecksum)
	require.ErrorContains(t, err, target, "the message names what somebody can change")
	first.Release()
	second.Release()
	require.Empty(t, versions(t, config.Dir))
	require.DirExists(t, target)
}

func TestCopyGivesWayToADownload(t *testing.T) {
	config := config(t, newServer(t, built(t, "x = 2\n", nil)).URL)
	byHand(t, config.Dir, built(t, "x = 1\n", nil))
	got, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	require.Equal(t, "x = 2\n", code(t, got.Dir))
	require.Len(t, versions(t, config.Dir), 1)
	got.Release()
}

func TestBundlePutThereByHandWhereNothingCanBeWritten(t *testing.T) {
	config := config(t, newServer(t, built(t, "x = 9\n", nil)).URL)
	target := byHand(t, config.Dir, built(t, "x = 1\n", nil))
	write(t, config.Dir, map[string]string{".krait": "no directory"}) // root may write anywhere else
	fetcher := fetcher(t, config)
	for range 2 {
		got, err := fetcher.Fetch(t.Context(), "bundle.zip")
		require.NoError(t, err)
		require.Equal(t, target, got.Dir)
		require.ErrorContains(t, got.Stale, "nothing can be written beside it")
		got.Release()
	}
	replaceByHand(t, config.Dir, built(t, "x = 2\n", nil))
	_, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.ErrorContains(t, err, "was changed since it was loaded")
}

func TestDirectoryThatIsNotBuilt(t *testing.T) {
	served := t.TempDir()
	plugin := filepath.Join(served, "plugin")
	write(t, plugin, map[string]string{"manifest.json": pythonManifest, "middleware.py": "x = 1\n", "pkg/data.txt": "data\n", "notes.txt": "no"})
	config := config(t, "file://"+served)
	development := fetcher(t, config)
	first, err := development.Fetch(t.Context(), "plugin")
	require.NoError(t, err)
	require.Equal(t, "x = 1\n", code(t, first.Dir))
	require.NotEmpty(t, first.Manifest.Checksum)
	require.NoFileExists(t, filepath.Join(first.Dir, "notes.txt"), "as in a zip, file_list counts")

	same, err := development.Fetch(t.Context(), "plugin")
	require.NoError(t, err)
	require.Equal(t, first.Dir, same.Dir)
	same.Release()

	write(t, plugin, map[string]string{"middleware.py": "x = 2\n"})
	second, err := development.Fetch(t.Context(), "plugin")
	require.NoError(t, err)
	require.Equal(t, "x = 2\n", code(t, second.Dir))
	require.Equal(t, "x = 1\n", code(t, first.Dir))
	first.Release()

	require.NoError(t, os.Remove(filepath.Join(plugin, "pkg", "data.txt")))
	stale, err := development.Fetch(t.Context(), "plugin")
	require.NoError(t, err)
	require.Equal(t, second.Dir, stale.Dir)
	require.ErrorContains(t, stale.Stale, "file_list[1]")
	second.Release()
	stale.Release()

	_, err = development.Fetch(t.Context(), "nothing")
	require.ErrorIs(t, err, bundle.ErrNotFound)
	require.NoError(t, os.Mkdir(filepath.Join(served, "empty"), 0o755))
	_, err = development.Fetch(t.Context(), "empty")
	require.ErrorContains(t, err, "manifest.json")

	config.PublicKey = opensslKey(t).public
	config.Dir = t.TempDir()
	_, err = fetcher(t, config).Fetch(t.Context(), "plugin")
	require.ErrorIs(t, err, bundle.ErrUnsigned)
	require.ErrorContains(t, err, "krait bundle build --key")
}
