package oauth_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/oauth"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func phantom(url string, more ...func(*apidef.OAuthIntrospection)) apidef.OAuthProvider {
	return asking(url, append([]func(*apidef.OAuthIntrospection){
		func(i *apidef.OAuthIntrospection) { i.PhantomToken = true },
	}, more...)...)
}

func asRFC9701(i *apidef.OAuthIntrospection) { i.Accept = apidef.AcceptIntrospectionJWT }

func TestPhantomTokenReplacesTheToken(t *testing.T) {
	inAnHour := time.Now().Add(time.Hour).Unix()
	plain := sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "alice", "exp": inAnHour}, members{"kid": "one"})
	nested := sign(jwt.SigningMethodRS256, rsaOne(), members{
		"iss": "https://idp.example", "aud": "krait", "iat": time.Now().Unix(),
		"token_introspection": members{"active": true, "sub": "alice", "exp": inAnHour},
	}, members{"kid": "one", "typ": "token-introspection+jwt"})
	draft := sign(jwt.SigningMethodRS256, rsaOne(), members{"active": true, "sub": "alice"}, members{"kid": "one"})
	for _, tc := range []struct {
		name, accept, media, token string
		change                     func(*apidef.OAuthIntrospection)
	}{
		{"application/jwt", "application/jwt", "application/jwt", plain, func(*apidef.OAuthIntrospection) {}},
		{"application/jwt with a parameter and a line break", "application/jwt", "application/jwt;charset=UTF-8", plain + "\n", func(*apidef.OAuthIntrospection) {}},
		{"RFC 9701", "application/token-introspection+jwt", "application/token-introspection+jwt", nested, asRFC9701},
		{"RFC 9701 answered to application/jwt", "application/jwt", "application/token-introspection+jwt", nested, func(*apidef.OAuthIntrospection) {}},
		{"older draft of RFC 9701", "application/token-introspection+jwt", "application/token-introspection+jwt", draft, asRFC9701},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newIDP(t, text(tc.media, tc.token))
			grant, err := newChecker(t, phantom(p.URL, tc.change), nil).Check(t.Context(), opaque)
			require.NoError(t, err)
			require.Equal(t, "alice", grant.Identity)
			require.Equal(t, strings.TrimSpace(tc.token), grant.JWT)
			require.Equal(t, true, grant.Claims["active"])
			require.Equal(t, tc.accept, p.last.Load().Header.Get("Accept"))
		})
	}
}

func TestJWTAnswerWithoutPhantomTokenStaysHere(t *testing.T) {
	token := sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "alice"}, nil)
	p := newIDP(t, text("application/jwt", token))
	grant, err := newChecker(t, asking(p.URL, func(i *apidef.OAuthIntrospection) { i.Accept = apidef.AcceptJWT }), nil).Check(t.Context(), opaque)
	require.NoError(t, err)
	require.Empty(t, grant.JWT)
}

