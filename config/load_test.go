package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/jsonfile"
)

// workdir makes a working directory with what the default settings need and
// writes tyk.conf there.
func workdir(t *testing.T, conf string) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	require.NoError(t, os.Mkdir("apps", 0o700))
	require.NoError(t, os.WriteFile("key.pem", []byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), 0o600))
	require.NoError(t, os.WriteFile("tyk.conf", []byte(conf), 0o600))
	return dir
}

func TestLoadWithoutAnythingIsTheDefault(t *testing.T) {
	workdir(t, "")
	for name, path := range map[string]string{"no file": "", "empty object": "empty.conf"} {
		require.NoError(t, os.WriteFile("empty.conf", []byte("{}"), 0o600))
		t.Run(name, func(t *testing.T) {
			got, warnings, err := config.Load(path, []string{"PATH=/bin", "HOME=/"})
			require.NoError(t, err)
			require.Empty(t, warnings)
			require.Equal(t, config.Default(), got)
			require.Equal(t, ":8080", got.Address())
			require.NoError(t, got.Validate())
		})
	}
}

// The block of the public Python plugin tutorial, with paths that exist here.
const tutorial = `{
"coprocess_options": {
    "enable_coprocess": true,
    "python_path_prefix": "/opt/tyk-gateway"
},
"enable_bundle_downloader": true,
"bundle_base_url": "http://dummy-bundle-server.com/bundles/",
"public_key_path": "%s"
}`

func TestLoadTutorialBlock(t *testing.T) {
	workdir(t, fmt.Sprintf(tutorial, "key.pem"))
	got, warnings, err := config.Load("tyk.conf", nil)
	require.NoError(t, err)
	require.Empty(t, warnings)
	want := config.Default()
	want.EnableCoprocess = true
	want.CoprocessOptions.EnableCoprocess = true
	want.CoprocessOptions.PythonPathPrefix = "/opt/tyk-gateway"
	want.EnableBundleDownloader = true
	want.BundleBaseURL = "http://dummy-bundle-server.com/bundles/"
	want.PublicKeyPath = "key.pem"
	require.Equal(t, want, got)
}

func TestLoadTutorialBlockWithItsPlaceholderKey(t *testing.T) {
	workdir(t, fmt.Sprintf(tutorial, "/path/to/my/pubkey"))
	_, _, err := config.Load("tyk.conf", nil)
	require.EqualError(t, err, "tyk.conf: public_key_path: /path/to/my/pubkey cannot be read: no such file or directory; "+
		"name a PEM file with the public key that bundles are signed for, or remove it to load unsigned bundles")
}

// The configuration of the public phantom token guide, made for a dashboard.
const phantom = `{
"listen_port": 8080,
"secret": "352d20ee67be67f6340b4c0605b044b7",
"enable_coprocess": true,
"coprocess_options": {
"enable_coprocess": true,
"coprocess_grpc_server": "tcp://phantom-plugin:50051"
},
"enable_bundle_downloader": true,
"bundle_base_url": "http://bundle-server/",
"use_db_app_configs": %v,
"db_app_conf_options": {
"connection_string": "http://tyk-dashboard:3000",
"node_is_segmented": false,
"enable_app_key_hashing": false,
"use_app_id_as_key": true
},
"storage": { "type": "redis", "host": "tyk-redis", "port": 6379 },
"log_level": "debug"
}`

func TestLoadDashboardConfiguration(t *testing.T) {
	workdir(t, fmt.Sprintf(phantom, true))
	_, warnings, err := config.Load("tyk.conf", nil)
	require.EqualError(t, err, "tyk.conf: use_db_app_configs: is true, but API definitions from a dashboard are not supported; "+
		"set it to false and put the definitions as .json files into the directory app_path")
	require.Equal(t, []string{
		"tyk.conf: db_app_conf_options: is not known or not supported, and without effect",
	}, warnings)

	workdir(t, fmt.Sprintf(phantom, false))
	got, _, err := config.Load("tyk.conf", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"tyk-redis:6379"}, got.Storage.Addresses())
	require.Equal(t, "tcp://phantom-plugin:50051", got.CoprocessOptions.GRPCServer)
}

