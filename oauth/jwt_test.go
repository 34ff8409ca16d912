package oauth_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/oauth"
)

// byJWT is a provider that checks JWTs.
func byJWT(method, source string, more ...func(*apidef.OAuthJWT)) apidef.OAuthProvider {
	p := apidef.OAuthProvider{JWT: apidef.OAuthJWT{Enabled: true, SigningMethod: method, Source: source}}
	for _, change := range more {
		change(&p.JWT)
	}
	return p
}

func hmacSource() string { return base64.StdEncoding.EncodeToString(secret) }

func publicPEM(key any) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestJWTOfEveryConfiguredAlgorithmIsAccepted(t *testing.T) {
	for _, tc := range []struct {
		method, source string
		key            any
		algorithms     []jwt.SigningMethod
	}{
		{"hmac", hmacSource(), secret, []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512}},
		{"rsa", publicPEM(rsaOne().Public()), rsaOne(), []jwt.SigningMethod{
			jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512, jwt.SigningMethodPS256, jwt.SigningMethodPS512,
		}},
		{"ecdsa", base64.StdEncoding.EncodeToString([]byte(publicPEM(ecOne().Public()))), ecOne(), []jwt.SigningMethod{jwt.SigningMethodES256}},
	} {
		f := newChecker(t, byJWT(tc.method, tc.source), nil)
		for _, method := range tc.algorithms {
			t.Run(method.Alg(), func(t *testing.T) {
				token := sign(method, tc.key, members{"sub": "alice", "exp": f.clock.in(time.Hour)}, members{"kid": "any"})
				require.Equal(t, "alice", f.who(token))
			})
		}
	}
}

// forge returns a JWT with that header and claims and a signature of choice.
func forge(header, claims members, signature string) string {
	encode := func(v any) string {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		return base64.RawURLEncoding.EncodeToString(data)
	}
	return encode(header) + "." + encode(claims) + "." + signature
}

func TestJWTAttacksAreRefused(t *testing.T) {
	pemKey := publicPEM(rsaOne().Public())
	good := members{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}
	hmacToken := sign(jwt.SigningMethodHS256, secret, good, nil)
	for _, tc := range []struct{ name, method, source, token string }{
		{"alg none", "rsa", pemKey, forge(members{"alg": "none", "typ": "JWT"}, good, "")},
		{"alg none with a secret", "hmac", hmacSource(), forge(members{"alg": "none"}, good, "")},
		{"alg None", "hmac", hmacSource(), forge(members{"alg": "None"}, good, "eA")},
		{"no alg", "hmac", hmacSource(), forge(members{"typ": "JWT"}, good, "eA")},
		{"alg is a number", "hmac", hmacSource(), forge(members{"alg": 1}, good, "eA")},
		{"public key as HMAC secret", "rsa", pemKey, sign(jwt.SigningMethodHS256, []byte(pemKey), good, nil)},
		{"public key as HMAC secret, DER", "rsa", pemKey, sign(jwt.SigningMethodHS256, x509.MarshalPKCS1PublicKey(&rsaOne().PublicKey), good, nil)},
		{"other family", "rsa", pemKey, sign(jwt.SigningMethodES256, ecOne(), good, nil)},
		{"other curve", "ecdsa", publicPEM(ecOne().Public()), forge(members{"alg": "ES384"}, good, strings.Repeat("A", 128))},
		{"EdDSA", "ecdsa", publicPEM(ecOne().Public()), forge(members{"alg": "EdDSA"}, good, "eA")},
		{"another's key", "rsa", pemKey, sign(jwt.SigningMethodRS256, rsaTwo(), good, nil)},
		{"key in the token itself", "rsa", pemKey, sign(jwt.SigningMethodRS256, rsaTwo(), good, members{"jwk": jwk("x", rsaTwo().Public())})},
		{"changed claims", "hmac", hmacSource(), strings.Replace(hmacToken, ".", ".e", 1)},
		{"cut signature", "hmac", hmacSource(), hmacToken[:len(hmacToken)-2]},
		{"empty signature", "hmac", hmacSource(), hmacToken[:strings.LastIndex(hmacToken, ".")+1]},
		{"critical header", "hmac", hmacSource(), sign(jwt.SigningMethodHS256, secret, good, members{"crit": []string{"x"}, "x": true})},
		{"key id that is no text", "hmac", hmacSource(), sign(jwt.SigningMethodHS256, secret, good, members{"kid": 1})},
		{"answer about a token", "hmac", hmacSource(), sign(jwt.SigningMethodHS256, secret, good, members{"typ": "application/token-introspection+JWT"})},
		{"opaque token", "hmac", hmacSource(), "0b79bab50daca910b000d4f1a2b675d604257e42"},
		{"five parts", "hmac", hmacSource(), "a.b.c.d.e"},
		{"no parts", "hmac", hmacSource(), "..."},
		{"header is no object", "hmac", hmacSource(), "W10.e30.eA"},
		{"claims are null", "hmac", hmacSource(), base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256"}`)) + ".bnVsbA.eA"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			newChecker(t, byJWT(tc.method, tc.source), nil).refused(tc.token, oauth.ErrInvalid)
		})
	}
}

