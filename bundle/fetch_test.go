package bundle_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
)

// server serves one bundle under every path and can be told to fail.
type server struct {
	*httptest.Server
	requests atomic.Int64
	content  atomic.Pointer[[]byte]
	// answer, when set, answers instead; it returns false to go on.
	answer atomic.Pointer[func(w http.ResponseWriter, r *http.Request, n int64) bool]
	// modified is Last-Modified; zero leaves it out.
	modified atomic.Pointer[time.Time]
	etags    atomic.Bool
}

func newServer(t *testing.T, path string) *server {
	t.Helper()
	s := new(server)
	s.serve(t, path)
	s.modified.Store(new(time.Time))
	s.etags.Store(true)
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := s.requests.Add(1)
	if answer := s.answer.Load(); answer != nil && (*answer)(w, r, n) {
		return
	}
	content := *s.content.Load()
	if s.etags.Load() {
		w.Header().Set("ETag", `"`+bundle.ID(string(content))+`"`)
	}
	http.ServeContent(w, r, "", *s.modified.Load(), bytes.NewReader(content))
}

// serve changes what is served to the file at path.
func (s *server) serve(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	s.content.Store(&content)
}

func (s *server) on(answer func(w http.ResponseWriter, r *http.Request, n int64) bool) {
	s.answer.Store(&answer)
}

// broken answers every request with status.
func (s *server) broken(status int) {
	s.on(func(w http.ResponseWriter, _ *http.Request, _ int64) bool {
		w.WriteHeader(status)
		return true
	})
}

func config(t *testing.T, baseURL string) bundle.Config {
	t.Helper()
	return bundle.Config{
		Dir: filepath.Join(t.TempDir(), "bundles"), Enabled: true, BaseURL: baseURL,
		RetryDelay: time.Millisecond, Timeout: 30 * time.Second,
	}
}

func fetcher(t *testing.T, config bundle.Config) *bundle.Fetcher {
	t.Helper()
	fetcher, err := bundle.NewFetcher(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, fetcher.Close()) })
	return fetcher
}

// code returns the middleware.py of a bundle.
func code(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "middleware.py"))
	require.NoError(t, err)
	return string(data)
}

func TestFetchDownloadsOverHTTP(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	var path atomic.Value
	server.on(func(_ http.ResponseWriter, r *http.Request, _ int64) bool {
		path.Store(r.URL.RequestURI())
		return false
	})
	cases := map[string]struct{ base, name, want string }{
		"base with slash":          {"/bundles/", "bundle.zip", "/bundles/bundle.zip"},
		"base without slash":       {"/bundles", "bundle.zip", "/bundles/bundle.zip"},
		"base without path":        {"", "bundle.zip", "/bundle.zip"},
		"name with directories":    {"/", "team/bundle.zip", "/team/bundle.zip"},
		"name with odd characters": {"/", "a b?c#d%20.zip", "/a%20b%3Fc%23d%2520.zip"},
		"query of the base":        {"/b/?token=x", "bundle.zip", "/b/bundle.zip?token=x"},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			config := config(t, server.URL+test.base)
			got, err := fetcher(t, config).Fetch(t.Context(), test.name)
			require.NoError(t, err)
			defer got.Release()
			require.Equal(t, test.want, path.Load())
			require.Equal(t, test.name, got.Name)
			require.Equal(t, md5sum(t, test.name), got.ID)
			require.Equal(t, "middleware.py", got.Entry())
			require.True(t, filepath.IsAbs(got.Dir))
			require.NoError(t, got.Stale)
			require.Equal(t, "x = 1\n", code(t, got.Dir))
			require.Equal(t, "x = 1\n", code(t, filepath.Join(config.Dir, got.ID)), "the contract's place")
		})
	}
}

func TestFetchFromFileURL(t *testing.T) {
	archive := built(t, "x = 1\n", nil)
	for name, base := range map[string]string{
		"plain": "file://" + filepath.Dir(archive), "with slash": "file://" + filepath.Dir(archive) + "/",
		"localhost": "file://localhost" + filepath.Dir(archive),
	} {
		t.Run(name, func(t *testing.T) {
			fetcher := fetcher(t, config(t, base))
			got, err := fetcher.Fetch(t.Context(), "bundle.zip")
			require.NoError(t, err)
			defer got.Release()
			require.Equal(t, "x = 1\n", code(t, got.Dir))
			_, err = fetcher.Fetch(t.Context(), "other.zip")
			require.ErrorIs(t, err, bundle.ErrNotFound)
			require.ErrorContains(t, err, `"other.zip"`)
		})
	}
}

