package tests_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/output"
)

// TestReadmeTokensOfAnIdentityProvider does what README.md says in that section,
// with a real provider and free ports: its files, then its commands.
func TestReadmeTokensOfAnIdentityProvider(t *testing.T) {
	idp := startIdentityServer(t)
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(readme), "## Check tokens of your identity provider\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	port := strconv.Itoa(freePort(t))
	section = strings.NewReplacer(
		"https://idp.example.com/introspect", idp.url+introspectionPath,
		"the client that may introspect", "basic",
		"its secret", "basic-secret",
		"https://orders.example.com", echo(t),
		"8080", port,
		"8000", strconv.Itoa(freePort(t)),
	).Replace(section)

	// A folder with what the section needs of the repository's.
	dir := t.TempDir()
	require.NoError(t, os.Symlink(filepath.Join(root, ".venv"), filepath.Join(dir, ".venv")))
	run(t, root, "cp", "--parents", "manifest.json", "examples/middleware.py", dir)
	files, _ := blocks("README.md", strings.Split(section, "\n"))
	named := regexp.MustCompile("^`(.+)`:$")
	commands := ""
	for _, b := range files {
		if b.language == "sh" {
			commands += b.text
			continue
		}
		name := named.FindStringSubmatch(b.mark)
		require.NotNil(t, name, "%s: no file name before the block", b.at())
		path := filepath.Join(dir, name[1])
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte(b.text), 0o600))
	}

	said := &output.Buffer{}
	shell := exec.Command("bash", "-euc", commands) //nolint:noctx // the cleanup ends it
	shell.Dir = dir
	shell.Env = append(os.Environ(), "PATH="+filepath.Dir(binary(t))+":"+os.Getenv("PATH"))
	shell.Stdout, shell.Stderr = said, said
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, shell.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-shell.Process.Pid, syscall.SIGTERM) // the commands' own group
		_ = shell.Wait()
		if t.Failed() {
			t.Log(said)
		}
	})
	g := &gateway{t: t, url: "http://127.0.0.1:" + port, log: said}
	token := idp.token("app", "")
	require.Eventually(t, func() bool {
		r, err := g.try(http.MethodGet, "/orders/", nil, bearer(token)...)
		return err == nil && r.status == http.StatusOK
	}, patience, 50*time.Millisecond, "the gateway does not serve the API")
	for range 10 {
		require.Equal(t, http.StatusOK, g.get("/orders/", bearer(token)...).status)
	}
	require.Equal(t, 1, idp.introspections())
	require.Equal(t, http.StatusUnauthorized, g.get("/orders/", bearer("another")...).status)
}