func TestLoadForumConfiguration(t *testing.T) {
	workdir(t, `{
		"enable_bundle_downloader": true, "bundle_base_url": "https://github.com/sipsynergy/tyk-token-validator-plugin/blob/master/",
		"global_session_lifetime": 100, "force_global_session_lifetime": false, "max_idle_connections_per_host": 100,
		"custom_middleware": {"pre": [{"name": "ExternalTokenValidatorMiddleware", "require_session": true}], "driver": "python"}
	}`)
	got, warnings, err := config.Load("tyk.conf", nil)
	require.NoError(t, err)
	require.Equal(t, []string{"tyk.conf: custom_middleware: has no effect here; it belongs into an API definition or a bundle's manifest"}, warnings)
	require.Equal(t, int64(100), got.GlobalSessionLifetime)
	require.Equal(t, 100, got.MaxIdleConnectionsPerHost)
}

func TestLoadNormalises(t *testing.T) {
	workdir(t, `{"enable_coprocess": true, "storage": {"type": "", "host": ""}, "health_check_endpoint_name": "/healthz",
		"proxy_default_timeout": 0, "log_level": "", "app_path": "", "coprocess_options": {"hook_timeout": "1m30s", "isolation": ""}}`)
	got, _, err := config.Load("tyk.conf", nil)
	require.NoError(t, err)
	require.True(t, got.CoprocessOptions.EnableCoprocess)
	require.Equal(t, config.StorageMemory, got.Storage.Type)
	require.Equal(t, "healthz", got.HealthCheckEndpointName)
	require.InDelta(t, 30, got.ProxyDefaultTimeout, 0)
	require.Equal(t, 90*time.Second, time.Duration(got.CoprocessOptions.HookTimeout))
	require.Equal(t, "apps", got.AppPath)
}

func TestLoadEnvironmentWinsOverFile(t *testing.T) {
	workdir(t, `{"listen_port": 1, "secret": "file", "storage": {"type": "memory", "addrs": ["a:1"]}}`)
	got, warnings, err := config.Load("tyk.conf", []string{
		"TYK_GW_LISTENPORT=9000",
		"TYK_GW_LISTENADDRESS=127.0.0.1",
		"TYK_GW_SECRET=s=ecret",
		"TYK_GW_APPPATH=./apps",
		"TYK_GW_LOGLEVEL=debug",
		"TYK_GW_LOGFORMAT=json",
		"TYK_GW_STORAGE_TYPE=redis",
		"TYK_GW_STORAGE_HOST=redis",
		"TYK_GW_STORAGE_ADDRS=r1:6379,r2:6380",
		"TYK_GW_STORAGE_ENABLECLUSTER=true",
		"TYK_GW_STORAGE_PASSWORD=pw",
		"TYK_GW_STORAGE_MAXACTIVE=50",
		"TYK_GW_STORAGE_MASTERNAME=",
		"TYK_GW_COPROCESSOPTIONS_ENABLECOPROCESS=true",
		"TYK_GW_COPROCESSOPTIONS_PYTHONPATHPREFIX=/opt/tyk-gateway",
		"TYK_GW_COPROCESSOPTIONS_HOOKTIMEOUT=2s",
		"TYK_GW_COPROCESSOPTIONS_COPROCESSGRPCSERVER=tcp://127.0.0.1:5555",
		"TYK_GW_COPROCESSOPTIONS_GRPCTLS_ENABLED=true",
		"TYK_GW_ENABLEBUNDLEDOWNLOADER=1",
		"TYK_GW_BUNDLEBASEURL=file:///bundles/",
		"TYK_GW_PUBLICKEYPATH=key.pem",
		"TYK_GW_MAXIDLECONNSPERHOST=500",
		"TYK_GW_PROXYDEFAULTTIMEOUT=1.5",
		"TYK_GW_HTTPSERVEROPTIONS_MAXREQUESTBODYSIZE=5000",
		"TYK_GW_HTTPSERVEROPTIONS_MINVERSION=771",
		`TYK_GW_HTTPSERVEROPTIONS_CERTIFICATES=[{"domain_name": "d", "cert_file": "c.pem", "key_file": "k.pem"}]`,
		"TYK_GW_POLICIES_POLICYSOURCE=file",
	})
	require.NoError(t, err)
	require.Equal(t, []string{
		"tyk.conf: policies.policy_source: there are no policies; name their file in policies.policy_record_name",
	}, warnings)
	require.Equal(t, "127.0.0.1:9000", got.Address())
	require.Equal(t, config.Secret("s=ecret"), got.Secret)
	require.Equal(t, []string{"r1:6379", "r2:6380"}, got.Storage.Addresses())
	require.True(t, got.Storage.EnableCluster)
	require.Equal(t, 50, got.Storage.MaxActive)
	require.Equal(t, 500, got.MaxIdleConnectionsPerHost)
	require.Equal(t, 2*time.Second, time.Duration(got.CoprocessOptions.HookTimeout))
	require.True(t, got.CoprocessOptions.GRPCTLS.Enabled)
	require.Equal(t, int64(5000), got.HTTPServerOptions.MaxRequestBodySize)
	require.Equal(t, []config.Certificate{{DomainName: "d", CertFile: "c.pem", KeyFile: "k.pem"}}, got.HTTPServerOptions.Certificates)
	require.True(t, got.EnableBundleDownloader)
	require.InDelta(t, 1.5, got.ProxyDefaultTimeout, 0)
}

