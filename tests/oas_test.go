package tests_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// oas writes an API definition in the OAS form: an OpenAPI document with
// x-tyk-api-gateway.
func (s *site) oas(id, target string, server, middleware object) {
	s.t.Helper()
	server["listenPath"] = object{"value": "/" + id + "/", "strip": true}
	s.writeJSON("apps/"+id+".json", object{
		"openapi": "3.0.3",
		"info":    object{"title": id, "version": "1.0.0"},
		"paths":   object{},
		"components": object{"securitySchemes": object{
			"token": object{"type": "apiKey", "in": "header", "name": "X-Key"},
			"jwt":   object{"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
		}},
		"x-tyk-api-gateway": object{
			"info":       object{"id": id, "orgId": "default", "name": id, "state": object{"active": true}},
			"upstream":   object{"url": target},
			"server":     server,
			"middleware": middleware,
		},
	})
}

// bundleOf is a middleware part that takes plugins from a bundle.
func bundleOf(name string) object {
	return object{"global": object{"pluginConfig": object{"driver": "python", "bundle": object{"enabled": true, "path": name}}}}
}

// TestTutorialWithAnOASDefinition: the tutorial's plugin gives the same
// answers, whichever form the definition has.
func TestTutorialWithAnOASDefinition(t *testing.T) {
	s := newSite(t)
	s.bundle("bundle.zip", object{"auth_check": hook("MyAuthMiddleware")}, map[string]string{"middleware.py": tutorialMiddleware})
	target := echo(t)
	s.api("classic", target, object{"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "bundle.zip"})
	s.oas("oas", target, object{"authentication": object{"enabled": true, "custom": object{"enabled": true}}}, bundleOf("bundle.zip"))
	s.oas("keys", target, object{"authentication": object{
		"enabled": true, "securitySchemes": object{"token": object{"enabled": true}},
	}}, object{})
	s.oas("open", target, object{}, object{})
	s.oas("jwt", target, object{"authentication": object{
		"enabled": true, "securitySchemes": object{"jwt": object{"enabled": true, "source": "c2VjcmV0"}},
	}}, object{})
	s.oas("event", target, object{"eventHandlers": []object{
		{"enabled": true, "trigger": "AuthFailure", "type": "webhook", "url": "no URL", "cooldownPeriod": "1m"},
	}}, object{})
	g := s.start()

	for _, request := range []struct {
		name   string
		header []string
	}{
		{"no token", nil},
		{"bad token", []string{"Authorization", "badtoken"}},
		{"good token", []string{"Authorization", goodToken}},
	} {
		t.Run(request.name, func(t *testing.T) {
			classic := g.send(http.MethodPost, "/classic/my-path?a=b", strings.NewReader("the body"), request.header...)
			oas := g.send(http.MethodPost, "/oas/my-path?a=b", strings.NewReader("the body"), request.header...)
			require.Equal(t, classic.status, oas.status)
			require.Equal(t, classic.header.Get("Content-Type"), oas.header.Get("Content-Type"))
			if classic.status != http.StatusOK {
				require.Equal(t, http.StatusForbidden, classic.status)
				require.Equal(t, classic.body, oas.body)
				return
			}
			want, got := classic.echoed(t), oas.echoed(t)
			require.Equal(t, "/my-path", got.Path)
			require.Equal(t, want.Path, got.Path)
			require.Equal(t, want.Query, got.Query)
			require.Equal(t, want.Body, got.Body)
			require.Equal(t, want.Header.Get("Authorization"), got.Header.Get("Authorization"))
		})
	}
	require.Equal(t, http.StatusOK, g.get("/open/x").status)
	require.Equal(t, http.StatusUnauthorized, g.get("/keys/x", "Authorization", "k").status, "the key is not there")
	require.Equal(t, http.StatusForbidden, g.get("/keys/x", "X-Key", "k").status, "the key is not known")
	require.Equal(t, http.StatusServiceUnavailable, g.get("/jwt/x").status, "what protects it is not supported")

	states := g.get("/tyk/apis", "X-Tyk-Authorization", "test-secret").body
	require.Contains(t, states, "x-tyk-api-gateway.server.authentication.securitySchemes.jwt: is active")
	require.Contains(t, states, "x-tyk-api-gateway.server.eventHandlers.AuthFailure[0].url: ")

	output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
	require.Error(t, err)
	require.Contains(t, output, "jwt.json: x-tyk-api-gateway.server.authentication.securitySchemes.jwt: is active")
	require.Contains(t, output, "oas.json: oas at /oas/")
}
