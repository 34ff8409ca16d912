package tests_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
)

// externalOAuth is an API that takes tokens of the provider, in the classic form.
func (s *site) externalOAuth(id, upstream string, provider object) {
	s.t.Helper()
	s.api(id, upstream, object{
		"use_keyless":    false,
		"auth_configs":   object{"externalOAuth": object{"auth_header_name": "Authorization"}},
		"external_oauth": object{"enabled": true, "providers": []object{provider}},
	})
}

// externalOAuthOAS is the same in the OAS form.
func (s *site) externalOAuthOAS(id, upstream string, provider object) {
	s.t.Helper()
	s.oas(id, upstream, object{"authentication": object{
		"enabled": true,
		"securitySchemes": object{"external": object{
			"enabled": true, "header": object{"enabled": true, "name": "Authorization"}, "providers": []object{provider},
		}},
	}}, object{})
}

// introspection is a provider in the classic form; its caller is the client that
// got the token.
func (s *identityServer) introspection(more object) object {
	members := object{
		"enabled": true, "url": s.url + introspectionPath, "client_id": "form", "client_secret": "form-secret",
		"identity_base_field": "client_id",
	}
	for key, value := range more {
		members[key] = value
	}
	return object{"introspection": members}
}

// TestExternalOAuthIntrospection has the same proofs as the reference plugin's,
// for each spelling of a definition.
func TestExternalOAuthIntrospection(t *testing.T) {
	idp := startIdentityServer(t)
	options := &redis.Options{Addr: redisserver.Start(t).Addr()}
	s := newSite(t)
	s.conf["storage"] = object{"type": "redis", "addrs": []string{options.Addr}}
	upstream := echo(t)
	cache := object{"enabled": true, "timeout": 0}
	s.externalOAuth("classic", upstream, idp.introspection(object{"cache": cache}))
	for id, name := range map[string]string{"oas": "clientId", "oas-id": "clientID"} {
		s.externalOAuthOAS(id, upstream, object{"introspection": object{
			"enabled": true, "url": idp.url + introspectionPath, name: "form", "clientSecret": "form-secret",
			"identityBaseField": "client_id", "cache": cache,
		}})
	}
	s.externalOAuth("brief", upstream, idp.introspection(object{"cache": object{"enabled": true, "timeout": 1}}))
	s.externalOAuth("uncached", upstream, idp.introspection(nil))
	s.externalOAuth("basic", upstream, idp.introspection(object{
		"client_id": "basic", "client_secret": "basic-secret", "client_auth": "basic",
	}))
	s.externalOAuth("stranger", upstream, idp.introspection(object{"client_secret": "wrong"}))
	g := s.start()

	idp.testCaching(t, g, "/classic/", "/brief/")
	for _, id := range []string{"classic", "oas", "oas-id"} {
		t.Run("a definition: "+id, func(t *testing.T) {
			path, token := "/"+id+"/", idp.token("app", "")
			require.Equal(t, 1, idp.introspectionsOf(func() {
				for range 3 {
					require.Equal(t, http.StatusOK, g.get(path, bearer(token)...).status)
				}
			}))
			r := g.get(path, bearer("not-a-token")...)
			require.Equal(t, http.StatusUnauthorized, r.status)
			require.Contains(t, r.header.Get("WWW-Authenticate"), `Bearer error="invalid_token"`)
			require.Equal(t, http.StatusBadRequest, g.get(path).status)
		})
	}
	t.Run("without a cache a revoked token is refused at once", func(t *testing.T) {
		token := idp.token("app", "")
		require.Equal(t, http.StatusOK, g.get("/uncached/", bearer(token)...).status)
		idp.revoke("app", token)
		require.Equal(t, http.StatusUnauthorized, g.get("/uncached/", bearer(token)...).status)
	})
	t.Run("credentials by HTTP Basic", func(t *testing.T) {
		require.Equal(t, http.StatusOK, g.get("/basic/", bearer(idp.token("app", ""))...).status)
	})
	t.Run("credentials that the provider does not know", func(t *testing.T) {
		require.Equal(t, http.StatusInternalServerError, g.get("/stranger/", bearer(idp.token("app", ""))...).status)
	})
	requireNowhere(t, options, idp.issued...)
	for _, token := range idp.issued {
		require.NotContains(t, g.log.String(), token)
	}
}