func TestTokenThatCannotBeOneIsRefusedUnread(t *testing.T) {
	f := newChecker(t, byJWT("hmac", hmacSource()), nil)
	for name, token := range map[string]string{
		"empty":                  "",
		"10 MB":                  strings.Repeat("a", 10<<20),
		"10 MB of dots":          strings.Repeat(".", 10<<20),
		"line break":             "abc\r\nX-Admin: true",
		"space":                  "abc def",
		"NUL":                    "abc\x00",
		"not ASCII":              "abcä",
		"just over the limit":    strings.Repeat("a", 32<<10+1),
		"deeply nested in claim": strings.Repeat("[", 1<<20),
	} {
		t.Run(name, func(t *testing.T) { f.refused(token, oauth.ErrInvalid) })
	}
}

func TestJWTTimes(t *testing.T) {
	skewed := func(j *apidef.OAuthJWT) { j.ExpiresAtSkew, j.NotBeforeSkew, j.IssuedAtSkew = 30, 20, 10 }
	f, loose := newChecker(t, byJWT("hmac", hmacSource()), nil), newChecker(t, byJWT("hmac", hmacSource(), skewed), nil)
	at := func(seconds int) int64 { return f.clock.in(time.Duration(seconds) * time.Second) }
	for _, tc := range []struct {
		name          string
		claims        members
		strict, loose error
	}{
		{"no times at all, as in the reference", members{}, nil, nil},
		{"valid", members{"exp": at(60), "nbf": at(-60), "iat": at(-60)}, nil, nil},
		{"expired", members{"exp": at(-60)}, oauth.ErrExpired, oauth.ErrExpired},
		{"expired within the skew", members{"exp": at(-20)}, oauth.ErrExpired, nil},
		{"expires now", members{"exp": at(0)}, oauth.ErrExpired, nil},
		{"exp is 0", members{"exp": 0}, oauth.ErrExpired, oauth.ErrExpired},
		{"exp is negative", members{"exp": -1}, oauth.ErrExpired, oauth.ErrExpired},
		{"exp is huge", members{"exp": math.MaxFloat64}, nil, nil},
		{"exp has a fraction", members{"exp": float64(at(60)) + 0.5}, nil, nil},
		{"not yet valid", members{"nbf": at(60)}, oauth.ErrNotYetValid, oauth.ErrNotYetValid},
		{"not yet valid within the skew", members{"nbf": at(15)}, oauth.ErrNotYetValid, nil},
		{"issued in the future", members{"iat": at(60)}, oauth.ErrNotYetValid, oauth.ErrNotYetValid},
		{"issued in the future within the skew", members{"iat": at(8)}, oauth.ErrNotYetValid, nil},
		{"exp as text", members{"exp": "4102444800"}, oauth.ErrInvalid, oauth.ErrInvalid},
		{"nbf as a list", members{"nbf": []int{1}}, oauth.ErrInvalid, oauth.ErrInvalid},
		{"exp that no number holds", members{"exp": json.Number("1e999")}, oauth.ErrInvalid, oauth.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.claims["sub"] = "alice"
			token := sign(jwt.SigningMethodHS256, secret, tc.claims, nil)
			_, err := f.Check(t.Context(), token)
			require.ErrorIs(t, err, tc.strict)
			_, err = loose.Check(t.Context(), token)
			require.ErrorIs(t, err, tc.loose)
		})
	}
}