func TestLoadEnvironmentFaultsNameTheVariable(t *testing.T) {
	workdir(t, `{}`)
	_, warnings, err := config.Load("tyk.conf", []string{
		"TYK_GW_LISTENPORT=hunter2",
		"TYK_GW_HASHKEYS=hunter2",
		"TYK_GW_PROXYDEFAULTTIMEOUT=hunter2",
		"TYK_GW_COPROCESSOPTIONS_HOOKTIMEOUT=10",
		"TYK_GW_STORAGE_HOSTS=hunter2",
		"TYK_GW_HTTPSERVEROPTIONS_CERTIFICATES=hunter2",
		"TYK_GW_HTTPSERVEROPTIONS_MINVERSION=70000",
		"TYK_GW_STORAGE_TYPE=mongo",
		"TYK_GW_SECURITY_CONTROLAPIUSEMUTUALTLS=true",
		"TYK_GW_HTTPSERVEROPTIONS_CIPHERS=x",
		"TYK_GW_ENFORCEORGQUOTAS=false",
		"TYK_GW_LISTENPROT=hunter2",
	})
	require.EqualError(t, err, strings.Join([]string{
		`environment: TYK_GW_COPROCESSOPTIONS_HOOKTIMEOUT: must be a duration such as "500ms", "10s" or "1m"; write for example TYK_GW_COPROCESSOPTIONS_HOOKTIMEOUT=10s`,
		`environment: TYK_GW_HASHKEYS: must be true or false; write for example TYK_GW_HASHKEYS=true`,
		`environment: TYK_GW_HTTPSERVEROPTIONS_CERTIFICATES: must be a JSON list such as [{"domain_name": "...", "cert_file": "...", "key_file": "..."}]; write for example TYK_GW_HTTPSERVEROPTIONS_CERTIFICATES='[{"cert_file": "server.pem", "key_file": "server.key"}]'`,
		`environment: TYK_GW_HTTPSERVEROPTIONS_CIPHERS: is active, but this version of krait does not support it and would leave out what it does; remove it; only secure cipher suites are offered`,
		`environment: TYK_GW_HTTPSERVEROPTIONS_MINVERSION: must be a whole number from 0 to 65535; write for example TYK_GW_HTTPSERVEROPTIONS_MINVERSION=771`,
		`environment: TYK_GW_LISTENPORT: must be a whole number; write for example TYK_GW_LISTENPORT=8080`,
		`environment: TYK_GW_PROXYDEFAULTTIMEOUT: must be a number; write for example TYK_GW_PROXYDEFAULTTIMEOUT=30`,
		`environment: TYK_GW_SECURITY_CONTROLAPIUSEMUTUALTLS: is active, but this version of krait does not support it and would leave out what it does; check client certificates in front of the gateway, or set it to false`,
		`environment: TYK_GW_STORAGE_HOSTS: must be a list such as key1:value1,key2:value2; write for example TYK_GW_STORAGE_HOSTS=redis.internal:6379`,
		`environment: TYK_GW_STORAGE_TYPE: "mongo" is not known; use redis, or memory to keep everything in this process`,
	}, "\n"))
	require.Equal(t, []string{"environment: TYK_GW_LISTENPROT: is not known or not supported, and without effect"}, warnings)
}

