package gateway_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/session"
)

// admin calls the gateway's own API.
func (f *fixture) admin(method, path, body string) answer {
	f.t.Helper()
	return f.do(method, path, body, "X-Tyk-Authorization", "topsecret")
}

// object is the JSON object that a answered.
func (a answer) object(t *testing.T) map[string]any {
	t.Helper()
	var o map[string]any
	require.NoError(t, json.Unmarshal([]byte(a.body), &o), a.body)
	return o
}

// keySite has the APIs a and b of "org", and one of another organisation.
func keySite(t *testing.T, more setup) *fixture {
	t.Helper()
	up := newUpstream(t)
	foreign := keyed()
	foreign["org_id"] = "foreign"
	more.apis = append(more.apis, definition(t, "a", "/a/", up.URL, keyed()),
		definition(t, "b", "/b/", up.URL, keyed()), definition(t, "f", "/f/", up.URL, foreign))
	return start(t, more)
}

const opensA = `{"org_id": "org", "access_rights": {"a": {}}}`

func TestKeyLife(t *testing.T) {
	f := keySite(t, setup{})
	use := func(path, key string) int { return f.get(path, "Authorization", key).code }
	require.Equal(t, 403, use("/a/", "bob"))

	got := f.admin("POST", "/tyk/keys/bob", `{"org_id": "org", "quota_max": 5, "quota_renewal_rate": 60, "access_rights": {"a": {"api_name": "A", "versions": ["Default"]}}, "meta_data": {"user": "bob", "n": 1}}`)
	require.Equal(t, 200, got.code, got.body)
	require.JSONEq(t, `{"key": "orgbob", "status": "ok", "action": "added"}`, got.body)
	require.Equal(t, 200, use("/a/", "bob"), "as it was named")
	require.Equal(t, 200, use("/a/", "orgbob"), "with its organisation before it")
	require.Equal(t, 200, use("/a/", "Bearer bob"))
	require.Equal(t, 403, use("/b/", "bob"), "not in its access rights")
	require.Equal(t, 403, use("/f/", "bob"), "another organisation")
	require.Equal(t, 403, use("/f/", "orgbob"), "another organisation")

	for _, path := range []string{"/tyk/keys/orgbob", "/tyk/keys/bob?org_id=org", "/tyk/keys/bob?api_id=a", "/tyk/keys/orgbob/", "/tyk/keys/orgbob?org_id=org"} {
		got = f.admin("GET", path, "")
		require.Equal(t, 200, got.code, path)
		o := got.object(t)
		require.EqualValues(t, 5, o["quota_max"])
		require.EqualValues(t, 2, o["quota_remaining"], "from the counters")
		require.InDelta(t, time.Now().Add(time.Minute).Unix(), o["quota_renews"], 10)
		require.Equal(t, "orgbob", o["key_id"])
		require.Equal(t, map[string]any{"user": "bob", "n": "1"}, o["meta_data"])
		require.Equal(t, map[string]any{"a": map[string]any{"api_name": "A", "api_id": "", "versions": []any{"Default"}, "allowed_urls": []any{}}}, o["access_rights"])
	}
	require.Equal(t, "no-store", got.header.Get("Cache-Control"))

	got = f.admin("PUT", "/tyk/keys/orgbob", `{"org_id": "org", "access_rights": {"b": {}}}`)
	require.JSONEq(t, `{"key": "orgbob", "status": "ok", "action": "modified"}`, got.body)
	require.Equal(t, 403, use("/a/", "bob"))
	require.Equal(t, 200, use("/b/", "bob"))
	require.EqualValues(t, 0, f.admin("GET", "/tyk/keys/orgbob", "").object(t)["quota_max"], "what the body leaves out is gone")

	got = f.admin("DELETE", "/tyk/keys/bob?org_id=org", "")
	require.JSONEq(t, `{"key": "orgbob", "status": "ok", "action": "deleted"}`, got.body)
	require.Equal(t, 403, use("/b/", "bob"))
	for _, c := range []struct{ method, message string }{
		{"GET", "Key not found"}, {"PUT", "Key is not found"}, {"DELETE", "There is no such key found"},
	} {
		got = f.admin(c.method, "/tyk/keys/orgbob", opensA)
		require.Equal(t, 404, got.code)
		require.JSONEq(t, `{"status": "error", "message": "`+c.message+`"}`, got.body)
	}
	require.NotContains(t, f.logs.String(), "token_hash=orgbob")
}

