package oauth_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/oauth"
)

func TestJWKSKeysAreChosenByIdAndAlgorithm(t *testing.T) {
	encryption := jwk("enc", rsaTwo().Public())
	encryption["use"] = "enc"
	pinned := jwk("ps", rsaOne().Public())
	pinned["alg"] = "PS256"
	short, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // that is the case
	require.NoError(t, err)
	p := newIDP(t, jwks(jwk("one", rsaOne().Public()), jwk("ec", ecOne().Public()), jwk("oct", secret), encryption, pinned,
		jwk("short", short.Public()), members{"kty": "RSA", "kid": "broken", "n": "!"}, members{"kty": "new"}))
	good := members{"sub": "alice"}
	for _, source := range []string{p.URL, base64.StdEncoding.EncodeToString([]byte(p.URL))} {
		f := newChecker(t, byJWT("rsa", source), nil)
		require.Equal(t, "alice", f.who(sign(jwt.SigningMethodRS256, rsaOne(), good, members{"kid": "one"})))
		require.Equal(t, "alice", f.who(sign(jwt.SigningMethodPS256, rsaOne(), good, members{"kid": "ps"})))
		for name, token := range map[string]string{
			"wrong kid":                     sign(jwt.SigningMethodRS256, rsaOne(), good, members{"kid": "nobody"}),
			"kid of another key":            sign(jwt.SigningMethodRS256, rsaOne(), good, members{"kid": "ec"}),
			"kid that is a path":            sign(jwt.SigningMethodRS256, rsaOne(), good, members{"kid": "../../etc/passwd"}),
			"key for encryption":            sign(jwt.SigningMethodRS256, rsaTwo(), good, members{"kid": "enc"}),
			"algorithm the key is not for":  sign(jwt.SigningMethodRS256, rsaOne(), good, members{"kid": "ps"}),
			"short key":                     sign(jwt.SigningMethodRS256, short, good, members{"kid": "short"}),
			"published secret":              sign(jwt.SigningMethodHS256, secret, good, members{"kid": "oct"}),
			"no kid, several keys":          sign(jwt.SigningMethodPS256, rsaOne(), good, nil),
			"signed by the ECDSA key":       sign(jwt.SigningMethodES256, ecOne(), good, members{"kid": "ec"}),
			"key set named by the token":    sign(jwt.SigningMethodRS256, rsaTwo(), good, members{"jku": "https://evil.example", "kid": "x"}),
			"public key as secret, with id": sign(jwt.SigningMethodHS256, []byte(publicPEM(rsaOne().Public())), good, members{"kid": "one"}),
		} {
			t.Run(name, func(t *testing.T) { f.refused(token, oauth.ErrInvalid) })
		}
	}
}

func TestJWKSWithVeryManyKeys(t *testing.T) {
	keys := []members{}
	for range 3000 {
		keys = append(keys, jwk(rand.Text(), ecOne().Public()))
	}
	for range 500 {
		keys = append(keys, jwk("twice", rsaTwo().Public()), jwk("oct", secret))
	}
	p := newIDP(t, jwks(append(keys, jwk("one", rsaOne().Public()))...))
	f := newChecker(t, byJWT("rsa", p.URL), nil)
	good := members{"sub": "alice"}
	require.Equal(t, "alice", f.who(sign(jwt.SigningMethodRS256, rsaOne(), good, members{"kid": "one"})))
	for _, id := range []string{"twice", "", "oct", strings.Repeat("x", 16<<10)} {
		f.refused(sign(jwt.SigningMethodRS256, rsaTwo(), good, members{"kid": id}), oauth.ErrInvalid)
	}
	require.LessOrEqual(t, p.hits.Load(), int64(2))
}

func TestJWKSWithOneKeyNeedsNoKeyID(t *testing.T) {
	p := newIDP(t, jwks(jwk("", ecOne().Public())))
	f := newChecker(t, byJWT("ecdsa", p.URL), nil)
	require.Equal(t, "alice", f.who(sign(jwt.SigningMethodES256, ecOne(), members{"sub": "alice"}, nil)))
}

