package gateway_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
)

// reread serves what is in the directory of definitions now.
func (f *fixture) reread(dir string) {
	f.t.Helper()
	loaded, err := apidef.LoadDir(dir)
	require.NoError(f.t, err)
	require.NoError(f.t, f.Load(f.t.Context(), loaded))
}

func classicText(id, listenPath, target string) string {
	return `{"api_id": "` + id + `", "use_keyless": true, "proxy": {"listen_path": "` + listenPath + `", "target_url": "` + target + `"}}`
}

func oasText(id, listenPath, target string) string {
	return `{"openapi": "3.0.3", "info": {"title": "T", "version": "1"}, "paths": {}, "x-tyk-api-gateway": {
		"info": {"id": "` + id + `", "name": "N", "state": {"active": true}}, "upstream": {"url": "` + target + `"},
		"server": {"listenPath": {"value": "` + listenPath + `", "strip": true}}}}`
}

func TestDefinitionLife(t *testing.T) {
	for _, form := range []struct {
		name, path string
		text       func(id, listenPath, target string) string
	}{
		{"classic", "/tyk/apis", classicText},
		{"OAS", "/tyk/apis/oas", oasText},
		{"OAS at the common endpoint", "/tyk/apis", oasText},
	} {
		t.Run(form.name, func(t *testing.T) {
			up := newUpstream(t)
			dir := t.TempDir()
			f := start(t, setup{apps: dir})
			first := form.text("a", "/a/", up.URL)

			require.Equal(t, 404, f.admin("GET", form.path+"/a", "").code)
			require.Equal(t, 404, f.admin("PUT", form.path+"/a", first).code)
			require.Equal(t, 404, f.admin("DELETE", form.path+"/a", "").code)

			got := f.admin("POST", form.path, first)
			require.Equal(t, 200, got.code, got.body)
			require.JSONEq(t, `{"key": "a", "status": "ok", "action": "added"}`, got.body)
			require.Equal(t, 404, f.get("/a/").code, "it counts from the next reload on")
			f.reread(dir)
			require.Equal(t, 200, f.get("/a/").code)

			got = f.admin("GET", form.path+"/a", "")
			require.Equal(t, 200, got.code)
			require.Equal(t, first, got.body, "as it is in its file")
			require.Equal(t, "application/json", got.header.Get("Content-Type"))

			got = f.admin("PUT", form.path+"/a", form.text("a", "/b/", up.URL))
			require.JSONEq(t, `{"key": "a", "status": "ok", "action": "modified"}`, got.body)
			require.Equal(t, 200, f.get("/a/").code)
			f.reread(dir)
			require.Equal(t, 404, f.get("/a/").code)
			require.Equal(t, 200, f.get("/b/").code)

			got = f.admin("DELETE", form.path+"/a", "")
			require.JSONEq(t, `{"key": "a", "status": "ok", "action": "deleted"}`, got.body)
			f.reread(dir)
			require.Equal(t, 404, f.get("/b/").code)
			require.Equal(t, 404, f.admin("GET", form.path+"/a", "").code)
		})
	}
}

