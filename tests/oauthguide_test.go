package tests_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOAuthGuide runs each API definition of docs/OAUTH.md as it stands there,
// with a real identity server in place of idp.example.com.
func TestOAuthGuide(t *testing.T) {
	idp := startIdentityServer(t)
	s := newSite(t)
	s.buildAtRoot("manifest.json", "bundle.zip")
	s.buildAtRoot("examples/phantom/manifest.json", "phantom.zip")
	upstream := echo(t)

	found, _ := blocks("OAUTH.md", documents(t, false)["../docs/OAUTH.md"])
	written := map[string]bool{}
	for _, b := range found {
		mark := testMark.FindStringSubmatch(b.mark)
		if mark == nil || mark[1] != "api" {
			continue
		}
		client := "form"
		if strings.Contains(b.text, `"config_data"`) || strings.Contains(b.text, `"client_auth": "basic"`) {
			client = "basic"
		}
		text := strings.NewReplacer(
			"https://idp.example.com/introspect", idp.url+introspectionPath,
			"https://idp.example.com/jwks", idp.url+keysPath,
			"https://idp.example.com", idp.direct, // the issuer
			`"krait"`, `"`+client+`"`,
			"change-me", client+"-secret",
			"Y2hhbmdlIG1lOiBvcGVuc3NsIHJhbmQgLWJhc2U2NCAzMg==", base64.StdEncoding.EncodeToString([]byte(sharedSecret)),
			"http://orders.internal", upstream,
		).Replace(b.text)
		require.True(t, json.Valid([]byte(text)), b.at())
		s.write(mark[2], text)
		written[strings.TrimSuffix(path.Base(mark[2]), ".json")] = true
	}
	g := s.start()

	const opaque = ""
	for api, resource := range map[string]string{
		"jwks":              "urn:api:RS256",
		"secret":            "urn:api:HS256",
		"introspection":     opaque,
		"introspection-oas": opaque,
		"plugin":            opaque,
		"phantom":           opaque,
		"phantom-python":    opaque,
	} {
		t.Run(api, func(t *testing.T) {
			require.True(t, written[api], "the guide does not have it")
			delete(written, api)
			token := idp.token("app", resource)
			before := idp.introspections()
			for range 3 {
				got := g.get("/"+api+"/", bearer(token)...).echoed(t).Header.Get("Authorization")
				if !strings.HasPrefix(api, "phantom") {
					require.Equal(t, "Bearer "+token, got)
					continue
				}
				claims := idp.requireJWT(strings.TrimPrefix(got, "Bearer "))
				if inner, ok := claims["token_introspection"].(object); ok {
					claims = inner
				}
				require.Equal(t, "app", claims["client_id"])
			}
			if resource == opaque {
				require.Equal(t, before+1, idp.introspections())
			}
			r := g.get("/"+api+"/", bearer(token+"x")...)
			require.Equal(t, http.StatusUnauthorized, r.status)
			require.Contains(t, r.header.Get("WWW-Authenticate"), `Bearer error="invalid_token"`)
		})
	}
	require.Empty(t, written, "these of the guide are not tested")
}
