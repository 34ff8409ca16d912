package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/oauth"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit bounds every wait of the tests.
const limit = 20 * time.Second

// clock is a clock that tests move.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }
func (c *clock) in(d time.Duration) int64 {
	return c.now().Add(d).Unix()
}

// fixture is a Checker with its surroundings.
type fixture struct {
	*oauth.Checker
	t     *testing.T
	clock *clock
	store store.Store

	mu       sync.Mutex
	troubles []string
}

func newStore(t *testing.T) store.Store {
	t.Helper()
	mem, err := memory.New(memory.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, mem.Close()) })
	return mem
}

func newChecker(t *testing.T, p apidef.OAuthProvider, kept store.Store) *fixture {
	t.Helper()
	f := &fixture{t: t, clock: &clock{}, store: kept}
	var err error
	f.Checker, err = oauth.New(oauth.Config{
		Provider: p, Store: kept, Now: f.clock.now,
		Trouble: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.troubles = append(f.troubles, err.Error())
		},
	})
	require.NoError(t, err)
	t.Cleanup(f.Close)
	return f
}

func (f *fixture) trouble() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.troubles...)
}

// who returns the identity of a token that has to be valid.
func (f *fixture) who(token string) string {
	f.t.Helper()
	grant, err := f.Check(f.t.Context(), token)
	require.NoError(f.t, err)
	return grant.Identity
}

// refused requires that token is refused with target, and that the error tells
// nothing of the token.
func (f *fixture) refused(token string, target error) {
	f.t.Helper()
	grant, err := f.Check(f.t.Context(), token)
	require.ErrorIs(f.t, err, target)
	require.Nil(f.t, grant)
	if len(token) > 8 {
		require.NotContains(f.t, err.Error(), token)
	}
}

// idp is an identity provider: handlers that tests replace, and counts.
type idp struct {
	*httptest.Server
	hits   atomic.Int64
	handle atomic.Pointer[http.HandlerFunc]
	last   atomic.Pointer[http.Request]
}

func newIDP(t testing.TB, handle http.HandlerFunc) *idp {
	t.Helper()
	p := &idp{}
	p.handle.Store(&handle)
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *idp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.hits.Add(1)
	_ = r.ParseForm()
	p.last.Store(r)
	(*p.handle.Load())(w, r)
}

func (p *idp) answer(handle http.HandlerFunc) { p.handle.Store(&handle) }

// text answers with body of that type.
func text(media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		_, _ = io.WriteString(w, body)
	}
}

func object(value any) http.HandlerFunc {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return text("application/json; charset=utf-8", string(data))
}

type members = map[string]any

// Keys of the tests, made once.
var (
	rsaOne, rsaTwo = sync.OnceValue(newRSA), sync.OnceValue(newRSA)
	ecOne          = sync.OnceValue(newEC)
	secret         = []byte("0123456789abcdef0123456789abcdef")
)

func newRSA() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

func newEC() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// sign returns a JWT; header adds members to its header.
func sign(method jwt.SigningMethod, key any, claims members, header members) string {
	token := jwt.NewWithClaims(method, jwt.MapClaims(claims))
	for name, value := range header {
		token.Header[name] = value
	}
	text, err := token.SignedString(key)
	if err != nil {
		panic(err)
	}
	return text
}

// jwk returns the JWK of a public key.
func jwk(id string, key any) members {
	encode := base64.RawURLEncoding.EncodeToString
	switch k := key.(type) {
	case *rsa.PublicKey:
		return members{"kty": "RSA", "kid": id, "use": "sig", "n": encode(k.N.Bytes()), "e": "AQAB"}
	case *ecdsa.PublicKey:
		raw, err := k.Bytes()
		if err != nil {
			panic(err)
		}
		size := (len(raw) - 1) / 2
		return members{"kty": "EC", "crv": "P-256", "kid": id, "x": encode(raw[1 : 1+size]), "y": encode(raw[1+size:])}
	case []byte:
		return members{"kty": "oct", "kid": id, "k": encode(k)}
	}
	panic("unknown key")
}

func jwks(keys ...members) http.HandlerFunc { return object(members{"keys": keys}) }

// signRaw returns a JWT with claims that need not be JSON.
func signRaw(claims []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	text := encode([]byte(`{"alg":"HS256"}`)) + "." + encode(claims)
	signature, err := jwt.SigningMethodHS256.Sign(text, secret)
	if err != nil {
		panic(err)
	}
	return text + "." + encode(signature)
}