func TestFetchOverTLSChecksTheCertificate(t *testing.T) {
	content, err := os.ReadFile(built(t, "x = 1\n", nil))
	require.NoError(t, err)
	var requests atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests.Add(1)
		_, _ = w.Write(content)
	}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)

	config := config(t, server.URL)
	_, err = fetcher(t, config).Fetch(t.Context(), "bundle.zip")
	require.ErrorContains(t, err, "bundle_insecure_skip_verify")
	require.Zero(t, requests.Load())

	config.InsecureSkipVerify = true
	got, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	got.Release()
}

func TestFetchTriesAgainWhenItMayHelp(t *testing.T) {
	whole, err := os.ReadFile(built(t, "x = 1\n", nil))
	require.NoError(t, err)
	cases := map[string]func(w http.ResponseWriter){
		"503": func(w http.ResponseWriter) { w.WriteHeader(http.StatusServiceUnavailable) },
		"500": func(w http.ResponseWriter) { w.WriteHeader(http.StatusInternalServerError) },
		"429 with Retry-After": func(w http.ResponseWriter) {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"connection cut": func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"body cut": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", strconv.Itoa(len(whole)))
			_, _ = w.Write(whole[:len(whole)/2])
		},
	}
	for name, fail := range cases {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, built(t, "x = 1\n", nil))
			server.on(func(w http.ResponseWriter, _ *http.Request, n int64) bool {
				if n > 2 {
					return false
				}
				fail(w)
				return true
			})
			got, err := fetcher(t, config(t, server.URL)).Fetch(t.Context(), "bundle.zip")
			require.NoError(t, err)
			got.Release()
			require.EqualValues(t, 3, server.requests.Load())
		})
	}
}

func TestFetchGivesUp(t *testing.T) {
	cases := map[string]struct {
		answer   func(w http.ResponseWriter, r *http.Request)
		limits   bundle.Limits
		requests int64
		is       error
		says     string
	}{
		"404 at once": {
			answer:   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
			requests: 1, is: bundle.ErrNotFound, says: "404",
		},
		"401 at once": {
			answer:   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
			requests: 1, says: "401",
		},
		"204 is not a bundle": {
			answer:   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
			requests: 1, says: "200 OK is needed",
		},
		"304 without being asked": {
			answer:   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) },
			requests: 1, says: "304",
		},
		"502 after all attempts": {
			answer:   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) },
			requests: 4, says: "502",
		},
		"a web page": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				_, _ = w.Write([]byte("<html>"))
			},
			requests: 1, is: bundle.ErrBroken, says: "text/html",
		},
		"huge by its own words": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "99999999")
				w.WriteHeader(http.StatusOK)
			},
			limits: bundle.Limits{Archive: 1000}, requests: 1, is: bundle.ErrTooLarge,
		},
		"huge without saying so": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				for range 100 {
					_, _ = w.Write(make([]byte, 1000))
					_ = http.NewResponseController(w).Flush()
				}
			},
			limits: bundle.Limits{Archive: 1000}, requests: 1, is: bundle.ErrTooLarge,
		},
		"endless redirects": {
			answer:   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) },
			requests: 6, says: "redirect",
		},
		"redirect to a file": {
			answer: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
			},
			requests: 1, says: "redirect refused",
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			server := newServer(t, built(t, "x = 1\n", nil))
			server.on(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
				test.answer(w, r)
				return true
			})
			config := config(t, server.URL)
			config.Limits = test.limits
			_, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, `"bundle.zip"`)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.Equal(t, test.requests, server.requests.Load())
			entries, err := os.ReadDir(filepath.Join(config.Dir, ".krait"))
			require.NoError(t, err)
			require.Empty(t, entries, "nothing is left behind")
		})
	}
}

