package bundle_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
)

// hanging lets the server accept requests and answer none until the function it
// returns is called.
func hanging(t *testing.T, s *server) (answer func()) {
	t.Helper()
	release := make(chan struct{})
	s.on(func(_ http.ResponseWriter, r *http.Request, _ int64) bool {
		select {
		case <-release:
			return false
		case <-r.Context().Done():
			return true
		}
	})
	return func() { close(release) }
}

// fresh fetches until the server's bundle comes: on a busy machine even a
// short download may take longer than a test's PresentWait.
func fresh(t *testing.T, fetcher *bundle.Fetcher) *bundle.Bundle {
	t.Helper()
	for range 1000 {
		got, err := fetcher.Fetch(t.Context(), "bundle.zip")
		require.NoError(t, err)
		if got.Stale == nil {
			return got
		}
		got.Release()
	}
	require.Fail(t, "it stays stale")
	return nil
}

func TestFetchDoesNotWaitLongWhenABundleIsPresent(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	config := config(t, server.URL)
	config.PresentWait = 50 * time.Millisecond
	logger, records := logged()
	config.Logger = logger
	fetcher := fetcher(t, config)
	first, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	require.NoError(t, first.Stale)

	answer := hanging(t, server)
	server.serve(t, built(t, "x = 2\n", nil))
	began := time.Now()
	for range 2 {
		got, err := fetcher.Fetch(t.Context(), "bundle.zip")
		require.NoError(t, err)
		require.ErrorContains(t, got.Stale, "no complete answer within 50ms")
		require.ErrorContains(t, got.Stale, server.URL+"/bundle.zip")
		require.Equal(t, "x = 1\n", code(t, got.Dir))
		got.Release()
	}
	require.Less(t, time.Since(began), 10*time.Second)
	require.EqualValues(t, 2, server.requests.Load(), "the second joins the download that goes on")

	answer()
	require.Eventually(t, func() bool {
		for _, record := range records() {
			if record["msg"] == "slow download of bundle has ended, the next fetch uses it" {
				return true
			}
		}
		return false
	}, 10*time.Second, time.Millisecond)
	require.Equal(t, "x = 1\n", code(t, first.Dir), "code that is loaded keeps its files")
	next := fresh(t, fetcher)
	require.Equal(t, "x = 2\n", code(t, next.Dir))
	first.Release()
	next.Release()
	require.Len(t, versions(t, config.Dir), 1)
}

func TestFetchThatIsStaleStaysSoAndTheNextIsNot(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	config := config(t, server.URL)
	config.PresentWait = 50 * time.Millisecond
	fetcher := fetcher(t, config)
	first, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	defer first.Release()
	answer := hanging(t, server)
	stale, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	defer stale.Release()
	require.Error(t, stale.Stale)
	answer() // it is the bundle that is present
	next := fresh(t, fetcher)
	defer next.Release()
	require.Equal(t, first.Dir, next.Dir)
	require.Error(t, stale.Stale)
}

func TestCloseEndsADownloadThatGoesOn(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	config := config(t, server.URL)
	config.PresentWait = time.Millisecond
	fetcher, err := bundle.NewFetcher(config)
	require.NoError(t, err)
	first, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	defer first.Release()
	hanging(t, server)
	got, err := fetcher.Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	defer got.Release()
	require.Error(t, got.Stale)
	require.NoError(t, fetcher.Close())
	require.Len(t, versions(t, config.Dir), 1)
}

func TestDirectoryThatCannotBeWrittenIsMiddlewarePath(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	server := newServer(t, built(t, "x = 1\n", nil))
	for _, dir := range []string{filepath.Join(file, "bundles"), "/proc/nope/bundles"} {
		config := config(t, server.URL)
		config.Dir = dir
		_, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
		const next = "set middleware_path to a directory that this process may write to"
		require.ErrorContains(t, err, next)
		require.ErrorContains(t, bundle.CheckDir(dir), next)
	}
	parent := t.TempDir()
	require.NoError(t, bundle.CheckDir(filepath.Join(parent, "middleware", "bundles")))
	left, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestLookSaysWhatFetchSaysAndChangesNothing(t *testing.T) {
	config := config(t, "")
	config.Enabled = false
	for _, name := range []string{"../../etc/passwd", "bundle.zip"} {
		_, fetchErr := fetcher(t, config).Fetch(t.Context(), name)
		_, err := bundle.Look(t.Context(), config, name)
		require.EqualError(t, err, fetchErr.Error())
	}
	require.NoDirExists(t, config.Dir)

	dir := filepath.Join(config.Dir, bundle.ID("bundle.zip"))
	require.NoError(t, os.MkdirAll(config.Dir, 0o700))
	_, err := bundle.Unpack(t.Context(), built(t, "x = 1\n", nil), dir, bundle.VerifyOptions{})
	require.NoError(t, err)
	manifest, err := bundle.Look(t.Context(), config, "bundle.zip")
	require.NoError(t, err)
	require.Equal(t, "MyAuthMiddleware", manifest.CustomMiddleware.AuthCheck.Name)
	edit(t, filepath.Join(dir, "middleware.py"), "1", "2")
	_, fetchErr := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
	_, err = bundle.Look(t.Context(), config, "bundle.zip")
	require.EqualError(t, err, fetchErr.Error())
}