// TestExternalOAuthOfSeveralGateways shows that gateways with one Redis need one
// introspection together, and that a revoked token that one of them refuses does
// not get in at the other.
func TestExternalOAuthOfSeveralGateways(t *testing.T) {
	idp := startIdentityServer(t)
	options := &redis.Options{Addr: redisserver.Start(t).Addr()}
	upstream := echo(t)
	gateways := make([]*gateway, 2)
	for i := range gateways {
		s := newSite(t)
		s.conf["storage"] = object{"type": "redis", "addrs": []string{options.Addr}}
		s.externalOAuth("api", upstream, idp.introspection(object{"cache": object{"enabled": true, "timeout": 0}}))
		s.externalOAuth("phantom", upstream, idp.introspection(object{"phantom_token": true, "jwks_url": idp.url + keysPath}))
		s.externalOAuth("brief", upstream, idp.introspection(object{"cache": object{"enabled": true, "timeout": 1}}))
		gateways[i] = s.start()
	}
	for _, path := range []string{"/api/", "/phantom/"} {
		token, before := idp.token("app", ""), idp.introspections()
		got := map[string]bool{}
		for range 10 {
			for _, g := range gateways {
				got[g.get(path, bearer(token)...).echoed(t).Header.Get("Authorization")] = true
			}
		}
		require.Len(t, got, 1, "the same for both")
		require.Equal(t, before+1, idp.introspections())
	}
	token := idp.token("app", "")
	require.Equal(t, http.StatusOK, gateways[0].get("/brief/", bearer(token)...).status)
	idp.revoke("app", token)
	gateways[0].awaitStatus(http.StatusUnauthorized, "/brief/", token)
	require.Equal(t, http.StatusUnauthorized, gateways[1].get("/brief/", bearer(token)...).status)

	require.Equal(t, http.StatusUnauthorized, gateways[0].get("/api/", bearer("not-a-token")...).status)
	requireNowhere(t, options, idp.issued...)
}

func TestExternalOAuthWithoutItsIdentityServer(t *testing.T) {
	idp := startIdentityServer(t)
	s := newSite(t)
	s.externalOAuth("api", echo(t), idp.introspection(object{
		"request_timeout": 1, "cache": object{"enabled": true, "timeout": 0},
	}))
	g := s.start()
	known := idp.token("app", "")
	require.Equal(t, http.StatusOK, g.get("/api/", bearer(known)...).status)
	requireRefused := func(t *testing.T) {
		t.Helper()
		began := time.Now()
		require.Equal(t, map[int]int{http.StatusInternalServerError: manyRequests}, g.atOnce("/api/", idp.token("app", "")))
		require.Less(t, time.Since(began), patience)
		require.Equal(t, http.StatusOK, g.get("/api/", bearer(known)...).status, "who was let in stays in")
	}
	t.Run("it hangs", func(t *testing.T) {
		idp.failWith(hangs)
		requireRefused(t)
		idp.failWith(nil)
	})
	t.Run("it is there again", func(t *testing.T) {
		g.awaitStatus(http.StatusOK, "/api/", idp.token("app", ""))
	})
	t.Run("it is gone", func(t *testing.T) {
		idp.front.Close()
		requireRefused(t)
	})
}

