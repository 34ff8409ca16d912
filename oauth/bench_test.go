package oauth_test

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/oauth"
	"github.com/krait-gateway/krait/store/memory"
)

// BenchmarkCheck is what each request pays once keys and outcomes are known.
func BenchmarkCheck(b *testing.B) {
	claims := members{"sub": "alice", "scope": "orders:read orders:write", "exp": time.Now().Add(time.Hour).Unix()}
	p := newIDP(b, object(members{"active": true, "sub": "alice", "exp": claims["exp"]}))
	kept, err := memory.New(memory.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, kept.Close()) })
	for _, bm := range []struct {
		name     string
		provider apidef.OAuthProvider
		token    string
	}{
		{"HS256", byJWT("hmac", hmacSource()), sign(jwt.SigningMethodHS256, secret, claims, nil)},
		{"RS256", byJWT("rsa", publicPEM(rsaOne().Public())), sign(jwt.SigningMethodRS256, rsaOne(), claims, nil)},
		{"ES256", byJWT("ecdsa", publicPEM(ecOne().Public())), sign(jwt.SigningMethodES256, ecOne(), claims, nil)},
		{"introspection in the cache", asking(p.URL, cached(0)), opaque},
	} {
		b.Run(bm.name, func(b *testing.B) {
			checker, err := oauth.New(oauth.Config{Provider: bm.provider, Store: kept})
			require.NoError(b, err)
			b.Cleanup(checker.Close)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := checker.Check(b.Context(), bm.token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
