package bundle_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
)

// versions returns the private directories of a Fetcher's directory.
func versions(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, ".krait", "v-*"))
	require.NoError(t, err)
	return paths
}

func TestFetchTakesAChangedBundleOfTheSameName(t *testing.T) {
	cases := map[string]func(s *server){
		"with ETag":          func(*server) {},
		"without validators": func(s *server) { s.etags.Store(false) },
		"with an old Last-Modified": func(s *server) {
			s.etags.Store(false)
			old := time.Now().Add(-time.Hour)
			s.modified.Store(&old)
		},
		"with a Last-Modified of this second": func(s *server) {
			s.etags.Store(false)
			now := time.Now()
			s.modified.Store(&now)
		},
	}
	for name, prepare := range cases {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, built(t, "x = 1\n", nil))
			prepare(server)
			config := config(t, server.URL)
			fetcher := fetcher(t, config)

			first, err := fetcher.Fetch(t.Context(), "bundle.zip")
			require.NoError(t, err)
			same, err := fetcher.Fetch(t.Context(), "bundle.zip")
			require.NoError(t, err)
			require.Equal(t, first.Dir, same.Dir, "the present one is kept")
			same.Release()

			server.serve(t, built(t, "x = 2\n", nil))
			if stamp := server.modified.Load(); !stamp.IsZero() && time.Since(*stamp) > time.Minute {
				newer := stamp.Add(time.Minute)
				server.modified.Store(&newer)
			}
			second, err := fetcher.Fetch(t.Context(), "bundle.zip")
			require.NoError(t, err)
			require.Equal(t, "x = 2\n", code(t, second.Dir))
			require.Equal(t, "x = 2\n", code(t, filepath.Join(config.Dir, second.ID)))

			require.Equal(t, "x = 1\n", code(t, first.Dir), "code that is loaded keeps its files")
			first.Release()
			require.NoDirExists(t, first.Dir, "until it is released")
			first.Release()
			second.Release()
			require.DirExists(t, second.Dir, "the one in service stays")
			require.Len(t, versions(t, config.Dir), 1)
		})
	}
}

func TestFetchSendsWhatItKnows(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	var asked atomic.Value
	server.on(func(_ http.ResponseWriter, r *http.Request, _ int64) bool {
		asked.Store(r.Header.Get("If-None-Match"))
		return false
	})
	config := config(t, server.URL)
	fetch := func() {
		got, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
		require.NoError(t, err)
		got.Release()
	}
	fetch()
	require.Empty(t, asked.Load())
	fetch()
	require.NotEmpty(t, asked.Load(), "also after a restart")
	config.BaseURL += "/other/"
	fetch()
	require.Empty(t, asked.Load(), "another address knows another ETag")
}

func TestFetchTakesAChangeOfTheManifestAlone(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	fetcher := fetcher(t, config(t, server.URL))
	first, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	defer first.Release()

	manifest := plugin(t, "x = 1\n") // the same files, so the same checksum
	edit(t, manifest, "MyAuthMiddleware", "Renamed")
	output := filepath.Join(t.TempDir(), "bundle.zip")
	_, err = bundle.Build(t.Context(), bundle.BuildConfig{Manifest: manifest, Output: output})
	require.NoError(t, err)
	server.serve(t, output)
	second, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	defer second.Release()
	require.Equal(t, first.Manifest.Checksum, second.Manifest.Checksum)
	require.Equal(t, "Renamed", second.Manifest.CustomMiddleware.AuthCheck.Name)
}

