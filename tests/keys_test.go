package tests_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
)

// admin calls the gateway's own API.
func (g *gateway) admin(method, path, body string) reply {
	g.t.Helper()
	return g.send(method, path, strings.NewReader(body), "X-Tyk-Authorization", "test-secret")
}

// key shows a key.
func (g *gateway) key(id string) object {
	g.t.Helper()
	r := g.admin(http.MethodGet, "/tyk/keys/"+id, "")
	require.Equal(g.t, http.StatusOK, r.status, r.body)
	var key object
	require.NoError(g.t, json.Unmarshal([]byte(r.body), &key))
	return key
}

const policyHooks = `
from tyk.decorators import *

@Hook
def Auth(request, session, metadata, spec):
    metadata["token"] = request.get_header("Authorization")
    session.apply_policies.append(metadata["token"].split("-")[0])
    return request, session, metadata

@Hook
def Tell(request, session, spec):
    request.add_header("X-Tier", session.metadata["tier"])
    request.add_header("X-Tags", ",".join(session.tags))
    return request, session
`

// keySite has an API for keys, one whose plugin names policies, and policies.
func keySite(t *testing.T, storage object) *site {
	t.Helper()
	s := newSite(t)
	if storage != nil {
		s.conf["storage"] = storage
	}
	s.conf["policies"] = object{"policy_source": "file", "policy_record_name": filepath.Join(s.dir, "policies.json")}
	rights := func(id string) object {
		return object{id: object{"api_id": id, "api_name": id, "versions": []string{"Default"}, "allowed_urls": []object{}}}
	}
	s.writeJSON("policies.json", object{
		"gold":     object{"org_id": "default", "quota_max": 2, "quota_renewal_rate": 3600, "access_rights": rights("keyed"), "active": true},
		"hooked":   object{"org_id": "default", "rate": 2, "per": 3600, "access_rights": rights("hooked"), "tags": []string{"t"}, "meta_data": object{"tier": "best"}},
		"inactive": object{"org_id": "default", "is_inactive": true, "access_rights": rights("hooked")},
		"foreign":  object{"org_id": "other", "access_rights": rights("hooked")},
		"refused":  object{"org_id": "default", "access_rights": rights("hooked"), "partitions": object{"per_api": true}},
	})
	upstream := echo(t)
	s.bundle("policies.zip", object{"auth_check": hook("Auth"), "post": hooks("Tell")}, map[string]string{"middleware.py": policyHooks})
	s.api("keyed", upstream, object{"use_keyless": false})
	s.api("hooked", upstream, object{
		"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "policies.zip",
	})
	return s
}

// TestContract1StoredKeys is section 1 of the plugin contract: a stored key
// authenticates. Keys are managed on one gateway and used on another; without a
// Redis both are the same.
func TestContract1StoredKeys(t *testing.T) {
	t.Parallel()
	check := func(t *testing.T, first, second *gateway) {
		t.Helper()
		use := func(g *gateway, key string) reply { return g.get("/keyed/", "Authorization", key) }
		r := first.admin(http.MethodPost, "/tyk/keys/bob", `{"org_id": "default", "rate": 3, "per": 3600, "access_rights": {"keyed": {}}}`)
		require.Equal(t, http.StatusOK, r.status, r.body)
		require.JSONEq(t, `{"key": "defaultbob", "status": "ok", "action": "added"}`, r.body)
		require.Equal(t, http.StatusOK, use(second, "bob").status)
		require.Equal(t, http.StatusOK, use(first, "defaultbob").status)
		require.Equal(t, http.StatusOK, use(second, "bob").status)
		require.Equal(t, http.StatusTooManyRequests, use(first, "bob").status, "under either name it is one key")

		require.Equal(t, http.StatusOK, second.admin(http.MethodPut, "/tyk/keys/defaultbob", `{"org_id": "default", "apply_policies": ["gold"]}`).status)
		require.Equal(t, "1", use(first, "bob").header.Get("X-RateLimit-Remaining"))
		require.EqualValues(t, 1, second.key("defaultbob")["quota_remaining"])
		require.Equal(t, http.StatusOK, use(second, "bob").status)
		require.JSONEq(t, `{"error": "Quota exceeded"}`, use(first, "bob").body)

		require.Equal(t, http.StatusOK, second.admin(http.MethodPut, "/tyk/keys/defaultbob",
			`{"org_id": "default", "is_inactive": true, "access_rights": {"keyed": {}}}`).status)
		require.JSONEq(t, `{"error": "Key is inactive, please renew"}`, use(first, "bob").body)
		require.Equal(t, http.StatusOK, first.admin(http.MethodPut, "/tyk/keys/defaultbob",
			`{"org_id": "default", "expires": `+strconv.FormatInt(time.Now().Unix()-5, 10)+`, "access_rights": {"keyed": {}}}`).status)
		require.Equal(t, http.StatusUnauthorized, use(second, "bob").status)
		require.Equal(t, http.StatusOK, first.admin(http.MethodPut, "/tyk/keys/defaultbob", `{"org_id": "default", "access_rights": {"keyed": {}}}`).status)
		require.Equal(t, http.StatusOK, use(second, "bob").status)

		require.Equal(t, http.StatusOK, first.admin(http.MethodDelete, "/tyk/keys/defaultbob", "").status)
		require.Equal(t, http.StatusForbidden, use(second, "bob").status, "at once")
		require.Equal(t, http.StatusNotFound, second.admin(http.MethodGet, "/tyk/keys/defaultbob", "").status)

		r = second.admin(http.MethodPost, "/tyk/keys/create", `{"org_id": "default", "access_rights": {"keyed": {}}}`)
		var made struct{ Key string }
		require.NoError(t, json.Unmarshal([]byte(r.body), &made))
		require.Equal(t, http.StatusOK, use(first, made.Key).status)
		require.NotContains(t, first.log.String()+second.log.String(), made.Key)

		require.Equal(t, http.StatusForbidden, first.get("/tyk/keys/defaultbob").status)
		require.Equal(t, http.StatusBadRequest, first.admin(http.MethodPost, "/tyk/keys/eve", `{"org_id": "default", "quota_max": "x"}`).status)
	}
	t.Run("memory", func(t *testing.T) {
		g := keySite(t, nil).start()
		check(t, g, g)
	})
	t.Run("Redis: what one gateway writes holds on the other", func(t *testing.T) {
		server := redisserver.Start(t)
		storage := object{"type": "redis", "host": "127.0.0.1", "port": server.Port()}
		check(t, keySite(t, storage).start(), keySite(t, storage).start())
		stored := keysIn(t, server.Addr())
		require.NotEmpty(t, stored)
		for _, key := range stored {
			require.NotContains(t, key, "bob", "no key of Redis holds a key of an API")
		}
	})
}

