package tests_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/internal/redisserver"
)

// phantomPlugin is a plugin server as the public guide's: it knows nothing of
// krait, gets every request of an API as auth_check and exchanges the opaque
// token for a JWT, which it keeps until that expires.
type phantomPlugin struct {
	coprocesspb.UnimplementedDispatcherServer
	introspectionURL string

	mutex sync.Mutex
	kept  map[string]phantomJWT // by opaque token
}

type phantomJWT struct {
	text    string
	expires time.Time
}

func (p *phantomPlugin) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	r := obj.GetRequest()
	token := strings.TrimPrefix(r.GetHeaders()["Authorization"], "Bearer ")
	jwt, err := p.exchange(ctx, token)
	switch {
	case err != nil:
		return nil, err
	case jwt == "":
		r.ReturnOverrides = &coprocesspb.ReturnOverrides{
			ResponseCode: http.StatusUnauthorized, ResponseError: "token is not active",
			Headers: map[string]string{"WWW-Authenticate": "Bearer"},
		}
	default:
		r.SetHeaders = map[string]string{"Authorization": "Bearer " + jwt}
		obj.Metadata = map[string]string{"token": token}
		obj.Session = &coprocesspb.SessionState{Rate: 10_000, Per: 1}
	}
	return obj, nil
}