func TestFetchKeepsThePresentBundleWhenTheNewOneCannotBeHad(t *testing.T) {
	key := opensslKey(t)
	tampered := func(t *testing.T) string {
		return zipFile(t,
			entry{name: "manifest.json", content: checksumManifest(md5sum(t, "evil"), "middleware.py")},
			entry{name: "middleware.py", content: "evil"})
	}
	cases := map[string]struct {
		change func(t *testing.T, s *server)
		want   error
	}{
		"server gone":   {change: func(_ *testing.T, s *server) { s.Close() }},
		"404":           {change: func(_ *testing.T, s *server) { s.broken(http.StatusNotFound) }, want: bundle.ErrNotFound},
		"503":           {change: func(_ *testing.T, s *server) { s.broken(http.StatusServiceUnavailable) }},
		"unsigned":      {change: func(t *testing.T, s *server) { s.serve(t, tampered(t)) }, want: bundle.ErrUnsigned},
		"unsigned, own": {change: func(t *testing.T, s *server) { s.serve(t, built(t, "x = 2\n", nil)) }, want: bundle.ErrUnsigned},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, built(t, "x = 1\n", key.private))
			config := config(t, server.URL)
			config.PublicKey = key.public
			logger, records := logged()
			config.Logger = logger
			fetcher := fetcher(t, config)
			first, err := fetcher.Fetch(t.Context(), "bundle.zip")
			require.NoError(t, err)
			first.Release()

			test.change(t, server)
			got, err := fetcher.Fetch(t.Context(), "bundle.zip")
			require.NoError(t, err)
			defer got.Release()
			require.Equal(t, "x = 1\n", code(t, got.Dir))
			require.Error(t, got.Stale)
			if test.want != nil {
				require.ErrorIs(t, got.Stale, test.want)
			}
			last := records()[len(records())-1]
			require.Equal(t, "WARN", last["level"])
			require.Equal(t, "bundle.zip", last["bundle"])
			require.Contains(t, last["error"], got.Stale.Error())
			require.Len(t, versions(t, config.Dir), 1, "the refused one is gone")
		})
	}
}

func TestTamperedBundleOnDiskIsNeverUsed(t *testing.T) {
	key := opensslKey(t)
	server := newServer(t, built(t, "x = 1\n", key.private))
	config := config(t, server.URL)
	config.PublicKey = key.public
	fetcher := fetcher(t, config)
	first, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	edit(t, filepath.Join(config.Dir, first.ID, "middleware.py"), "1", "2")

	server.broken(http.StatusNotFound)
	_, err = fetcher.Fetch(t.Context(), "bundle.zip")
	require.ErrorIs(t, err, bundle.ErrNotFound, "why there is no new one")
	require.ErrorIs(t, err, bundle.ErrBadChecksum, "and why the old one is not used")

	server.on(func(http.ResponseWriter, *http.Request, int64) bool { return false })
	second, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err, "a good download heals it")
	require.Equal(t, "x = 1\n", code(t, second.Dir))
	first.Release()
	second.Release()
}

func TestBytecodeOnDiskIsRemovedWhenAKeyIsSet(t *testing.T) {
	key := opensslKey(t)
	server := newServer(t, built(t, "x = 1\n", key.private))
	config := config(t, server.URL)
	config.PublicKey = key.public
	fetcher := fetcher(t, config)
	first, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	defer first.Release()
	write(t, first.Dir, map[string]string{"__pycache__/a.pyc": "", "pkg/__pycache__/b.pyc": ""})

	second, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	defer second.Release()
	require.Equal(t, first.Dir, second.Dir)
	require.NoDirExists(t, filepath.Join(first.Dir, "__pycache__"))
	require.NoDirExists(t, filepath.Join(first.Dir, "pkg", "__pycache__"))
}

// byHand unpacks a bundle where the contract wants it, as Tyk or an operator
// does.
func byHand(t *testing.T, dir, archive string) string {
	t.Helper()
	target := filepath.Join(dir, bundle.ID("bundle.zip"))
	require.NoError(t, os.MkdirAll(target, 0o755))
	run(t, "", "", "unzip", "-q", archive, "-d", target)
	return target
}