func TestExternalOAuthJWT(t *testing.T) {
	idp := startIdentityServer(t)
	s := newSite(t)
	upstream := echo(t)
	jwt := func(method, source string) object {
		return object{"jwt": object{
			"enabled": true, "signing_method": method, "source": source, "identity_base_field": "sub",
			"issued_at_validation_skew": 0, "not_before_validation_skew": 0, "expires_at_validation_skew": 0,
		}}
	}
	keys := idp.url + keysPath
	encoded := base64.StdEncoding.EncodeToString
	s.externalOAuth("rsa", upstream, jwt("rsa", keys))
	s.externalOAuth("ecdsa", upstream, jwt("ecdsa", encoded([]byte(keys))))
	s.externalOAuth("hmac", upstream, jwt("hmac", encoded([]byte(sharedSecret))))
	s.externalOAuthOAS("oas", upstream, object{"jwt": object{
		"enabled": true, "signingMethod": "RSA", "source": keys, "identityBaseField": "sub",
	}})
	s.externalOAuth("elsewhere", upstream, object{"jwt": object{
		"enabled": true, "signing_method": "rsa", "source": keys, "audience": []string{"urn:another-api"},
	}})
	g := s.start()

	tokens := map[string]string{}
	for _, alg := range []string{"RS256", "ES256", "HS256"} {
		tokens[alg] = idp.token("app", "urn:api:"+alg)
	}
	for api, accepted := range map[string]string{
		"rsa": "RS256", "oas": "RS256", "ecdsa": "ES256", "hmac": "HS256", "elsewhere": "",
	} {
		t.Run(api, func(t *testing.T) {
			for alg, token := range tokens {
				want := http.StatusUnauthorized
				if alg == accepted {
					want = http.StatusOK
				}
				require.Equal(t, want, g.get("/"+api+"/", bearer(token)...).status, alg)
			}
			opaque := g.get("/"+api+"/", bearer(idp.token("app", ""))...)
			require.Equal(t, http.StatusUnauthorized, opaque.status)
			require.Contains(t, opaque.header.Get("WWW-Authenticate"), `Bearer error="invalid_token"`)
		})
	}
	t.Run("an altered token", func(t *testing.T) {
		parts := strings.Split(tokens["RS256"], ".")
		header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
		for _, token := range []string{
			header + "." + parts[1] + ".",
			parts[0] + "." + parts[1] + "." + strings.Split(idp.token("app", "urn:api:RS256"), ".")[2],
		} {
			require.Equal(t, http.StatusUnauthorized, g.get("/rsa/", bearer(token)...).status)
		}
	})
	t.Run("many requests fetch the keys once", func(t *testing.T) {
		before := idp.asked(keysPath)
		require.Equal(t, map[int]int{http.StatusOK: manyRequests}, g.atOnce("/rsa/", tokens["RS256"]))
		require.Equal(t, before, idp.asked(keysPath))
		require.Zero(t, idp.introspections())
	})
	t.Run("an expired token", func(t *testing.T) {
		short := idp.token("short", "urn:api:RS256")
		require.Equal(t, http.StatusOK, g.get("/rsa/", bearer(short)...).status)
		g.awaitStatus(http.StatusUnauthorized, "/rsa/", short)
	})
	t.Run("the provider changes its keys", func(t *testing.T) {
		before := idp.asked(keysPath)
		idp.rotate(false)
		fresh := idp.token("app", "urn:api:RS256")
		require.Equal(t, http.StatusOK, g.get("/rsa/", bearer(fresh)...).status)
		require.Equal(t, http.StatusOK, g.get("/rsa/", bearer(tokens["RS256"])...).status, "it is still published")
		require.Equal(t, before+1, idp.asked(keysPath))
	})
	t.Run("the provider drops its old keys", func(t *testing.T) {
		idp.rotate(true)
		fresh := idp.token("app", "urn:api:RS256")
		// Another API: fetching keys again and again is limited for each.
		require.Equal(t, http.StatusOK, g.get("/oas/", bearer(fresh)...).status)
		require.Equal(t, http.StatusUnauthorized, g.get("/oas/", bearer(tokens["RS256"])...).status)
	})
	for _, token := range idp.issued {
		require.NotContains(t, g.log.String(), token)
	}
}