func TestJWKSRotation(t *testing.T) {
	p := newIDP(t, jwks(jwk("one", rsaOne().Public())))
	f := newChecker(t, byJWT("rsa", p.URL), nil)
	first := sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "alice"}, members{"kid": "one"})
	second := sign(jwt.SigningMethodRS256, rsaTwo(), members{"sub": "bob"}, members{"kid": "two"})
	for range 100 {
		require.Equal(t, "alice", f.who(first))
	}
	require.EqualValues(t, 1, p.hits.Load(), "keys are kept")

	p.answer(jwks(jwk("one", rsaOne().Public()), jwk("two", rsaTwo().Public())))
	require.Equal(t, "bob", f.who(second), "an unknown key is looked for at once")
	require.EqualValues(t, 2, p.hits.Load())

	for range 100 {
		f.refused(sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "x"}, members{"kid": rand.Text()}), oauth.ErrInvalid)
	}
	require.EqualValues(t, 2, p.hits.Load(), "tokens cannot make the gateway fetch keys all the time")

	p.answer(jwks(jwk("two", rsaTwo().Public())))
	f.clock.advance(6 * time.Minute)
	require.Equal(t, "bob", f.who(second), "nobody waits for keys that get old")
	require.Eventually(t, func() bool {
		_, err := f.Check(context.Background(), first)
		return err != nil
	}, limit, time.Millisecond, "a key that was withdrawn is no longer used")
	f.refused(first, oauth.ErrInvalid)
}

func TestJWKSOutage(t *testing.T) {
	p := newIDP(t, text("text/html", "<html>502 Bad Gateway</html>"))
	f := newChecker(t, byJWT("rsa", p.URL), nil)
	token := sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "alice"}, members{"kid": "one"})
	for range 10 {
		f.refused(token, oauth.ErrUnavailable)
	}
	require.LessOrEqual(t, p.hits.Load(), int64(2), "a server in trouble is not hammered")

	p.answer(jwks(jwk("one", rsaOne().Public())))
	f.clock.advance(time.Minute)
	require.Equal(t, "alice", f.who(token))

	p.answer(text("text/html", "down again"))
	f.clock.advance(time.Hour)
	require.Equal(t, "alice", f.who(token), "known keys stay in use while the server is away")
	require.Eventually(t, func() bool { return len(f.trouble()) > 0 }, limit, time.Millisecond)
	require.Contains(t, f.trouble()[0], "stay in use")

	unknown := sign(jwt.SigningMethodRS256, rsaTwo(), members{"sub": "bob"}, members{"kid": "two"})
	f.refused(unknown, oauth.ErrUnavailable)

	f.clock.advance(6 * time.Hour)
	f.refused(token, oauth.ErrUnavailable)
}

func TestJWKSIsFetchedOnceForManyCallers(t *testing.T) {
	release := make(chan struct{})
	keys := jwks(jwk("one", rsaOne().Public()))
	p := newIDP(t, nil)
	p.answer(func(w http.ResponseWriter, r *http.Request) { <-release; keys(w, r) })
	f := newChecker(t, byJWT("rsa", p.URL), nil)
	token := sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "alice"}, members{"kid": "one"})
	results := make(chan error, 100)
	for range 100 {
		go func() {
			_, err := f.Check(context.Background(), token)
			results <- err
		}()
	}
	require.Eventually(t, func() bool { return p.hits.Load() == 1 }, limit, time.Millisecond)
	close(release)
	for range 100 {
		require.NoError(t, <-results)
	}
	require.EqualValues(t, 1, p.hits.Load())
}

func TestJWKSServerThatMisbehaves(t *testing.T) {
	token := sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "alice"}, members{"kid": "one"})
	other := newIDP(t, jwks(jwk("one", rsaOne().Public())))
	for name, tc := range misbehaviours(other.URL) {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t, tc)
			f := newChecker(t, byJWT("rsa", p.URL, func(j *apidef.OAuthJWT) { j.RequestTimeout = 1 }), nil)
			if name == "redirects" {
				require.Equal(t, "alice", f.who(token), "a JWKS may move")
				return
			}
			f.refused(token, oauth.ErrUnavailable)
		})
	}
}