func TestGeneratedKeys(t *testing.T) {
	f := keySite(t, setup{})
	seen := map[any]bool{}
	for _, path := range []string{"/tyk/keys", "/tyk/keys/", "/tyk/keys/create", "/tyk/keys/create/"} {
		got := f.admin("POST", path, opensA)
		require.Equal(t, 200, got.code, got.body)
		key, _ := got.object(t)["key"].(string)
		require.Regexp(t, "^org[0-9a-f]{32}$", key)
		require.False(t, seen[key])
		seen[key] = true
		require.Equal(t, 200, f.get("/a/", "Authorization", key).code)
	}
}

func TestKeyEndpointsAreGuarded(t *testing.T) {
	f := keySite(t, setup{})
	f.admin("POST", "/tyk/keys/bob", opensA)
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		require.Equal(t, 403, f.do(method, "/tyk/keys/bob", opensA).code)
		require.Equal(t, 403, f.do(method, "/tyk/keys/bob", opensA, "X-Tyk-Authorization", "wrong").code)
	}
	require.Equal(t, 200, f.get("/a/", "Authorization", "bob").code)
	require.Equal(t, 405, f.admin("GET", "/tyk/keys", "").code, "there is no list of keys")
	require.Equal(t, 405, f.admin("PATCH", "/tyk/keys/bob", "").code)
}

func TestKeysThatAreRefused(t *testing.T) {
	f := keySite(t, setup{policies: policies(t, gold)})
	const id = "/tyk/keys/orgbob"
	for name, tc := range map[string]struct{ path, body, message string }{
		"no JSON":                     {id, `{`, "Request malformed: body:1:1: not valid JSON"},
		"nothing":                     {id, ``, "Request malformed: body: the file is empty"},
		"wrong type":                  {id, `{"quota_max": "x"}`, "Request malformed: body: quota_max: must be a number, but is text"},
		"basic_auth_data":             {id, `{"basic_auth_data": {"password": "p"}, "access_rights": {"a": {}}}`, "basic_auth_data: is not supported"},
		"limit of one API":            {id, `{"access_rights": {"a": {"limit": {"quota_max": 5}}}}`, "access_rights.a.limit: is not supported"},
		"no access rights":            {id, `{"org_id": "org"}`, "Failed to create key, keys must have at least one Access Rights record set."},
		"unknown policy":              {id, `{"org_id": "org", "apply_policies": ["gold", "gone"]}`, `Failed to create key - policy "gone": policy is not known`},
		"policy of another org":       {id, `{"org_id": "foreign", "apply_policies": ["gold"]}`, "policy belongs to another organisation"},
		"the gateway's own metadata":  {id, `{"org_id": "org", "access_rights": {"a": {}}, "meta_data": {"krait:auth_check_api": "a"}}`, "is the gateway's own"},
		"id that is not UTF-8":        {"/tyk/keys/%ff", opensA, "key id: is not UTF-8"},
		"id with a control character": {"/tyk/keys/a%0Ab", opensA, "key id: has a control character"},
		"id with a NUL":               {"/tyk/keys/a%00b", opensA, "key id: has a control character"},
		"id that ends with a space":   {"/tyk/keys/a%20", opensA, "key id: is empty, or begins or ends with a space"},
		"id that is too long":         {"/tyk/keys/" + strings.Repeat("a", 5000), opensA, "key id: is longer"},
		"by hash":                     {"/tyk/keys/abc?hashed=1", opensA, "Key requested by hash"},
	} {
		for _, method := range []string{"POST", "PUT"} {
			t.Run(method+": "+name, func(t *testing.T) {
				if method == "PUT" {
					require.Equal(t, 200, f.admin("POST", id, opensA).code)
				}
				got := f.admin(method, tc.path, tc.body)
				require.Equal(t, http.StatusBadRequest, got.code, got.body)
				o := got.object(t)
				require.Equal(t, "error", o["status"])
				require.Contains(t, o["message"], tc.message)
				require.NotContains(t, o["message"], "\n")
			})
		}
	}
	t.Run("a huge body", func(t *testing.T) {
		require.Equal(t, http.StatusRequestEntityTooLarge, f.admin("POST", id, `{"alias": "`+strings.Repeat("x", 2<<20)+`"}`).code)
	})
	t.Run("PUT into another organisation", func(t *testing.T) {
		require.Equal(t, 200, f.admin("POST", id, opensA).code)
		got := f.admin("PUT", id, `{"access_rights": {"a": {}}}`)
		require.Equal(t, 400, got.code)
		require.Contains(t, got.body, "org_id: is not that of the key")
	})
	t.Run("an id that is taken by another organisation", func(t *testing.T) {
		require.Equal(t, 200, f.admin("POST", "/tyk/keys/ganisation", opensA).code)
		got := f.admin("POST", "/tyk/keys/anisation", `{"org_id": "orgg", "access_rights": {"a": {}}}`)
		require.Equal(t, http.StatusConflict, got.code)
		require.Equal(t, 200, f.get("/a/", "Authorization", "ganisation").code)
	})
	t.Run("a key of another organisation than the request asks for", func(t *testing.T) {
		require.Equal(t, 200, f.admin("POST", id, opensA).code)
		for _, query := range []string{"?org_id=foreign", "?api_id=f"} {
			require.Equal(t, 404, f.admin("GET", id+query, "").code)
			require.Equal(t, 404, f.admin("DELETE", id+query, "").code)
		}
		got := f.admin("PUT", id, `{"org_id": "foreign", "access_rights": {"a": {}}}`)
		require.Equal(t, 400, got.code)
		require.Contains(t, got.body, "org_id: is not that of the key")
		require.Equal(t, 200, f.get("/a/", "Authorization", "bob").code)
	})
	t.Run("an encoded slash is part of an id", func(t *testing.T) {
		require.Equal(t, 200, f.admin("POST", "/tyk/keys/a%2Fb==", opensA).code)
		require.Equal(t, 200, f.get("/a/", "Authorization", "a/b==").code)
		require.Equal(t, 200, f.admin("DELETE", "/tyk/keys/orga%2Fb==", "").code)
		require.Equal(t, 404, f.admin("GET", "/tyk/keys/orga/b==", "").code)
	})
}

