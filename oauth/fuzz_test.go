package oauth_test

import (
	"errors"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/oauth"
)

// checkOutcome requires what holds for every input: a usable identity, or one of
// the errors of the package.
func checkOutcome(t *testing.T, grant *oauth.Grant, err error) {
	t.Helper()
	if err != nil {
		require.Nil(t, grant)
		require.True(t, errors.Is(err, oauth.ErrInvalid) || errors.Is(err, oauth.ErrUnavailable), err)
		return
	}
	require.NotEmpty(t, grant.Identity)
	require.NotContains(t, grant.Identity, "\n")
	require.NotContains(t, grant.JWT, "\n")
}

// FuzzJWT gives tokens to a checker whose key signs none of the seeds' changes.
func FuzzJWT(f *testing.F) {
	checker, err := oauth.New(oauth.Config{Provider: byJWT("hmac", hmacSource())})
	require.NoError(f, err)
	f.Cleanup(checker.Close)
	good := sign(jwt.SigningMethodHS256, secret, members{"sub": "alice"}, nil)
	f.Add(good)
	f.Add(forge(members{"alg": "none"}, members{"sub": "alice"}, ""))
	f.Add(forge(members{"alg": "HS256", "crit": []string{"b64"}}, members{"sub": 1e300, "exp": -1}, "eA"))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		grant, err := checker.Check(t.Context(), token)
		checkOutcome(t, grant, err)
		require.Equal(t, token == good, err == nil, "only what was signed is accepted")
	})
}

// FuzzClaims signs whatever claims there are.
func FuzzClaims(f *testing.F) {
	p := byJWT("hmac", hmacSource(), func(j *apidef.OAuthJWT) { j.IdentityBaseField, j.Issuer, j.Audience = "user.id", "", nil })
	checker, err := oauth.New(oauth.Config{Provider: p})
	require.NoError(f, err)
	f.Cleanup(checker.Close)
	for _, seed := range []string{`{"sub":"alice","exp":4102444800}`, `{"user":{"id":7},"nbf":1e999}`, `{"sub":"a\r\nb"}`, `null`, `[]`, `{"aud":[1,{}],"iat":{}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, claims []byte) {
		grant, err := checker.Check(t.Context(), signRaw(claims))
		checkOutcome(t, grant, err)
	})
}

// FuzzIntrospectionAnswer lets a provider answer anything.
func FuzzIntrospectionAnswer(f *testing.F) {
	for _, seed := range []struct {
		status      int
		media, body string
	}{
		{200, "application/json", `{"active":true,"sub":"alice","exp":4102444800}`},
		{200, "application/json", `{"active":"true"}`},
		{200, "application/jwt", sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "alice"}, nil)},
		{200, "application/token-introspection+jwt", forge(members{"alg": "RS256"}, members{"token_introspection": members{"active": true, "sub": "a"}}, "eA")},
		{204, "", ""},
		{302, "text/html; charset", "<html>"},
	} {
		f.Add(seed.status, seed.media, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, status int, media string, body []byte) {
		for _, p := range []apidef.OAuthProvider{asking("http://idp.invalid/"), phantom("http://idp.invalid/")} {
			grant, err := oauth.Read(t.Context(), p, status, media, body)
			checkOutcome(t, grant, err)
		}
	})
}

// FuzzJWKS gives anything as a JWKS.
func FuzzJWKS(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"oct","k":"eA"},{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}`))
	f.Add([]byte(`{"keys":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := oauth.ParseKeys(data)
		require.Equal(t, err == nil, n > 0)
	})
}

// FuzzCacheEntry puts anything into the store.
func FuzzCacheEntry(f *testing.F) {
	f.Add([]byte{1})
	f.Add([]byte(`{"active":true}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		require.Error(t, oauth.OpenEntry(asking("http://idp.invalid/", cached(60)), opaque, value), "nothing but what was put there")
	})
}
