package apidef_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
)

func TestOtherProtection(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*apidef.API)
		want   string
	}{
		"the same":                  {func(*apidef.API) {}, ""},
		"keyless":                   {func(a *apidef.API) { a.Keyless = true }, "Keyless"},
		"a hook authenticates":      {func(a *apidef.API) { a.CustomAuth = true }, "CustomAuth"},
		"another header":            {func(a *apidef.API) { a.Auth.HeaderName = "X-Key" }, "Auth"},
		"another organisation":      {func(a *apidef.API) { a.OrgID = "other" }, "OrgID"},
		"another domain":            {func(a *apidef.API) { a.Domain = "example.com" }, "Domain"},
		"limits are switched off":   {func(a *apidef.API) { a.DisableQuota = true }, "DisableQuota"},
		"an end":                    {func(a *apidef.API) { a.ExpiresAt = time.Unix(1, 0) }, "ExpiresAt"},
		"the upstream is trusted":   {func(a *apidef.API) { a.Proxy.Transport.SSLInsecureSkipVerify = true }, "Proxy.Transport"},
		"another auth_check":        {func(a *apidef.API) { a.CustomMiddleware.AuthCheck.Name = "Other" }, "CustomMiddleware.AuthCheck"},
		"another id_extractor":      {func(a *apidef.API) { a.CustomMiddleware.IDExtractor.Disabled = true }, "CustomMiddleware.IDExtractor"},
		"another upstream":          {func(a *apidef.API) { a.Proxy.TargetURL = &url.URL{Host: "other"} }, ""},
		"another listen path":       {func(a *apidef.API) { a.Proxy.ListenPath = "/other/" }, ""},
		"another plugin":            {func(a *apidef.API) { a.Bundles = []string{"b.zip"} }, ""},
		"other plugin data":         {func(a *apidef.API) { a.ConfigData = `{"a":1}` }, ""},
		"the other form":            {func(a *apidef.API) { a.Form = apidef.FormOAS }, ""},
		"another name":              {func(a *apidef.API) { a.Name = "other" }, ""},
		"another lifetime of keys":  {func(a *apidef.API) { a.SessionLifetime = time.Hour }, "SessionLifetime"},
		"other handlers for events": {func(a *apidef.API) { a.EventHandlers = map[string][]apidef.EventHandler{"A": nil} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			made := func() *apidef.API {
				a, _, err := apidef.Parse("a.json", []byte(definition("a", "/a/", `"enable_coprocess_auth": false, `)))
				require.NoError(t, err)
				return a
			}
			one, other := made(), made()
			c.change(other)
			require.Equal(t, c.want, one.OtherProtection(other))
			require.Equal(t, c.want, other.OtherProtection(one))
		})
	}
}

// A definition that is half there must not look as if it asked for nothing.
func TestPartialTellsWhatIsAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		text        string
		asked       bool // whether anything can be told
		unsupported bool
		keyless     bool
	}{
		"half a file":                {`{"api_id": "a", "use_keyless": true`, false, false, false},
		"an empty file":              {``, false, false, false},
		"a wrong type elsewhere":     {`{"api_id": "a", "use_keyless": true, "proxy": {"target_url": 7}}`, true, false, true},
		"a wrong type of protection": {`{"api_id": "a", "use_keyless": "maybe"}`, true, false, false},
		"an unsupported protection":  {`{"api_id": "a", "use_keyless": true, "enable_jwt": true}`, true, true, true},
		"a time that has passed":     {`{"api_id": "a", "use_keyless": true, "expiration": "2001-01-01 00:00"}`, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, err := apidef.LoadDir(writeDir(t, map[string]string{"a.json": c.text}))
			require.NoError(t, err)
			require.Error(t, loaded[0].Err)
			partial := loaded[0].Partial
			require.Equal(t, c.asked, partial != nil)
			if c.asked {
				require.Equal(t, c.unsupported, partial.Unsupported)
				require.Equal(t, c.keyless, partial.Asked.Keyless)
			}
		})
	}
}