func TestFetchFollowsRedirects(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	server.on(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		if r.URL.Path == "/moved" {
			return false
		}
		http.Redirect(w, r, "/moved", http.StatusFound)
		return true
	})
	got, err := fetcher(t, config(t, server.URL)).Fetch(t.Context(), "bundle.zip")
	require.NoError(t, err)
	got.Release()
}

func TestFetchEndsASlowBody(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	server.on(func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		_, _ = w.Write([]byte("PK"))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	config := config(t, server.URL)
	config.AttemptTimeout, config.Attempts = 50*time.Millisecond, 2
	_, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "no complete answer within 50ms")
	require.EqualValues(t, 2, server.requests.Load())
}

func TestFetchDoesNotShowCredentials(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	server.Close()
	config := config(t, "http://user:hidden@"+server.Listener.Addr().String()+"/?token=hidden")
	config.Attempts = 1
	_, err := fetcher(t, config).Fetch(t.Context(), "bundle.zip")
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hidden")
}

func TestConcurrentFetchesDownloadOnce(t *testing.T) {
	const callers = 16
	server := newServer(t, built(t, "x = 1\n", nil))
	var waiting sync.WaitGroup
	release := make(chan struct{})
	server.on(func(http.ResponseWriter, *http.Request, int64) bool {
		<-release
		return false
	})
	fetcher := fetcher(t, config(t, server.URL))
	errs := make(chan error, callers)
	for range callers {
		waiting.Go(func() {
			got, err := fetcher.Fetch(t.Context(), "bundle.zip")
			if err == nil {
				got.Release()
			}
			errs <- err
		})
	}
	require.Eventually(t, func() bool { return server.requests.Load() == 1 }, 5*time.Second, time.Millisecond)
	close(release)
	waiting.Wait()
	for range callers {
		require.NoError(t, <-errs)
	}
	// A caller that came after the flight ended asks again, with the ETag.
	require.Less(t, server.requests.Load(), int64(callers))
}

func TestFetchReturnsWhenItsCallerGoes(t *testing.T) {
	server := newServer(t, built(t, "x = 1\n", nil))
	ctx, cancel := context.WithCancel(t.Context())
	server.on(func(_ http.ResponseWriter, r *http.Request, _ int64) bool {
		cancel()
		<-r.Context().Done()
		return true
	})
	fetcher := fetcher(t, config(t, server.URL))
	_, err := fetcher.Fetch(ctx, "bundle.zip")
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, fetcher.Close(), "Close ends the download that nobody waits for")
	_, err = fetcher.Fetch(t.Context(), "bundle.zip")
	require.ErrorIs(t, err, bundle.ErrClosed)
}

func TestNewFetcherReportsAllFaultsOfItsSettings(t *testing.T) {
	_, err := bundle.NewFetcher(bundle.Config{Enabled: true, BaseURL: "ftp://host/", RequireManifestSignature: true})
	for _, part := range []string{"middleware_path", "ftp", "require_manifest_signature"} {
		require.ErrorContains(t, err, part)
	}
	for _, base := range []string{"host/bundles", "http:///x", "http://[", "file://", "http://user:hidden@h ost/"} {
		_, err := bundle.NewFetcher(bundle.Config{Dir: t.TempDir(), Enabled: true, BaseURL: base})
		require.ErrorContains(t, err, "bundle_base_url", base)
		require.NotContains(t, err.Error(), "hidden")
	}
	_, err = fetcher(t, bundle.Config{Dir: t.TempDir(), Enabled: true}).Fetch(t.Context(), "bundle.zip")
	require.ErrorContains(t, err, "bundle_base_url: is not set")
	_, err = fetcher(t, bundle.Config{Dir: t.TempDir()}).Fetch(t.Context(), "../bundle.zip")
	require.ErrorIs(t, err, bundle.ErrName)
}

// logged returns a logger and a function that returns the messages written.
func logged() (*slog.Logger, func() []map[string]any) {
	var mu sync.Mutex
	var out bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&lockedWriter{&mu, &out}, nil))
	return logger, func() (records []map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		for line := range bytes.Lines(out.Bytes()) {
			var record map[string]any
			if json.Unmarshal(line, &record) == nil {
				records = append(records, record)
			}
		}
		return records
	}
}

type lockedWriter struct {
	mu  *sync.Mutex
	out *bytes.Buffer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}