func TestIdentity(t *testing.T) {
	for _, tc := range []struct {
		name, field string
		claims      members
		want        string // "": refused
	}{
		{"sub by default", "", members{"sub": "alice"}, "alice"},
		{"named claim", "email", members{"sub": "alice", "email": "a@example.com"}, "a@example.com"},
		{"dotted path", "user.ids.main", members{"user": members{"ids": members{"main": "7"}}}, "7"},
		{"claim with dots in its name", "https://example.com/id", members{"https://example.com/id": "x"}, "x"},
		{"number", "uid", members{"uid": 12345678901234567}, "12345678901234567"},
		{"sub when the claim is absent", "email", members{"sub": "alice"}, "alice"},
		{"sub when the path ends early", "user.id", members{"sub": "alice", "user": "x"}, "alice"},
		{"nothing", "", members{}, ""},
		{"empty text", "email", members{"sub": "alice", "email": ""}, ""},
		{"truth value", "email", members{"sub": "alice", "email": true}, ""},
		{"list", "", members{"sub": []string{"alice"}}, ""},
		{"object", "user", members{"sub": "alice", "user": members{"id": 1}}, ""},
		{"line break, for a header", "", members{"sub": "alice\r\nX-Admin: true"}, ""},
		{"NUL", "", members{"sub": "alice\x00"}, ""},
		{"too long", "", members{"sub": strings.Repeat("a", 1025)}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newChecker(t, byJWT("hmac", hmacSource(), func(j *apidef.OAuthJWT) { j.IdentityBaseField = tc.field }), nil)
			token := sign(jwt.SigningMethodHS256, secret, tc.claims, nil)
			if tc.want == "" {
				f.refused(token, oauth.ErrNoIdentity)
				return
			}
			require.Equal(t, tc.want, f.who(token))
		})
	}
}

func TestJWTIssuerAndAudience(t *testing.T) {
	f := newChecker(t, byJWT("hmac", hmacSource(), func(j *apidef.OAuthJWT) {
		j.Issuer, j.Audience = "https://idp.example", []string{"orders", "https://orders.example"}
	}), nil)
	for _, tc := range []struct {
		name     string
		iss, aud any
		ok       bool
	}{
		{"both right", "https://idp.example", "orders", true},
		{"one of a list", "https://idp.example", []any{1, "x", "https://orders.example"}, true},
		{"other issuer", "https://idp.example.evil", "orders", false},
		{"no issuer", nil, "orders", false},
		{"other audience", "https://idp.example", "payments", false},
		{"no audience", "https://idp.example", nil, false},
		{"audience is an object", "https://idp.example", members{"orders": true}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token := sign(jwt.SigningMethodHS256, secret, members{"sub": "alice", "iss": tc.iss, "aud": tc.aud}, nil)
			if tc.ok {
				require.Equal(t, "alice", f.who(token))
				return
			}
			f.refused(token, oauth.ErrInvalid)
		})
	}
}

func TestNewNamesTheSettingAtFault(t *testing.T) {
	noCA := t.TempDir() + "/none.pem"
	empty := t.TempDir() + "/empty.pem"
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for _, tc := range []struct {
		provider apidef.OAuthProvider
		want     string
	}{
		{apidef.OAuthProvider{}, "external_oauth: providers[0] enables neither jwt nor introspection"},
		{byJWT("rsa", "dHlrLTEyMw=="), "external_oauth: jwt: source holds no public key"},
		{byJWT("hmac", "dHlrLTEyMw==", func(j *apidef.OAuthJWT) { j.TLS.CAFile = noCA }), "tls.ca_file"},
		{byJWT("hmac", "dHlrLTEyMw==", func(j *apidef.OAuthJWT) { j.TLS.CAFile = empty }), "holds no certificate"},
	} {
		_, err := oauth.New(oauth.Config{Provider: tc.provider})
		require.ErrorContains(t, err, tc.want)
	}
}

func TestJWTWinsOverIntrospection(t *testing.T) {
	p := byJWT("hmac", hmacSource())
	p.Introspection = apidef.OAuthIntrospection{Enabled: true, URL: "http://127.0.0.1:1/", ClientID: "a"}
	f := newChecker(t, p, nil)
	require.Equal(t, "alice", f.who(sign(jwt.SigningMethodHS256, secret, members{"sub": "alice"}, nil)))
}
