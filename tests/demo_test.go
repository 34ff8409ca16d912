package tests_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDemo runs what "make run" runs, to the end of its commands.
func TestDemo(t *testing.T) {
	binary(t)
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	output := run(t, root, "go", "run", "./examples/demo", "--once")
	for _, want := range []string{
		"curl -i http://127.0.0.1:", "403 Forbidden", `{"error"`, "Key not authorised",
		"200 OK", "the upstream got: GET /my-path", `"status":"pass"`,
		"the upstream got: GET /1", `"access_token":"`,
	} {
		require.Contains(t, output, want)
	}
	for about, want := range map[string]string{
		"# The reference plugin's API, with such a token":  "200 OK",
		"# A token that the identity server does not know": "401 Unauthorized",
		"# Revoke a token":           "200 OK",
		"# A token that was revoked": "401 Unauthorized",
	} {
		_, answer, found := strings.Cut(output, about+"\n")
		require.True(t, found, "%s\n%s", about, output)
		answer, _, _ = strings.Cut(answer, "\n# ")
		require.Contains(t, answer, "HTTP/1.1 "+want, about)
	}
}
