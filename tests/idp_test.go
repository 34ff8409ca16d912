package tests_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/output"
)

const (
	introspectionPath = "/token/introspection"
	keysPath          = "/jwks"
	// sharedSecret signs the server's HS256 tokens.
	sharedSecret = "the tests' shared secret, 32 bytes at least"
	// shortLife is how long the tokens of the client "short" are valid.
	shortLife = 2 * time.Second
)

// identityServer is a running tests/idp/server.mjs (which says what clients it
// knows) behind a proxy that counts requests and can be made to fail.
type identityServer struct {
	t      *testing.T
	url    string // of the proxy
	direct string // of the server itself: its issuer
	front  *httptest.Server

	mutex  sync.Mutex
	counts map[string]int // by path
	issued []string       // every token
	// fault answers introspections instead of the server.
	fault atomic.Pointer[http.HandlerFunc]
}

func startIdentityServer(t *testing.T) *identityServer {
	t.Helper()
	node, err := filepath.Abs("../.tools/node")
	require.NoError(t, err)
	require.FileExists(t, node, "run make setup-test first; make test does")
	said := &output.Buffer{}
	command := exec.Command(node, "server.mjs") //nolint:noctx // the cleanup ends it
	command.Dir = "idp"
	command.Stdout, command.Stderr = said, said
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
	})
	listening := regexp.MustCompile(`(?m)^listening (\d+)$`)
	require.Eventually(t, func() bool { return listening.MatchString(said.String()) },
		patience, 20*time.Millisecond, "the identity server does not start:\n%s", said)
	s := &identityServer{
		t:      t,
		direct: "http://127.0.0.1:" + listening.FindStringSubmatch(said.String())[1],
		counts: map[string]int{},
	}
	target, err := url.Parse(s.direct)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			w.WriteHeader(http.StatusBadGateway) // a client that hung up
		},
	}
	s.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mutex.Lock()
		s.counts[r.URL.Path]++
		s.mutex.Unlock()
		if fault := s.fault.Load(); fault != nil && r.URL.Path == introspectionPath {
			(*fault)(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.front.Close)
	s.url = s.front.URL
	return s
}

// introspections returns how many there have been.
func (s *identityServer) introspections() int { return s.asked(introspectionPath) }

// asked returns how many requests came for path.
func (s *identityServer) asked(path string) int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.counts[path]
}

// failWith makes introspections fail; nil ends that.
func (s *identityServer) failWith(fault http.HandlerFunc) {
	if fault == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&fault)
}

// hangs is a server that takes a request and never answers.
func hangs(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // only then a client that leaves is noticed
	<-r.Context().Done()
}

// token returns a new access token of client by the client credentials grant;
// resource asks for a JWT.
func (s *identityServer) token(client, resource string) string {
	s.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}
	if resource != "" {
		form.Set("resource", resource)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	body := s.post("/token", client, form)
	require.NoError(s.t, json.Unmarshal(body, &answer), "%s", body)
	require.NotEmpty(s.t, answer.AccessToken)
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.issued = append(s.issued, answer.AccessToken)
	return answer.AccessToken
}

// revoke revokes a token of client (RFC 7009).
func (s *identityServer) revoke(client, token string) {
	s.t.Helper()
	s.post("/token/revocation", client, url.Values{"token": {token}})
}

// rotate gives the server new signing keys; with forget the old ones are no
// longer published.
func (s *identityServer) rotate(forget bool) {
	s.t.Helper()
	path := "/control/rotate"
	if forget {
		path += "?forget"
	}
	s.post(path, "app", nil)
}

// post asks the server itself, past the proxy and its counts.
func (s *identityServer) post(path, client string, form url.Values) []byte {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.direct+path, strings.NewReader(form.Encode()))
	require.NoError(s.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(client, client+"-secret")
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	require.Less(s.t, response.StatusCode, 300, "%s: %s", path, body)
	return body
}
