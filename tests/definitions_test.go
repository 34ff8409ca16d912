package tests_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDefinitionsThroughTheGatewaysOwnAPI: a definition with a plugin comes,
// changes and goes while the gateway runs.
func TestDefinitionsThroughTheGatewaysOwnAPI(t *testing.T) {
	s := newSite(t)
	s.bundle("bundle.zip", object{"auth_check": hook("MyAuthMiddleware")}, map[string]string{"middleware.py": tutorialMiddleware})
	target := echo(t)
	s.api("kept", target, object{})
	g := s.start()
	admin := func(method, path, body string) reply {
		t.Helper()
		return g.send(method, path, strings.NewReader(body), "X-Tyk-Authorization", "test-secret")
	}
	reload := func() {
		t.Helper()
		require.Equal(t, http.StatusOK, admin(http.MethodGet, "/tyk/reload?block=true", "").status)
	}
	protected := `{"openapi": "3.0.3", "info": {"title": "New", "version": "1"}, "paths": {}, "x-tyk-api-gateway": {
		"info": {"name": "New", "orgId": "default", "state": {"active": true}}, "upstream": {"url": "` + target + `"},
		"server": {"listenPath": {"value": "/new/", "strip": true}, "authentication": {"enabled": true, "custom": {"enabled": true}}},
		"middleware": {"global": {"pluginConfig": {"driver": "python", "bundle": {"enabled": true, "path": "bundle.zip"}}}}}}`

	require.Equal(t, http.StatusNotFound, g.get("/new/x").status)
	added := admin(http.MethodPost, "/tyk/apis/oas/new", protected)
	require.Equal(t, http.StatusOK, added.status, added.body)
	require.JSONEq(t, `{"key": "new", "status": "ok", "action": "added"}`, added.body)
	reload()
	require.Equal(t, http.StatusForbidden, g.get("/new/x", "Authorization", "badtoken").status)
	require.Equal(t, http.StatusOK, g.get("/new/x", "Authorization", goodToken).status)

	refused := admin(http.MethodPut, "/tyk/apis/oas/new", strings.Replace(protected, `"custom": {"enabled": true}`, `"hmac": {"enabled": true}`, 1))
	require.Equal(t, http.StatusBadRequest, refused.status)
	require.Contains(t, refused.body, "server.authentication.hmac: is active")
	reload()
	require.Equal(t, http.StatusOK, g.get("/new/x", "Authorization", goodToken).status, "what is refused changes nothing")

	require.Equal(t, http.StatusOK, admin(http.MethodDelete, "/tyk/apis/new", "").status)
	reload()
	require.Equal(t, http.StatusNotFound, g.get("/new/x", "Authorization", goodToken).status)
	require.Equal(t, http.StatusOK, g.get("/kept/x").status)
}
