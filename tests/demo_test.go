package tests_test

import (
	"path/filepath"
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
	} {
		require.Contains(t, output, want)
	}
}
