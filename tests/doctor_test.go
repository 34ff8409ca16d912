package tests_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
)

func TestDoctor(t *testing.T) {
	t.Run("a good configuration", func(t *testing.T) {
		s := newSite(t)
		s.api("fine", echo(t), nil)
		s.writeJSON("tyk.conf", s.conf)
		output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.NoError(t, err, output)
		for _, want := range []string{"libpython", "protobuf", "upb", "sys.path", venv(t), "memory"} {
			require.Contains(t, output, want)
		}
	})
	t.Run("Redis that answers and Redis that does not", func(t *testing.T) {
		server := redisserver.Start(t)
		s := newSite(t)
		s.conf["storage"] = object{"type": "redis", "addrs": []string{server.Addr()}}
		s.writeJSON("tyk.conf", s.conf)
		output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.NoError(t, err, output)
		server.Stop()
		output, err = krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.Error(t, err)
		require.Contains(t, output, server.Addr())
	})
	t.Run("bundles are fetched and verified, none of their code runs", func(t *testing.T) {
		s := newSite(t)
		s.bundle("good.zip", object{"pre": hooks("X")}, map[string]string{"middleware.py": "raise SystemExit('it ran')\n"})
		s.bundle("other.zip", object{"pre": hooks("X"), "driver": "grpc"}, map[string]string{})
		s.write("served/garbage.zip", "no zip")
		for _, id := range []string{"good", "other", "garbage", "absent"} {
			s.api(id, "http://127.0.0.1:1", object{"custom_middleware_bundle": id + ".zip"})
		}
		s.writeJSON("tyk.conf", s.conf)
		output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.Error(t, err)
		require.Contains(t, output, "good.zip: in order")
		require.NotContains(t, output, "it ran")
		for _, want := range []string{`"other.zip": its driver "grpc"`, `"garbage.zip"`, `"absent.zip"`} {
			require.Contains(t, output, want)
		}
		left, err := filepath.Glob(filepath.Join(s.dir, "middleware", "*"))
		require.NoError(t, err)
		require.Empty(t, left)
	})
	t.Run("all faults at once", func(t *testing.T) {
		s := newSite(t)
		s.conf["listen_port"] = 99999
		s.conf["bundle_base_url"] = "gopher://example"
		s.conf["public_key_path"] = "/nonexistent.pem"
		s.conf["no_such_setting"] = true
		s.api("protected", "no target", object{"enable_jwt": true})
		s.writeJSON("tyk.conf", s.conf)
		output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.Error(t, err)
		for _, want := range []string{
			"listen_port", "bundle_base_url", "public_key_path", "no_such_setting",
			filepath.Join("apps", "protected.json"), "enable_jwt", "target_url",
		} {
			require.Contains(t, output, want)
		}
	})
	t.Run("without a configuration", func(t *testing.T) {
		output, err := krait(t, t.TempDir(), "doctor", "--venv", venv(t))
		require.NoError(t, err, output)
		require.Contains(t, output, "libpython")
	})
	t.Run("no Python where it should be", func(t *testing.T) {
		output, err := krait(t, t.TempDir(), "doctor", "--venv", t.TempDir())
		require.Error(t, err)
		require.Contains(t, output, "no usable Python")
	})
}