func TestLoadReportsAllFaultsTogether(t *testing.T) {
	workdir(t, `{"listen_port": 99999, "secret": 1, "app_path": "nowhere", "enable_bundle_downloader": true,
		"control_api_port": 9696, "storage": {"type": "mongo"}, "typo": 1}`)
	got, warnings, err := config.Load("tyk.conf", nil)
	require.EqualError(t, err, strings.Join([]string{
		`tyk.conf: secret: must be text in double quotes, but is a number; write "..."`,
		`tyk.conf: control_api_port: is active, but this version of krait does not support it and would leave out what it does; remove it; the gateway's own API is served on listen_port`,
		`tyk.conf: listen_port: 99999 is not a port (1-65535); write a port that is free, such as 8080`,
		`tyk.conf: app_path: nowhere cannot be read: no such file or directory; create the directory for the API definitions, or name another`,
		`tyk.conf: bundle_base_url: is missing, but enable_bundle_downloader is true; write the URL of the directory that holds the bundles, such as http://host:8000/`,
		`tyk.conf: storage.type: "mongo" is not known; use redis, or memory to keep everything in this process`,
	}, "\n"))
	require.Empty(t, warnings)
	require.Equal(t, 99999, got.ListenPort, "what could be read is there for diagnosis")
}

func TestLoadFilesThatCannotBeUsed(t *testing.T) {
	dir := workdir(t, `{"listen_port": 8080,}`)
	got, _, err := config.Load("tyk.conf", nil)
	require.EqualError(t, err, "tyk.conf:1:22: not valid JSON: invalid character '}' looking for beginning of object key string; correct the file at or just before this place")
	require.Nil(t, got)
	gone := filepath.Join(dir, "gone.conf")
	_, _, err = config.Load(gone, nil)
	require.EqualError(t, err, gone+": cannot be read: no such file or directory; name a configuration file that this process may read")
}

func TestSecretsAreNeverShown(t *testing.T) {
	workdir(t, `{"secret": "hunter2", "storage": {"type": "redis", "password": "hunter2", "sentinel_password": "hunter2"}, "listen_port": 0}`)
	got, _, err := config.Load("tyk.conf", nil)
	require.Error(t, err)
	require.Len(t, jsonfile.Faults("", err), 1)
	text, marshalErr := got.Secret.MarshalText()
	require.NoError(t, marshalErr)
	for _, shown := range []string{
		err.Error(), fmt.Sprint(got.Secret), fmt.Sprintf("%+v %#v", *got, *got), string(text), got.Secret.LogValue().String(),
	} {
		require.NotContains(t, shown, "hunter2")
	}
	require.Equal(t, "hunter2", string(got.Secret))
}

func TestHealthPath(t *testing.T) {
	workdir(t, `{"health_check_endpoint_name": "/health/live/"}`)
	got, _, err := config.Load("tyk.conf", nil)
	require.NoError(t, err)
	require.Equal(t, "/health/live", got.HealthPath())
	require.Equal(t, "/hello", (&config.Config{}).HealthPath())
	_, _, err = config.Load("tyk.conf", []string{"TYK_GW_HEALTHCHECKENDPOINTNAME=tyk/apis"})
	require.EqualError(t, err, "environment: TYK_GW_HEALTHCHECKENDPOINTNAME: is below /tyk, where the gateway's own API is; write a name such as hello")
}
