package apidef_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
)

func TestCustomMiddlewareHasHooks(t *testing.T) {
	for _, tc := range []struct {
		name string
		m    apidef.CustomMiddleware
		want bool
	}{
		{"nothing", apidef.CustomMiddleware{Driver: "python"}, false},
		{"an empty auth_check is none", apidef.CustomMiddleware{AuthCheck: apidef.MiddlewareDefinition{RawBodyOnly: true}}, false},
		{"a disabled hook does not run", apidef.CustomMiddleware{Pre: []apidef.MiddlewareDefinition{{Name: "A", Disabled: true}}}, false},
		{"auth_check", apidef.CustomMiddleware{AuthCheck: apidef.MiddlewareDefinition{Name: "A"}}, true},
		{"response", apidef.CustomMiddleware{Response: []apidef.MiddlewareDefinition{{Name: "A"}}}, true},
	} {
		t.Run(tc.name, func(t *testing.T) { require.Equal(t, tc.want, tc.m.HasHooks()) })
	}
}

func TestCustomMiddlewareIsWrittenWithoutWhatIsNotThere(t *testing.T) {
	data, err := json.Marshal(apidef.CustomMiddleware{Driver: "python", AuthCheck: apidef.MiddlewareDefinition{Name: "A"}})
	require.NoError(t, err)
	require.JSONEq(t, `{"driver": "python", "auth_check": {"name": "A"}}`, string(data))
}