func TestKeysAndTheirState(t *testing.T) {
	f := keySite(t, setup{policies: policies(t, gold)})
	now := time.Now().Unix()
	for name, tc := range map[string]struct {
		body string
		want int
	}{
		"inactive":           {`{"org_id": "org", "is_inactive": true, "access_rights": {"a": {}}}`, 403},
		"expired":            {`{"org_id": "org", "expires": ` + strconv.FormatInt(now-10, 10) + `, "access_rights": {"a": {}}}`, 401},
		"not yet expired":    {`{"org_id": "org", "expires": ` + strconv.FormatInt(now+1000, 10) + `, "access_rights": {"a": {}}}`, 200},
		"never":              {`{"org_id": "org", "expires": -1, "access_rights": {"a": {}}}`, 200},
		"rights of policy":   {`{"org_id": "org", "apply_policies": ["gold"]}`, 200},
		"path not allowed":   {`{"org_id": "org", "access_rights": {"a": {"allowed_urls": [{"url": "^/y", "methods": ["GET"]}]}}}`, 403},
		"id as an org's":     {opensA, 200},
		"another version":    {`{"org_id": "org", "access_rights": {"a": {"versions": ["v2"]}}}`, 403},
		"quota of one":       {`{"org_id": "org", "quota_max": 1, "access_rights": {"a": {}}}`, 200},
		"unlimited":          {`{"org_id": "org", "quota_max": -1, "rate": -1, "per": -1, "access_rights": {"a": {}}}`, 200},
		"wrong api in right": {`{"org_id": "org", "access_rights": {"b": {"api_id": "a"}}}`, 403},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, 200, f.admin("POST", "/tyk/keys/k", tc.body).code)
			require.Equal(t, tc.want, f.get("/a/x", "Authorization", "k").code)
		})
	}
}

func TestWritingAKeyResetsItsCounters(t *testing.T) {
	const body = `{"org_id": "org", "rate": 2, "per": 3600, "quota_max": 2, "access_rights": {"a": {}, "b": {}}}`
	f := keySite(t, setup{policies: policies(t, `{
		"one": {"org_id": "org", "quota_max": 2, "access_rights": {"a": {}}},
		"two": {"org_id": "org", "quota_max": 8, "access_rights": {"b": {}}}}`)})
	use := func() int { return f.get("/a/", "Authorization", "k").code }
	exhaust := func(t *testing.T, refused int) {
		t.Helper()
		require.Equal(t, []int{200, 200, refused}, []int{use(), use(), use()})
	}
	for name, body := range map[string]string{"its own": body, "those of its policies": `{"org_id": "org", "apply_policies": ["one", "two"]}`} {
		t.Run(name, func(t *testing.T) {
			refused := 429
			if name != "its own" {
				refused = 403
			}
			require.Equal(t, 200, f.admin("POST", "/tyk/keys/k", body).code)
			exhaust(t, refused)
			require.EqualValues(t, 0, f.admin("GET", "/tyk/keys/orgk", "").object(t)["quota_remaining"])
			require.Equal(t, 200, f.admin("PUT", "/tyk/keys/orgk?suppress_reset=1", body).code)
			require.Equal(t, refused, use())
			require.Equal(t, 200, f.admin("PUT", "/tyk/keys/orgk", body).code)
			require.EqualValues(t, 2, f.admin("GET", "/tyk/keys/orgk", "").object(t)["quota_remaining"])
			exhaust(t, refused)
			require.Equal(t, 200, f.admin("POST", "/tyk/keys/k?suppress_reset=1", body).code)
			require.Equal(t, refused, use())
			require.Equal(t, 200, f.admin("DELETE", "/tyk/keys/orgk", "").code)
			require.Equal(t, 200, f.admin("POST", "/tyk/keys/k?suppress_reset=1", body).code)
			exhaust(t, refused)
		})
	}
}