func TestPhantomAnswersThatGrantNothing(t *testing.T) {
	method, key := jwt.SigningMethodRS256, rsaOne()
	good := members{"active": true, "sub": "alice"}
	past := time.Now().Add(-time.Hour).Unix()
	for _, tc := range []struct {
		name, media, body string
		want              error
	}{
		{"JSON: not active", "application/json", `{"active": false}`, oauth.ErrInactive},
		{"JSON: active, but no JWT to send", "application/json", `{"active": true, "sub": "alice"}`, oauth.ErrUnavailable},
		{"not active in the JWT", "application/jwt", sign(method, key, members{"active": false}, nil), oauth.ErrInactive},
		{"not active inside", "application/jwt", sign(method, key, members{"active": true, "token_introspection": members{"active": false}}, nil), oauth.ErrInactive},
		{"active as text", "application/jwt", sign(method, key, members{"active": "true", "sub": "alice"}, nil), oauth.ErrUnavailable},
		{"active missing inside", "application/jwt", sign(method, key, members{"token_introspection": members{"sub": "alice"}}, nil), oauth.ErrUnavailable},
		{"token_introspection is text", "application/jwt", sign(method, key, members{"active": true, "token_introspection": "x"}, nil), oauth.ErrUnavailable},
		{"expired", "application/jwt", sign(method, key, members{"sub": "alice", "exp": past}, nil), oauth.ErrExpired},
		{"expired outside", "application/jwt", sign(method, key, members{"exp": past, "token_introspection": good}, nil), oauth.ErrExpired},
		{"alg none", "application/jwt", forge(members{"alg": "none"}, good, ""), oauth.ErrUnavailable},
		{"no signature", "application/jwt", forge(members{"alg": "RS256"}, good, ""), oauth.ErrUnavailable},
		{"encrypted", "application/jwt", "a.b.c.d.e", oauth.ErrUnavailable},
		{"header injection", "application/jwt", "e30.e30.eA\r\nX-Admin: true", oauth.ErrUnavailable},
		{"too long for a header", "application/jwt", sign(method, key, members{"active": true, "sub": strings.Repeat("a", 33<<10)}, nil), oauth.ErrUnavailable},
		{"plain text", "text/plain", sign(method, key, good, nil), oauth.ErrUnavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newIDP(t, text(tc.media, tc.body))
			newChecker(t, phantom(p.URL), nil).refused(opaque, tc.want)
		})
	}
	t.Run("no content", func(t *testing.T) {
		p := newIDP(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		newChecker(t, phantom(p.URL), nil).refused(opaque, oauth.ErrInactive)
		newChecker(t, asking(p.URL), nil).refused(opaque, oauth.ErrUnavailable)
	})
	t.Run("JWT although JSON was asked for", func(t *testing.T) {
		p := newIDP(t, text("application/jwt", sign(method, key, good, nil)))
		newChecker(t, asking(p.URL), nil).refused(opaque, oauth.ErrUnavailable)
	})
}

func TestSignedAnswersAreVerified(t *testing.T) {
	keys := newIDP(t, jwks(jwk("one", rsaOne().Public())))
	inner := members{"active": true, "sub": "alice"}
	claims := func(change members) members {
		all := members{"iss": "https://idp.example", "aud": []string{"krait"}, "token_introspection": inner}
		for name, value := range change {
			all[name] = value
		}
		return all
	}
	id := members{"kid": "one"}
	for _, tc := range []struct {
		name, media, body string
		ok                bool
	}{
		{"right", "application/token-introspection+jwt", sign(jwt.SigningMethodRS256, rsaOne(), claims(nil), id), true},
		{"other key", "application/token-introspection+jwt", sign(jwt.SigningMethodRS256, rsaTwo(), claims(nil), id), false},
		{"public key as secret", "application/token-introspection+jwt", sign(jwt.SigningMethodHS256, []byte(publicPEM(rsaOne().Public())), claims(nil), id), false},
		{"alg none", "application/token-introspection+jwt", forge(members{"alg": "none", "kid": "one"}, claims(nil), ""), false},
		{"other issuer", "application/token-introspection+jwt", sign(jwt.SigningMethodRS256, rsaOne(), claims(members{"iss": "x"}), id), false},
		{"for another client", "application/token-introspection+jwt", sign(jwt.SigningMethodRS256, rsaOne(), claims(members{"aud": "x"}), id), false},
		{"not signed at all", "application/json", `{"active": true, "sub": "alice"}`, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newIDP(t, text(tc.media, tc.body))
			f := newChecker(t, phantom(p.URL, asRFC9701, func(i *apidef.OAuthIntrospection) {
				i.JWKSURL, i.Issuer = keys.URL, "https://idp.example"
			}), nil)
			if tc.ok {
				require.Equal(t, "alice", f.who(opaque))
				return
			}
			f.refused(opaque, oauth.ErrUnavailable)
		})
	}
	t.Run("keys are away", func(t *testing.T) {
		p := newIDP(t, text("application/token-introspection+jwt", sign(jwt.SigningMethodRS256, rsaOne(), claims(nil), id)))
		f := newChecker(t, phantom(p.URL, asRFC9701, func(i *apidef.OAuthIntrospection) { i.JWKSURL = "http://127.0.0.1:1/jwks" }), nil)
		f.refused(opaque, oauth.ErrUnavailable)
	})
}
