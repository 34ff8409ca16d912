package config_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/jsonfile"
)

// writeKeyPair writes a self-signed certificate and its key.
func writeKeyPair(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

func files(t *testing.T, conf string) {
	t.Helper()
	workdir(t, conf)
	writeKeyPair(t, "cert.pem", "cert.key")
	writeKeyPair(t, "other.pem", "other.key")
	require.NoError(t, os.WriteFile("plain.txt", []byte("plain"), 0o600))
	require.NoError(t, os.Mkdir("venv", 0o700))
}

func TestLoadAcceptsWhatIsRight(t *testing.T) {
	for _, conf := range []string{
		`{"listen_address": "::1"}`,
		`{"listen_address": "localhost"}`,
		`{"enable_bundle_downloader": true, "bundle_base_url": "https://host/bundles"}`,
		`{"enable_bundle_downloader": true, "bundle_base_url": "file:///bundles"}`,
		`{"bundle_base_url": "not used while the downloader is off"}`,
		`{"public_key_path": "key.pem", "require_manifest_signature": true}`,
		`{"http_server_options": {"use_ssl": true, "min_version": 772, "certificates": [{"domain_name": "d", "cert_file": "cert.pem", "key_file": "cert.key"}]}}`,
		`{"http_server_options": {"use_ssl": false, "certificates": [{"cert_file": "gone"}]}}`,
		`{"enable_coprocess": true, "coprocess_options": {"venv": "venv", "python_version": "3.11"}}`,
		`{"enable_coprocess": true, "coprocess_options": {"python_home": "venv"}}`,
		`{"enable_coprocess": true, "coprocess_options": {"python_version": "3.13"}}`,
		`{"coprocess_options": {"venv": "not used while plugins are off"}}`,
		`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "dns:///plugins:5555"}}`,
		`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "unix:///run/plugin.sock"}}`,
		`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "tcp://plugin:5555", "grpc_tls": {"enabled": true, "ca_file": "cert.pem", "cert_file": "cert.pem", "key_file": "cert.key"}}}`,
		`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "tcp://plugin:5555", "grpc_tls": {"enabled": true}}}`,
		`{"storage": {"type": "redis"}}`,
		`{"storage": {"type": "redis", "hosts": {"a": "6379", "b": "6380"}}}`,
		`{"storage": {"type": "redis", "addrs": ["[::1]:6379"], "master_name": "m"}}`,
		`{"storage": {"type": "redis", "use_ssl": true, "ca_file": "cert.pem", "cert_file": "cert.pem", "key_file": "cert.key"}}`,
		`{"storage": {"type": "redis", "tls_min_version": "1.2", "tls_max_version": "1.3"}}`,
		`{"policies": {"policy_source": "file", "policy_record_name": "policies.json"}}`,
		`{"secret": "https://looks-like-a-url"}`,
		`{"log_format": "standard", "log_level": "WARN"}`,
		`{"hostname": "", "security": {"pinned_public_keys": {}, "control_api_use_mutual_tls": false}, "slave_options": {"use_rpc": false}}`,
		`{"proxy_ssl_min_version": 771, "ssl_force_common_name_check": false}`,
	} {
		t.Run(conf, func(t *testing.T) {
			files(t, conf)
			_, _, err := config.Load("tyk.conf", nil)
			require.NoError(t, err)
		})
	}
}

func TestLoadRefusesWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		conf   string
		fields []string
	}{
		{`{"listen_port": 0}`, []string{"listen_port"}},
		{`{"listen_port": 1.5}`, []string{"listen_port"}},
		{`{"listen_address": "127.0.0.1:8080"}`, []string{"listen_address"}},
		{`{"app_path": "plain.txt"}`, []string{"app_path"}},
		{`{"middleware_path": "plain.txt"}`, []string{"middleware_path"}},
		{`{"health_check_endpoint_name": "a b"}`, []string{"health_check_endpoint_name"}},
		{`{"log_level": "loud", "log_format": "xml"}`, []string{"log_level", "log_format"}},
		{`{"policies": {"policy_source": "service"}}`, []string{"policies.policy_source"}},
		{`{"policies": {"policy_source": "moon"}}`, []string{"policies.policy_source"}},
		{`{"enable_bundle_downloader": true, "bundle_base_url": "host/bundles"}`, []string{"bundle_base_url"}},
		{`{"enable_bundle_downloader": true, "bundle_base_url": "http:///bundles"}`, []string{"bundle_base_url"}},
		{`{"enable_bundle_downloader": true, "bundle_base_url": "ftp://host/"}`, []string{"bundle_base_url"}},
		{`{"enable_bundle_downloader": true, "bundle_base_url": "file:bundles"}`, []string{"bundle_base_url"}},
		{`{"enable_bundle_downloader": true, "bundle_base_url": "http://h:x/"}`, []string{"bundle_base_url"}},
		{`{"public_key_path": "plain.txt"}`, []string{"public_key_path"}},
		{`{"require_manifest_signature": true}`, []string{"require_manifest_signature"}},
		{
			`{"global_session_lifetime": -1, "max_idle_connections_per_host": -1, "proxy_default_timeout": -0.5}`,
			[]string{"global_session_lifetime", "max_idle_connections_per_host", "proxy_default_timeout"},
		},
		{
			`{"http_server_options": {"read_timeout": -1, "write_timeout": -1, "flush_interval": -1, "max_request_body_size": -1, "min_version": 1}}`,
			[]string{"http_server_options.read_timeout", "http_server_options.write_timeout", "http_server_options.flush_interval", "http_server_options.max_request_body_size", "http_server_options.min_version"},
		},
		{`{"global_session_lifetime": 9223372036854775807, "proxy_default_timeout": 1e300}`, []string{"global_session_lifetime", "proxy_default_timeout"}},
		{`{"http_server_options": {"use_ssl": true}}`, []string{"http_server_options.certificates"}},
		{
			`{"http_server_options": {"use_ssl": true, "certificates": [{}, {"cert_file": "gone", "key_file": "plain.txt"}, {"cert_file": "cert.pem", "key_file": "other.key"}]}}`,
			[]string{"http_server_options.certificates[0].cert_file", "http_server_options.certificates[0].key_file", "http_server_options.certificates[1].cert_file", "http_server_options.certificates[1].key_file", "http_server_options.certificates[2].cert_file"},
		},
		{
			`{"coprocess_options": {"max_in_flight": 0, "max_waiting": -1, "hook_timeout": "0s", "isolation": "process", "python_version": "2.7", "grpc_recv_max_size": -1}}`,
			[]string{"coprocess_options.max_in_flight", "coprocess_options.max_waiting", "coprocess_options.hook_timeout", "coprocess_options.isolation", "coprocess_options.python_version", "coprocess_options.grpc_recv_max_size"},
		},
		{`{"enable_coprocess": true, "coprocess_options": {"venv": "venv", "python_home": "venv"}}`, []string{"coprocess_options.python_home"}},
		{`{"coprocess_options": {"hook_timeout": 10}}`, []string{"coprocess_options.hook_timeout"}},
		{`{"coprocess_options": {"hook_timeout": "ten", "isolation": "vm"}}`, []string{"coprocess_options.hook_timeout", "coprocess_options.isolation"}},
		{`{"enable_coprocess": true, "coprocess_options": {"venv": "gone", "python_home": "plain.txt"}}`, []string{"coprocess_options.python_home", "coprocess_options.venv"}},
		{`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "tcp://"}}`, []string{"coprocess_options.coprocess_grpc_server"}},
		{`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "host:5555"}}`, []string{"coprocess_options.coprocess_grpc_server"}},
		{`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "dns:///"}}`, []string{"coprocess_options.coprocess_grpc_server"}},
		{`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "unix://run/plugin.sock"}}`, []string{"coprocess_options.coprocess_grpc_server"}},
		{
			`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "tcp://a:1", "grpc_tls": {"ca_file": "cert.pem", "insecure_skip_verify": true}}}`,
			[]string{"coprocess_options.grpc_tls.ca_file", "coprocess_options.grpc_tls.insecure_skip_verify"},
		},
		{
			`{"enable_coprocess": true, "coprocess_options": {"coprocess_grpc_server": "tcp://a:1", "grpc_tls": {"enabled": true, "ca_file": "cert.key", "cert_file": "cert.pem"}}}`,
			[]string{"coprocess_options.grpc_tls.ca_file", "coprocess_options.grpc_tls.key_file"},
		},
		{`{"storage": {"type": "redis", "host": "h:1", "port": 70000, "database": -1}}`, []string{"storage.port", "storage.host", "storage.database"}},
		{`{"storage": {"type": "redis", "addrs": ["a:1", "b"]}}`, []string{"storage.addrs[1]"}},
		{`{"storage": {"type": "redis", "hosts": {"a": "x"}}}`, []string{"storage.hosts"}},
		{`{"storage": {"type": "redis", "enable_cluster": true, "master_name": "m", "database": 3}}`, []string{"storage.master_name", "storage.database"}},
		{`{"storage": {"type": "redis", "ca_file": "cert.pem"}}`, []string{"storage.ca_file"}},
		{`{"storage": {"type": "redis", "use_ssl": true, "ca_file": "cert.key", "cert_file": "cert.pem"}}`, []string{"storage.ca_file", "storage.key_file"}},
		{`{"secret": "vault://engine/secret", "storage": {"password": "consul://pw"}}`, []string{"secret", "storage.password"}},
		{`{"storage": {"type": "redis", "tls_min_version": "1.3"}}`, []string{"storage.tls_min_version"}},
		{`{"hostname": "gw.example"}`, []string{"hostname"}},
		{`{"control_api_hostname": "x", "control_api_port": 9696}`, []string{"control_api_hostname", "control_api_port"}},
		{
			`{"Security": {"control_api_use_mutual_tls": true, "pinned_public_keys": {"*": "k"}, "certificates": {"upstream": {"*": "c"}}}}`,
			[]string{"Security.control_api_use_mutual_tls", "Security.pinned_public_keys", "Security.certificates.upstream"},
		},
		{
			`{"http_server_options": {"use_ssl_le": true, "ssl_certificates": ["x"], "ssl_ciphers": ["x"]}}`,
			[]string{"http_server_options.use_ssl_le", "http_server_options.ssl_certificates", "http_server_options.ssl_ciphers"},
		},
		{
			`{"ssl_force_common_name_check": true, "proxy_ssl_min_version": 772, "proxy_ssl_ciphers": ["x"], "enforce_org_quotas": true}`,
			[]string{"ssl_force_common_name_check", "proxy_ssl_min_version", "proxy_ssl_ciphers", "enforce_org_quotas"},
		},
		{`{"slave_options": {"use_rpc": true}}`, []string{"slave_options.use_rpc"}},
	} {
		t.Run(tc.conf, func(t *testing.T) {
			files(t, tc.conf)
			_, _, err := config.Load("tyk.conf", nil)
			var fields []string
			for _, fault := range jsonfile.Faults("", err) {
				require.Equal(t, "tyk.conf", fault.File)
				require.NotEmpty(t, fault.Problem)
				fields = append(fields, fault.Field)
			}
			require.Equal(t, tc.fields, fields)
		})
	}
}