func TestDefinitionRefusals(t *testing.T) {
	up := newUpstream(t)
	dir := t.TempDir()
	f := start(t, setup{apps: dir, noDriver: true})
	require.Equal(t, 200, f.admin("POST", "/tyk/apis", classicText("here", "/here/", up.URL)).code)
	require.Equal(t, 200, f.admin("POST", "/tyk/apis/oas/there", oasText("", "/there/", up.URL)).code)
	for _, tc := range []struct {
		name, method, path, body string
		code                     int
		want                     []string
	}{
		{"every fault", "POST", "/tyk/apis", `{"enable_jwt": true, "proxy": {"listen_path": "x"}}`, 400, []string{
			"definition: proxy.listen_path: does not start with /", "definition: proxy.target_url: is missing", "definition: enable_jwt: is active",
		}},
		{"every fault of the OAS form", "POST", "/tyk/apis/oas", `{"openapi": "3.0.3", "x-tyk-api-gateway": {"info": {"state": {"internal": true}}}}`, 400, []string{
			"x-tyk-api-gateway.upstream.url: is missing", "x-tyk-api-gateway.info.state.internal: is active",
		}},
		{"no JSON", "POST", "/tyk/apis", "{", 400, []string{"not valid JSON"}},
		{"an id that is a path", "POST", "/tyk/apis", classicText("../../x", "/x/", up.URL), 400, []string{"api_id: has characters"}},
		{"an id that is an escaped path", "POST", "/tyk/apis/%2e%2e%2fx", classicText("", "/x/", up.URL), 400, []string{"api_id: has characters"}},
		{"an id that is there", "POST", "/tyk/apis", classicText("here", "/x/", up.URL), 409, []string{"change it with PUT"}},
		{"a listen path that is there", "POST", "/tyk/apis", classicText("x", "/there/", up.URL), 409, []string{`listen path of the API \"there\"`}},
		{"a listen path of another's, changed", "PUT", "/tyk/apis/here", classicText("here", "/there/", up.URL), 409, []string{`listen path of the API \"there\"`}},
		{"a listen path of the gateway itself", "POST", "/tyk/apis", classicText("x", "/tyk/apis/", up.URL), 400, []string{"where the gateway itself answers"}},
		{"a driver that is not there", "POST", "/tyk/apis", strings.Replace(classicText("x", "/x/", up.URL), `{`, `{"custom_middleware": {"driver": "grpc", "pre": [{"name": "A"}]}, `, 1), 400, []string{`plugin driver \"grpc\" is not loaded`}},
		{"another id than the path's", "PUT", "/tyk/apis/here", classicText("x", "/x/", up.URL), 400, []string{"is not the id that the request names"}},
		{"the classic form at the OAS endpoint", "POST", "/tyk/apis/oas", classicText("x", "/x/", up.URL), 400, []string{"is not in the OAS form"}},
		{"a classic definition read at the OAS endpoint", "GET", "/tyk/apis/oas/here", "", 400, []string{"is not in the OAS form"}},
		{"a body without end", "POST", "/tyk/apis", strings.Repeat(" ", apidef.MaxFileSize+1), 413, []string{"is longer than 16777216 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := f.admin(tc.method, tc.path, tc.body)
			require.Equal(t, tc.code, got.code, got.body)
			require.Equal(t, "error", got.object(t)["status"])
			for _, want := range tc.want {
				require.Contains(t, got.body, want)
			}
			require.NotContains(t, got.body, up.URL)
		})
	}
	t.Run("without the secret", func(t *testing.T) {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodPost} {
			got := f.do(method, "/tyk/apis/here", classicText("here", "/x/", up.URL), "X-Tyk-Authorization", "wrong")
			require.Equal(t, 403, got.code)
			require.NotContains(t, got.body, "here")
		}
	})
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 2, "nothing else was written")
}

func TestDefinitionsAreListedInTheOASForm(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apps: t.TempDir()})
	require.JSONEq(t, `[]`, f.admin("GET", "/tyk/apis/oas", "").body)
	require.Equal(t, 200, f.admin("POST", "/tyk/apis", classicText("a", "/a/", up.URL)).code)
	require.Equal(t, 200, f.admin("POST", "/tyk/apis/oas", oasText("b", "/b/", up.URL)).code)
	var all []map[string]any
	require.NoError(t, json.Unmarshal([]byte(f.admin("GET", "/tyk/apis/oas", "").body), &all))
	require.Len(t, all, 1)
	require.Equal(t, "3.0.3", all[0]["openapi"])
}

func TestDefinitionWarnings(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{apps: t.TempDir()})
	got := f.admin("POST", "/tyk/apis", strings.Replace(classicText("a", "/a/", up.URL), "{", `{"typo": true, `, 1))
	require.Equal(t, []any{"definition: typo: is not known or not supported, and without effect"}, got.object(t)["warnings"])
}

func TestDefinitionsThatAreNotInFiles(t *testing.T) {
	f := start(t, setup{})
	require.Equal(t, 501, f.admin("GET", "/tyk/apis/a", "").code)
	require.Equal(t, 200, f.admin("GET", "/tyk/apis", "").code)
}

// What is wrong with the disk is for the log, not for who asks.
func TestDefinitionsInADirectoryThatIsNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	f := start(t, setup{apps: dir})
	got := f.admin("POST", "/tyk/apis", classicText("a", "/a/", "http://up"))
	require.Equal(t, 500, got.code)
	require.NotContains(t, got.body, dir)
	require.Contains(t, f.logs.String(), dir)
}
