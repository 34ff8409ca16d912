package config_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/config"
)

// Opening a pipe that nobody writes to waits forever, so these tests hang when
// one is opened.
func TestLoadOpensRegularFilesOnly(t *testing.T) {
	workdir(t, `{}`)
	require.NoError(t, syscall.Mkfifo("pipe", 0o600))
	require.NoError(t, os.WriteFile("huge", nil, 0o600))
	require.NoError(t, os.Truncate("huge", 16<<20+1))
	const next = "; name a configuration file that this process may read"
	for path, want := range map[string]string{
		"pipe": "pipe: cannot be read: is not a regular file" + next,
		"huge": "huge: cannot be read: is larger than 16 MiB" + next,
		"apps": "apps: cannot be read: is a directory" + next,
	} {
		got, _, err := config.Load(path, nil)
		require.EqualError(t, err, want)
		require.Nil(t, got)
	}
}

func TestLoadOpensNoPipesThatSettingsName(t *testing.T) {
	workdir(t, `{"app_path": "pipe", "public_key_path": "pipe",
		"coprocess_options": {"enable_coprocess": true, "venv": "pipe"},
		"storage": {"type": "redis", "use_ssl": true, "ca_file": "pipe"},
		"http_server_options": {"use_ssl": true, "certificates": [{"cert_file": "pipe", "key_file": "pipe"}]}}`)
	require.NoError(t, syscall.Mkfifo("pipe", 0o600))
	_, _, err := config.Load("tyk.conf", nil)
	require.ErrorContains(t, err, "app_path: pipe is not a directory")
	require.ErrorContains(t, err, "coprocess_options.venv: pipe is not a directory")
	require.Equal(t, 4, strings.Count(err.Error(), "pipe cannot be read: is not a regular file"), err)
}
