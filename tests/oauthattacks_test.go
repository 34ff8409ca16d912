package tests_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// oauthWays writes an API for each way of asking the provider at introspectionURL
// about tokens. It returns their ids, and what each answers when the provider
// gives no usable answer.
func (s *site) oauthWays(idp *identityServer, introspectionURL, upstream string) map[string]int {
	s.t.Helper()
	s.externalOAuth("native", upstream, idp.introspection(object{"url": introspectionURL}))
	s.externalOAuth("phantom", upstream, idp.introspection(object{
		"url": introspectionURL, "phantom_token": true, "jwks_url": idp.url + keysPath,
	}))
	settings := idp.introspectBy(object{"introspection_url": introspectionURL})
	s.buildAtRoot("manifest.json", "bundle.zip")
	s.pluginAPI("plugin", "bundle.zip", upstream, settings)
	s.buildAtRoot("examples/phantom/manifest.json", "phantom.zip")
	s.pluginAPI("phantom-python", "phantom.zip", upstream, settings)
	return map[string]int{
		"native": http.StatusInternalServerError, "phantom": http.StatusInternalServerError,
		"plugin": http.StatusServiceUnavailable, "phantom-python": http.StatusServiceUnavailable,
	}
}

// countingUpstream answers 200 and counts.
func countingUpstream(t *testing.T) (address string, count *atomic.Int64) {
	t.Helper()
	count = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { count.Add(1) }))
	t.Cleanup(server.Close)
	return server.URL, count
}

// TestIdentityServerThatMisbehaves has each way to check tokens ask a real
// provider whose answers are replaced by what makes no sense.
func TestIdentityServerThatMisbehaves(t *testing.T) {
	idp := startIdentityServer(t)
	s := newSite(t)
	upstream, reached := countingUpstream(t)
	elsewhere, asked := countingUpstream(t)
	ways := s.oauthWays(idp, idp.url+introspectionPath, upstream)
	g := s.start()

	answer := func(media, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", media)
			_, _ = fmt.Fprintf(w, body, r.PostFormValue("token"))
		}
	}
	for name, c := range map[string]struct {
		fault  http.HandlerFunc
		plugin int // 0: as for the others
	}{
		"HTML that repeats the token":   {answer("text/html", "<html>%s is new here</html>"), 0},
		"JSON that repeats the token":   {answer("application/json", `{"error": %q}`), http.StatusUnauthorized},
		"active as text":                {answer("application/json", `{"active": "true", "sub": %q}`), http.StatusUnauthorized},
		"active as a number":            {answer("application/json", `{"active": 1, "sub": %q}`), http.StatusUnauthorized},
		"exp as text":                   {answer("application/json", `{"active": true, "sub": %q, "exp": "4102444800"}`), 0},
		"a JWT with a line break in it": {answer("application/jwt", "e30.e30.eA\r\nX-Admin: %s"), 0},
		"a JWT that nobody signed":      {answer("application/jwt", "eyJhbGciOiJub25lIn0.eyJhY3RpdmUiOnRydWV9.%.0s"), 0},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
		}, 0},
		"1 GB": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for block := bytes.Repeat([]byte(" "), 1<<20); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			idp.failWith(c.fault)
			defer idp.failWith(nil)
			for way, status := range ways {
				if way == "plugin" && c.plugin != 0 {
					status = c.plugin
				}
				token := idp.token("app", "")
				r := g.get("/"+way+"/", bearer(token)...)
				require.Equal(t, status, r.status, "%s: %s", way, r.body)
				require.NotContains(t, r.body, token, way)
			}
		})
	}
	require.Zero(t, reached.Load(), "nobody got to the upstream")
	require.Zero(t, asked.Load(), "credentials and tokens go to the provider alone")
	for way := range ways {
		require.Equal(t, http.StatusOK, g.get("/"+way+"/", bearer(idp.token("app", ""))...).status, way)
	}
	for _, token := range idp.issued {
		require.NotContains(t, g.log.String(), token)
	}
}

// TestIdentityServerWithACertificateOfItsOwn shows that certificates are verified
// unless an operator says otherwise.
func TestIdentityServerWithACertificateOfItsOwn(t *testing.T) {
	idp := startIdentityServer(t)
	target, err := url.Parse(idp.url)
	require.NoError(t, err)
	front := httptest.NewTLSServer(httputil.NewSingleHostReverseProxy(target))
	t.Cleanup(front.Close)
	s := newSite(t)
	s.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})))
	upstream := echo(t)
	ways := s.oauthWays(idp, front.URL+introspectionPath, upstream)
	s.externalOAuth("trusting", upstream, idp.introspection(object{
		"url": front.URL + introspectionPath, "tls": object{"ca_file": filepath.Join(s.dir, "ca.pem")},
	}))
	g := s.start()
	for way, status := range ways {
		require.Equal(t, status, g.get("/"+way+"/", bearer(idp.token("app", ""))...).status, way)
	}
	require.Zero(t, idp.introspections())
	require.Equal(t, http.StatusOK, g.get("/trusting/", bearer(idp.token("app", ""))...).status)
}

// publishedRSA returns the key that the server signs with, and its id.
func (s *identityServer) publishedRSA() (key *rsa.PublicKey, id string) {
	s.t.Helper()
	response, err := http.Get(s.direct + keysPath)
	require.NoError(s.t, err)
	defer response.Body.Close()
	var published struct {
		Keys []struct{ Kty, Kid, N string }
	}
	require.NoError(s.t, json.NewDecoder(response.Body).Decode(&published))
	for _, key := range published.Keys {
		if key.Kty == "RSA" {
			n, err := base64.RawURLEncoding.DecodeString(key.N)
			require.NoError(s.t, err)
			return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: 65537}, key.Kid
		}
	}
	require.Fail(s.t, "the server has no RSA key")
	return nil, ""
}