// TestContract3PoliciesOfAuthCheck is section 3 of the plugin contract: auth_check
// names policies in apply_policies; what apply_policy_id names is the same (package
// gateway).
func TestContract3PoliciesOfAuthCheck(t *testing.T) {
	t.Parallel()
	g := keySite(t, nil).start()
	use := func(token string) reply { return g.get("/hooked/", "Authorization", token) }
	r := use("hooked-1")
	require.Equal(t, "best", r.echoed(t).Header.Get("X-Tier"))
	require.Equal(t, "t", r.echoed(t).Header.Get("X-Tags"))
	require.Equal(t, http.StatusOK, use("hooked-1").status)
	require.Equal(t, http.StatusTooManyRequests, use("hooked-1").status)
	require.Equal(t, http.StatusOK, use("hooked-2").status)
	require.JSONEq(t, `{"error": "Key is inactive, please renew"}`, use("inactive-1").body)
	for _, name := range []string{"foreign", "refused", "unknown", "gold"} {
		require.JSONEq(t, `{"error": "Access to this API has been disallowed"}`, use(name+"-1").body, name)
	}
	g.awaitLog("partitions.per_api: is not supported")
	g.awaitLog("policies of a session cannot be applied")
}

func TestPolicyFileThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"missing": "", "broken": `{"gold": `} {
		t.Run(name, func(t *testing.T) {
			s := keySite(t, nil)
			s.conf["policies"] = object{"policy_record_name": filepath.Join(s.dir, "other.json")}
			if content != "" {
				s.write("other.json", content)
			}
			g := s.start()
			g.awaitLog("other.json")
			require.Equal(t, http.StatusForbidden, g.get("/hooked/", "Authorization", "hooked-1").status)
			r := g.admin(http.MethodPost, "/tyk/keys/bob", `{"org_id": "default", "access_rights": {"keyed": {}}}`)
			require.Equal(t, http.StatusOK, r.status)
			require.Equal(t, http.StatusOK, g.get("/keyed/", "Authorization", "bob").status, "the rest works")
			output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
			require.Error(t, err)
			require.Contains(t, output, "Policies in "+filepath.Join(s.dir, "other.json"))
			require.Contains(t, output, "FAULT  "+filepath.Join(s.dir, "other.json"))
		})
	}
	t.Run("the doctor lists what is wrong with policies", func(t *testing.T) {
		s := keySite(t, nil)
		s.writeJSON("tyk.conf", s.conf)
		output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.Error(t, err)
		require.Contains(t, output, "gold: in order")
		require.Contains(t, output, "refused.partitions.per_api: is not supported")
	})
}