func (p *phantomPlugin) exchange(ctx context.Context, token string) (string, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if jwt, ok := p.kept[token]; ok && time.Now().Before(jwt.expires) {
		return jwt.text, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.introspectionURL,
		strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Accept", "application/jwt")
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth("basic", "basic-secret")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode == http.StatusNoContent {
		return "", err
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if err := decodeJWT(string(text), 1, &claims); err != nil {
		return "", fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	p.kept[token] = phantomJWT{text: string(text), expires: time.Unix(claims.Exp, 0)}
	return string(text), nil
}

// decodeJWT decodes the part of a JWT with that index.
func decodeJWT(jwt string, part int, into any) error {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return fmt.Errorf("%d parts, no JWT", len(parts))
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[part])
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// requireJWT checks the signature of a JWT, as an upstream would, with the keys
// that the server publishes, and returns its claims.
func (s *identityServer) requireJWT(jwt string) object {
	s.t.Helper()
	var header struct{ Alg, Kid string }
	require.NoError(s.t, decodeJWT(jwt, 0, &header), jwt)
	require.Equal(s.t, "RS256", header.Alg)
	response, err := http.Get(s.direct + keysPath)
	require.NoError(s.t, err)
	defer response.Body.Close()
	var published struct {
		Keys []struct{ Kid, N, E string }
	}
	require.NoError(s.t, json.NewDecoder(response.Body).Decode(&published))
	number := func(text string) *big.Int {
		data, err := base64.RawURLEncoding.DecodeString(text)
		require.NoError(s.t, err)
		return new(big.Int).SetBytes(data)
	}
	for _, key := range published.Keys {
		if key.Kid != header.Kid {
			continue
		}
		signed := jwt[:strings.LastIndex(jwt, ".")]
		sum := sha256.Sum256([]byte(signed))
		public := &rsa.PublicKey{N: number(key.N), E: int(number(key.E).Int64())}
		signature := number(jwt[len(signed)+1:]).FillBytes(make([]byte, public.Size()))
		require.NoError(s.t, rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature))
		var claims object
		require.NoError(s.t, decodeJWT(jwt, 1, &claims))
		return claims
	}
	require.Fail(s.t, "the JWT is signed with a key that the server does not publish")
	return nil
}

// TestPhantomTokens runs the flow of the public guide: an opaque token in, a JWT
// out, 401 when the token is not active.
func TestPhantomTokens(t *testing.T) {
	idp := startIdentityServer(t)

	t.Run("a plugin server behind gRPC, wired as the guide says", func(t *testing.T) {
		plugin := &phantomPlugin{introspectionURL: idp.url + introspectionPath, kept: map[string]phantomJWT{}}
		address, _ := serveGRPC(t, func(server *grpc.Server) {
			coprocesspb.RegisterDispatcherServer(server, plugin)
		}, "tcp", "127.0.0.1:0")
		s, options := remote(t, "tcp://"+address)
		delete(options, "venv")
		s.conf["enable_coprocess"] = true
		s.conf["storage"] = object{"type": "redis", "addrs": []string{redisserver.Start(t).Addr()}}
		s.conf["public_key_path"] = filepath.Join(s.dir, "public.pem")
		run(t, s.dir, "openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "key.pem")
		run(t, s.dir, "openssl", "rsa", "-in", "key.pem", "-pubout", "-out", "public.pem")
		s.write("manifest.json", `{"file_list": [], "custom_middleware": {"driver": "grpc", "auth_check": {"name": "PhantomToken"}}}`)
		built, err := krait(t, s.dir, "bundle", "build", "-k", "key.pem", "-o", filepath.Join(s.served, "phantom-bundle.zip"))
		require.NoError(t, err, built)
		s.pluginAPI("api", "phantom-bundle.zip", echo(t), object{})
		testPhantomToken(t, idp, s.start(), "")
	})
	for accept, member := range map[string]string{
		"application/jwt":                     "",
		"application/token-introspection+jwt": "token_introspection", // RFC 9701
	} {
		t.Run("the Python example: "+accept, func(t *testing.T) {
			s := newSite(t)
			s.buildAtRoot("examples/phantom/manifest.json", "phantom.zip")
			s.pluginAPI("api", "phantom.zip", echo(t), idp.introspectBy(object{"accept": accept}))
			testPhantomToken(t, idp, s.start(), member)
		})
		t.Run("the option of introspection: "+accept, func(t *testing.T) {
			s := newSite(t)
			upstream := echo(t)
			for id, cache := range map[string]any{"api": nil, "brief": object{"enabled": true, "timeout": 1}} {
				s.externalOAuth(id, upstream, idp.introspection(object{
					"phantom_token": true, "accept": accept, "jwks_url": idp.url + keysPath, "cache": cache,
				}))
			}
			g := s.start()
			testPhantomToken(t, idp, g, member)
			testRevokedPhantomToken(t, idp, g, "/brief/", "app")
		})
	}
}

// testPhantomToken calls /api/; the claims are below member of the JWT.
func testPhantomToken(t *testing.T, idp *identityServer, g *gateway, member string) {
	t.Helper()
	before := idp.introspections()
	introspections := func() int { return idp.introspections() - before }

	token, short := idp.token("app", ""), idp.token("short", "")
	require.Equal(t, http.StatusOK, g.get("/api/", bearer(short)...).status)
	require.Equal(t, map[int]int{http.StatusOK: manyRequests}, g.atOnce("/api/", token))
	require.Equal(t, 2, introspections(), "two tokens, one of them in many requests at once")

	got := g.get("/api/", bearer(token)...).echoed(t).Header.Values("Authorization")
	require.Len(t, got, 1)
	claims := idp.requireJWT(strings.TrimPrefix(got[0], "Bearer "))
	if member != "" {
		claims, _ = claims[member].(object)
	}
	require.Equal(t, "app", claims["client_id"])

	r := g.get("/api/", bearer("not-a-token")...)
	require.Equal(t, http.StatusUnauthorized, r.status)
	require.Contains(t, r.header.Get("WWW-Authenticate"), "Bearer")
	require.Equal(t, 3, introspections())

	g.awaitStatus(http.StatusUnauthorized, "/api/", short)
	expired := introspections()
	// None when its session has expired, and has not gone yet.
	require.Contains(t, []int{3, 4}, expired, "after its time a token is asked for at most once more")

	another := idp.token("app", "")
	for range manyRequests {
		require.Equal(t, http.StatusOK, g.get("/api/", bearer(another)...).status)
	}
	require.Equal(t, expired+1, introspections(), "many requests, one after the other")
	testRevokedPhantomToken(t, idp, g, "/api/", "short") // kept until it expires
	for _, secret := range []string{token, short, another} {
		require.NotContains(t, g.log.String(), secret)
	}
}

// testRevokedPhantomToken shows that a token of client that was let in at path,
// and then revoked, stays in until what is kept of it is too old.
func testRevokedPhantomToken(t *testing.T, idp *identityServer, g *gateway, path, client string) {
	t.Helper()
	token := idp.token(client, "")
	require.Equal(t, http.StatusOK, g.get(path, bearer(token)...).status)
	before := idp.introspections()
	idp.revoke(client, token)
	revoked := time.Now()
	g.awaitStatus(http.StatusUnauthorized, path, token)
	require.Less(t, time.Since(revoked), 5*time.Second)
	// None when what is kept has expired, and has not gone yet.
	require.LessOrEqual(t, idp.introspections(), before+1)
}