// TestForgedTokens attacks APIs that check JWTs of a real provider, by its
// published keys, by one of them, and by a secret.
func TestForgedTokens(t *testing.T) {
	idp := startIdentityServer(t)
	public, id := idp.publishedRSA()
	der, err := x509.MarshalPKIXPublicKey(public)
	require.NoError(t, err)
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)

	s := newSite(t)
	upstream, reached := countingUpstream(t)
	elsewhere, asked := countingUpstream(t)
	encoded := base64.StdEncoding.EncodeToString
	for api, way := range map[string][2]string{
		"jwks": {"rsa", idp.url + keysPath}, "pem": {"rsa", encoded(publicPEM)}, "hmac": {"hmac", encoded([]byte(sharedSecret))},
	} {
		s.externalOAuth(api, upstream, object{"jwt": object{"enabled": true, "signing_method": way[0], "source": way[1]}})
	}
	g := s.start()

	now := time.Now()
	good := jwt.MapClaims{"sub": "mallory", "exp": now.Add(time.Hour).Unix()}
	sign := func(method jwt.SigningMethod, key any, claims jwt.MapClaims, header object) string {
		token := jwt.NewWithClaims(method, claims)
		for name, value := range header {
			token.Header[name] = value
		}
		text, err := token.SignedString(key)
		require.NoError(t, err)
		return text
	}
	rs256, hs256 := jwt.SigningMethodRS256, jwt.SigningMethodHS256
	withID := object{"kid": id}
	for name, token := range map[string]string{
		"alg none":                           sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good, withID),
		"alg NONE":                           sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good, object{"alg": "NONE"}),
		"the public key as secret":           sign(hs256, publicPEM, good, withID),
		"the public key as secret, DER":      sign(hs256, der, good, withID),
		"another key":                        sign(rs256, own, good, withID),
		"another key, of no name":            sign(rs256, own, good, nil),
		"a kid that is a path":               sign(hs256, []byte{}, good, object{"kid": "../../../../dev/null"}),
		"a kid that is a URL":                sign(rs256, own, good, object{"kid": elsewhere}),
		"a kid of 16 kB":                     sign(rs256, own, good, object{"kid": strings.Repeat("k", 16<<10)}),
		"a kid that is no text":              sign(rs256, own, good, object{"kid": object{"$ne": ""}}),
		"keys that the token names":          sign(rs256, own, good, object{"jku": elsewhere, "x5u": elsewhere}),
		"a key in the token":                 sign(rs256, own, good, object{"jwk": object{"kty": "RSA", "e": "AQAB", "n": base64.RawURLEncoding.EncodeToString(own.N.Bytes())}}),
		"expired":                            sign(hs256, []byte(sharedSecret), jwt.MapClaims{"sub": "mallory", "exp": now.Add(-time.Minute).Unix()}, nil),
		"not valid yet":                      sign(hs256, []byte(sharedSecret), jwt.MapClaims{"sub": "mallory", "nbf": now.Add(time.Hour).Unix()}, nil),
		"an identity that would be a header": sign(hs256, []byte(sharedSecret), jwt.MapClaims{"sub": "x\r\nX-Admin: 1"}, nil),
		"a token of 40 kB":                   sign(hs256, []byte(sharedSecret), jwt.MapClaims{"sub": "mallory", "x": strings.Repeat("x", 30<<10)}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			for _, api := range []string{"jwks", "pem", "hmac"} {
				r := g.get("/"+api+"/", bearer(token)...)
				require.Equal(t, http.StatusUnauthorized, r.status, api)
				require.Contains(t, r.header.Get("WWW-Authenticate"), `Bearer error="invalid_token"`)
				require.NotContains(t, r.body, token)
				require.NotContains(t, g.log.String(), token)
			}
		})
	}
	t.Run("a header that goes on in the next line", func(t *testing.T) {
		require.Equal(t, http.StatusUnauthorized, g.raw("GET /jwks/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\r\n X-Admin: 1\r\n\r\n"))
	})
	t.Run("a header with a NUL", func(t *testing.T) {
		require.Equal(t, http.StatusBadRequest, g.raw("GET /jwks/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a\x00b\r\n\r\n"))
	})
	t.Run("two tokens", func(t *testing.T) {
		fine := sign(hs256, []byte(sharedSecret), good, nil)
		require.Equal(t, http.StatusBadRequest, g.get("/hmac/", append(bearer(fine), bearer("x")...)...).status)
	})
	t.Run("a token of 10 MB", func(t *testing.T) {
		// The answer may get lost, since the gateway hangs up on the rest.
		r, err := g.try(http.MethodGet, "/jwks/", nil, bearer(strings.Repeat("a", 10<<20))...)
		require.True(t, err != nil || r.status == http.StatusRequestHeaderFieldsTooLarge, r.status)
	})
	require.Zero(t, reached.Load())
	require.Zero(t, asked.Load(), "tokens do not say where keys are")
	require.Equal(t, http.StatusOK, g.get("/jwks/", bearer(idp.token("app", "urn:api:RS256"))...).status)
	require.Equal(t, http.StatusOK, g.get("/pem/", bearer(idp.token("app", "urn:api:RS256"))...).status)
	require.Less(t, len(g.log.String()), 1<<20)
}

// raw sends a request as it is written and returns the status of the answer.
func (g *gateway) raw(request string) int {
	g.t.Helper()
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(g.url, "http://"), patience)
	require.NoError(g.t, err)
	defer conn.Close()
	require.NoError(g.t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = io.WriteString(conn, request)
	require.NoError(g.t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(g.t, err)
	defer response.Body.Close()
	return response.StatusCode
}