func TestKeyShowsItsPolicies(t *testing.T) {
	f := keySite(t, setup{policies: policies(t, gold)})
	require.Equal(t, 200, f.admin("POST", "/tyk/keys/k", `{"org_id": "org", "apply_policies": ["gold"]}`).code)
	require.Equal(t, 200, f.get("/a/", "Authorization", "k").code)
	o := f.admin("GET", "/tyk/keys/orgk", "").object(t)
	require.EqualValues(t, 9, o["quota_max"])
	require.EqualValues(t, 8, o["quota_remaining"])
	require.Equal(t, []any{"t"}, o["tags"])
	f.SetPolicies(nil)
	o = f.admin("GET", "/tyk/keys/orgk", "").object(t)
	require.EqualValues(t, 0, o["quota_max"], "as it is stored")
	require.Equal(t, []any{"gold"}, o["apply_policies"])
}

func TestPolicyGivesNewKeysAnEnd(t *testing.T) {
	f := keySite(t, setup{policies: policies(t, `{"trial": {"org_id": "org", "key_expires_in": 60, "access_rights": {"a": {}}}}`)})
	const body = `{"org_id": "org", "apply_policies": ["trial"]}`
	expires := func() any { return f.admin("GET", "/tyk/keys/orgk", "").object(t)["expires"] }
	require.Equal(t, 200, f.admin("POST", "/tyk/keys/k", body).code)
	require.InDelta(t, time.Now().Unix()+60, expires(), 5)
	require.Equal(t, 200, f.admin("POST", "/tyk/keys/k", body).code)
	require.EqualValues(t, 0, expires(), "the key was there already")
}

// TestKeysOfAuthCheck: sessions that a hook stored can be looked at and removed,
// and stay bound to the hook's API.
func TestKeysOfAuthCheck(t *testing.T) {
	up := newUpstream(t)
	f, _ := limited(t, func(*coprocesspb.SessionState) {}, setup{apis: []apidef.Loaded{
		definition(t, "a", "/a/", up.URL, withHooks(custom())), definition(t, "b", "/b/", up.URL, keyed()),
	}})
	require.Equal(t, 200, f.get("/a/").code)
	got := f.admin("GET", "/tyk/keys/tok", "")
	require.Equal(t, 200, got.code)
	require.NotContains(t, got.body, "krait:")
	require.Equal(t, 200, f.admin("PUT", "/tyk/keys/tok", opensA).code)
	s, err := session.NewStore(f.store).Get(t.Context(), "tok")
	require.NoError(t, err)
	require.Equal(t, "a", s.GetMetadata()["krait:auth_check_api"])
	require.Equal(t, 403, f.get("/b/", "Authorization", "tok").code)
	require.Equal(t, 200, f.admin("DELETE", "/tyk/keys/tok", "").code)
	require.Equal(t, 404, f.admin("GET", "/tyk/keys/tok", "").code)
}

func TestKeysLastAsLongAsTheirAPIs(t *testing.T) {
	up := newUpstream(t)
	short := keyed()
	short["session_lifetime"] = 1
	f := keySite(t, setup{apis: []apidef.Loaded{definition(t, "short", "/short/", up.URL, short)}})
	require.Equal(t, 200, f.admin("POST", "/tyk/keys/k", `{"org_id": "org", "access_rights": {"short": {}}}`).code)
	require.Equal(t, 200, f.get("/short/", "Authorization", "k").code)
	require.Eventually(t, func() bool { return f.admin("GET", "/tyk/keys/orgk", "").code == 404 }, limit, 50*time.Millisecond)
}

func TestKeyStoreThatIsAway(t *testing.T) {
	f := keySite(t, setup{sessions: brokenSessions{errors.New("connection refused")}})
	for _, method := range []string{"GET", "POST", "PUT", "DELETE"} {
		got := f.admin(method, "/tyk/keys/k", opensA)
		require.Equal(t, 503, got.code)
		require.NotEmpty(t, got.header.Get("Retry-After"))
		require.NotContains(t, got.body, "connection refused")
	}
	f = keySite(t, setup{sessions: brokenSessions{session.ErrCorrupt}})
	require.Equal(t, 500, f.admin("GET", "/tyk/keys/k", "").code)
}