func TestLoadWarnings(t *testing.T) {
	for _, tc := range []struct {
		name, conf string
		want       []string
	}{
		{"what asks for nothing", `{"enable_analytics": false, "analytics_config": {"type": "", "ignored_ips": []}, "allow_insecure_configs": true, "tracing": {"enabled": false, "name": "x"}}`, nil},
		{"what is without effect", `{"enable_analytics": true, "storage": {"compress_api_definitions": true}}`, []string{
			"tyk.conf: enable_analytics: is not known or not supported, and without effect",
			"tyk.conf: storage.compress_api_definitions: is not known or not supported, and without effect",
		}},
		{"a plugin server while plugins are off", `{"coprocess_options": {"coprocess_grpc_server": "tcp://a:1"}}`, []string{
			"tyk.conf: coprocess_options.coprocess_grpc_server: plugins are off; set coprocess_options.enable_coprocess",
		}},
		{"a typing mistake", `{"listen_prot": 1}`, []string{"tyk.conf: listen_prot: is not known or not supported, and without effect"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files(t, tc.conf)
			_, warnings, err := config.Load("tyk.conf", nil)
			require.NoError(t, err)
			require.Equal(t, tc.want, warnings)
		})
	}
}

func TestValidateOfAConfigMadeInCode(t *testing.T) {
	files(t, "")
	c := config.Default()
	c.ListenPort = 99999
	require.EqualError(t, c.Validate(), "tyk.conf: listen_port: 99999 is not a port (1-65535); write a port that is free, such as 8080")
}