func TestBundlePutThereByHandIsUsed(t *testing.T) {
	key := opensslKey(t)
	t.Run("without downloader", func(t *testing.T) {
		config := bundle.Config{Dir: t.TempDir()}
		target := byHand(t, config.Dir, built(t, "x = 1\n", nil))
		got, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
		require.NoError(t, err)
		require.Equal(t, "x = 1\n", code(t, got.Dir))
		got.Release()
		require.DirExists(t, target)

		config.PublicKey = key.public
		_, err = fetcher(t, config).Fetch(t.Context(), "bundle.zip")
		require.ErrorIs(t, err, bundle.ErrUnsigned)
		require.ErrorContains(t, err, target)
	})
	t.Run("through a link", func(t *testing.T) {
		config := bundle.Config{Dir: t.TempDir()}
		elsewhere := byHand(t, t.TempDir(), built(t, "x = 1\n", nil))
		require.NoError(t, os.Symlink(elsewhere, filepath.Join(config.Dir, bundle.ID("bundle.zip"))))
		got, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
		require.NoError(t, err)
		require.Equal(t, "x = 1\n", code(t, got.Dir))
		got.Release()
	})
	t.Run("the server has the same", func(t *testing.T) {
		archive := built(t, "x = 1\n", nil)
		config := config(t, newServer(t, archive).URL)
		target := byHand(t, config.Dir, archive)
		got, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
		require.NoError(t, err)
		require.NoError(t, got.Stale)
		got.Release()
		require.DirExists(t, target)
		require.Empty(t, versions(t, config.Dir), "the download is not kept")
	})
	t.Run("the server has another one", func(t *testing.T) {
		config := config(t, newServer(t, built(t, "x = 2\n", nil)).URL)
		byHand(t, config.Dir, built(t, "x = 1\n", nil))
		got, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
		require.NoError(t, err)
		require.Equal(t, "x = 2\n", code(t, got.Dir))
		got.Release()
		aside, err := filepath.Glob(filepath.Join(config.Dir, ".krait", "replaced-*"))
		require.NoError(t, err)
		require.Len(t, aside, 1, "what an operator made is not deleted")
		require.Equal(t, "x = 1\n", code(t, aside[0]))
	})
}

func TestWithoutDownloaderAMissingBundleIsAClearError(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	config := config(t, server.URL)
	config.Enabled = false
	_, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
	require.ErrorIs(t, err, bundle.ErrNotFound)
	require.ErrorContains(t, err, "enable_bundle_downloader")
	require.ErrorContains(t, err, bundle.ID("bundle.zip"))
	require.Zero(t, server.requests.Load())
}

func TestDriverOfAnotherGatewayIsNotLoaded(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{
		"manifest.json": `{"file_list": ["a.js"], "custom_middleware": {"driver": "otto", "pre": [{"name": "H"}]}}`,
		"a.js":          "x",
	})
	_, err := bundle.Build(t.Context(), bundle.BuildConfig{
		Manifest: filepath.Join(dir, "manifest.json"), Output: filepath.Join(dir, "bundle.zip"),
	})
	require.NoError(t, err)
	_, err = fetcher(t, config(t, "file://"+dir)).Fetch(t.Context(), "bundle.zip")
	require.ErrorIs(t, err, bundle.ErrUnsupported)
	require.ErrorContains(t, err, `"otto"`)
}

func TestLeftoversOfACrashAreRemoved(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	config := config(t, server.URL)
	first := fetcher(t, config)
	inService, err := first.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	id := bundle.ID("bundle.zip")
	write(t, config.Dir, map[string]string{
		".krait/v-crashed/archive.zip":               "PK",
		".krait/v-crashed/.unpack-1/middleware.py":   "half",
		".krait/v-old/" + id + "/middleware.py":      "old",
		".krait/replaced-" + id + "-1/middleware.py": "an operator's",
	})

	fetcher(t, config)
	require.Equal(t, []string{filepath.Dir(inService.Dir)}, versions(t, config.Dir))
	require.DirExists(t, filepath.Join(config.Dir, ".krait", "replaced-"+id+"-1"))
	inService.Release()
}

func TestAnotherGatewayKeepsTheVersionItUses(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	config := config(t, server.URL)
	one, two := fetcher(t, config), fetcher(t, config)
	old, err := one.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)

	server.serve(t, built(t, "x = 2\n", nil))
	current, err := two.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	fetcher(t, config) // one that starts, and cleans up
	require.Equal(t, "x = 1\n", code(t, old.Dir))
	old.Release()
	require.NoDirExists(t, old.Dir)
	current.Release()
}

func TestFetchRacesChangesAndReleases(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	contents := [2]*[]byte{server.content.Load()}
	server.serve(t, built(t, "x = 2\n", nil))
	contents[1] = server.content.Load()
	config := config(t, server.URL)
	fetcher := fetcher(t, config)
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for i := range 20 {
				server.content.Store(contents[i%2])
				got, err := fetcher.Fetch(t.Context(), "bundle.zip")
				if err != nil {
					t.Error(err)
					return
				}
				if text := code(t, got.Dir); !strings.HasPrefix(text, "x = ") {
					t.Errorf("the code is %q", text)
				}
				got.Release()
			}
		})
	}
	running.Wait()
	require.Len(t, versions(t, config.Dir), 1)
}
