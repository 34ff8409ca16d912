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
		for _, want := range []string{`bundle "other.zip": plugin driver "grpc" is not loaded; set coprocess_options.enable_coprocess and coprocess_options.coprocess_grpc_server in tyk.conf`, `"garbage.zip"`, `"absent.zip"`} {
			require.Contains(t, output, want)
		}
		left, err := filepath.Glob(filepath.Join(s.dir, "middleware", "*"))
		require.NoError(t, err)
		require.Empty(t, left)
	})
	t.Run("what the gateway refuses although each file is in order", func(t *testing.T) {
		s := newSite(t)
		s.conf["middleware_path"] = "/proc/nope"
		s.bundle("pre.zip", object{"pre": hooks("X")}, map[string]string{"middleware.py": ""})
		s.bundle("check.zip", object{"auth_check": hook("X")}, map[string]string{"middleware.py": ""})
		s.bundle("check2.zip", object{"auth_check": hook("X")}, map[string]string{"middleware.py": ""})
		own := func(driver string) object {
			return object{"custom_middleware": object{"driver": driver, "pre": hooks("X")}}
		}
		s.api("python-without-bundle", "http://127.0.0.1:1", own("python"))
		s.api("grpc-hooks", "http://127.0.0.1:1", own("grpc"))
		s.api("hello", "http://127.0.0.1:1", nil)
		s.api("status", "http://127.0.0.1:1", object{"proxy": object{"listen_path": "/tyk/apis", "target_url": "http://127.0.0.1:1"}})
		s.api("twice", "http://127.0.0.1:1", object{"custom_middleware_bundle": "pre.zip,pre.zip"})
		s.api("two-checks", "http://127.0.0.1:1", object{"custom_middleware_bundle": "check.zip,check2.zip"})
		s.api("no-check", "http://127.0.0.1:1", object{"use_keyless": false, "enable_coprocess_auth": true, "custom_middleware_bundle": "pre.zip"})
		s.api("outside", "http://127.0.0.1:1", object{"custom_middleware_bundle": "../../etc/passwd"})
		s.api("no-ca", "http://127.0.0.1:1", object{"use_keyless": false, "external_oauth": object{"enabled": true, "providers": []any{object{
			"introspection": object{"enabled": true, "url": "https://idp.invalid/", "client_id": "a", "tls": object{"ca_file": "/nowhere/ca.pem"}},
		}}}})
		s.api("inactive", "http://127.0.0.1:1", object{"active": false, "custom_middleware_bundle": "not-asked-for.zip"})
		s.writeJSON("tyk.conf", s.conf)
		output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.Error(t, err)
		for _, want := range []string{
			"python-without-bundle.json: custom_middleware: names Python functions, but no bundle holds their code; set custom_middleware_bundle",
			`grpc-hooks.json: custom_middleware.driver: plugin driver "grpc" is not loaded`,
			"hello.json: proxy.listen_path: is where the gateway itself answers (/hello)",
			"status.json: proxy.listen_path: is below /tyk, where the gateway itself answers",
			`twice.json: custom_middleware_bundle: bundle "pre.zip" is listed twice`,
			`API "two-checks": custom_middleware_bundle:`,
			`API "no-check": a plugin is to authenticate, but there is no auth_check hook`,
			`bundle "../../etc/passwd": bundle name is not usable`,
			"no-ca.json: external_oauth: introspection: tls.ca_file: open /nowhere/ca.pem",
			"middleware_path: bundles cannot be written to /proc/nope/bundles",
		} {
			require.Contains(t, output, want)
		}
		require.NotContains(t, output, "not-asked-for.zip")
	})
	t.Run("Python bundles while Python is off", func(t *testing.T) {
		s := newSite(t)
		s.conf["coprocess_options"] = object{"enable_coprocess": false}
		s.bundle("pre.zip", object{"pre": hooks("X")}, map[string]string{"middleware.py": ""})
		s.api("pre", "http://127.0.0.1:1", object{"custom_middleware_bundle": "pre.zip"})
		s.writeJSON("tyk.conf", s.conf)
		output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.Error(t, err)
		require.Contains(t, output, `bundle "pre.zip": plugin driver "python" is not loaded; set coprocess_options.enable_coprocess`)
	})
	t.Run("bundles while the downloader is off", func(t *testing.T) {
		s := newSite(t)
		s.conf["enable_bundle_downloader"] = false
		s.conf["middleware_path"] = "/proc/nope"
		s.api("absent", "http://127.0.0.1:1", object{"custom_middleware_bundle": "absent.zip"})
		s.api("outside", "http://127.0.0.1:1", object{"custom_middleware_bundle": "../../etc/passwd"})
		s.writeJSON("tyk.conf", s.conf)
		output, err := krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.Error(t, err)
		require.Contains(t, output, `fetch bundle "absent.zip": bundle not found`)
		require.Contains(t, output, "the downloader is off; set enable_bundle_downloader")
		require.Contains(t, output, `bundle "../../etc/passwd": bundle name is not usable`)
		require.NotContains(t, output, "cannot be written")
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
		require.Contains(t, output, "correct or remove --venv")
	})
	t.Run("no Python of the version that is asked for", func(t *testing.T) {
		output, err := krait(t, t.TempDir(), "doctor", "--python-version", "3.99")
		require.Error(t, err)
		require.Contains(t, output, "--python-version is 3.99")
		s := newSite(t)
		s.conf["coprocess_options"] = object{"enable_coprocess": true, "python_version": "3.99"}
		s.writeJSON("tyk.conf", s.conf)
		output, err = krait(t, s.dir, "doctor", "--conf", "tyk.conf")
		require.Error(t, err)
		require.Contains(t, output, "FAULT  no usable Python was found: coprocess_options.python_version is 3.99")
		require.Contains(t, output, "correct or remove coprocess_options.python_version")
	})
}
