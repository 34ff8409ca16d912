package config

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/krait-gateway/krait/jsonfile"
	"github.com/krait-gateway/krait/telemetry"
)

// validator collects what is wrong with a Config.
type validator struct {
	file string
	// origin maps keys to the variables that set them.
	origin map[string]string
	faults []jsonfile.Fault
}

func (v *validator) add(key, problem, next string) {
	fault := jsonfile.Fault{File: v.file, Field: key, Problem: problem, Next: next}
	setting, _, _ := strings.Cut(key, "[")
	if name, ok := v.origin[setting]; ok {
		fault.File, fault.Field = envSource, name
	}
	v.faults = append(v.faults, fault)
}

func (v *validator) run(c *Config) {
	v.server(c)
	v.definitions(c)
	v.bundles(c)
	v.coprocess(&c.CoprocessOptions)
	v.storage(&c.Storage)
	v.references(c)
	if _, err := telemetry.ParseLevel(c.LogLevel); err != nil {
		v.add("log_level", fmt.Sprintf("%q is not known", c.LogLevel), "use debug, info, warn or error")
	}
	if _, err := telemetry.NewLogger(io.Discard, "", c.LogFormat); err != nil {
		v.add("log_format", fmt.Sprintf("%q is not known", c.LogFormat), "use text or json")
	}
	v.seconds("global_session_lifetime", c.GlobalSessionLifetime)
	notNegative(v, "max_idle_connections_per_host", c.MaxIdleConnectionsPerHost)
	if t := c.ProxyDefaultTimeout; math.IsNaN(t) || t < 0 || t > float64(longest) {
		v.add("proxy_default_timeout", "is not a number of seconds", "write 30 for half a minute")
	}
}

func notNegative[T cmp.Ordered](v *validator, key string, value T) {
	var zero T
	if value < zero {
		v.add(key, fmt.Sprint(value, " is negative"), "write 0 or more")
	}
}

// longest is the number of seconds that fits into a time.Duration.
const longest = int64(math.MaxInt64 / time.Second)

func (v *validator) seconds(key string, value int64) {
	notNegative(v, key, value)
	if value > longest {
		v.add(key, fmt.Sprint(value, " seconds are too long"), "write a smaller number, or 0")
	}
}

func (v *validator) server(c *Config) {
	v.port("listen_port", c.ListenPort, "write a port that is free, such as 8080")
	if !isHost(c.ListenAddress) && c.ListenAddress != "" {
		v.add("listen_address", "is not an address", "write an IP address or host name without port, or remove it to listen on every address")
	}
	if strings.ContainsAny(c.HealthCheckEndpointName, " ?#{}*\t\r\n") {
		v.add("health_check_endpoint_name", "is not a path", "write a name such as hello")
	}
	if strings.HasPrefix(c.HealthPath()+"/", AdminPath+"/") {
		v.add("health_check_endpoint_name", "is below "+AdminPath+", where the gateway's own API is", "write a name such as hello")
	}
	o := &c.HTTPServerOptions
	const key = "http_server_options."
	v.seconds(key+"read_timeout", int64(o.ReadTimeout))
	v.seconds(key+"write_timeout", int64(o.WriteTimeout))
	notNegative(v, key+"flush_interval", o.FlushInterval)
	notNegative(v, key+"max_request_body_size", o.MaxRequestBodySize)
	if o.MinVersion != 0 && (o.MinVersion < 0x0301 || o.MinVersion > 0x0304) {
		v.add(key+"min_version", fmt.Sprint(o.MinVersion, " is not a TLS version"), "write 771 for TLS 1.2 or 772 for TLS 1.3")
	}
	if !o.UseSSL {
		return
	}
	if len(o.Certificates) == 0 {
		v.add(key+"certificates", "is missing, but use_ssl is true", "name at least one cert_file and key_file, or set use_ssl to false")
	}
	for i, certificate := range o.Certificates {
		v.keyPair(fmt.Sprintf("%scertificates[%d].", key, i), certificate.CertFile, certificate.KeyFile)
	}
}

func (v *validator) port(key string, port int, next string) {
	if port < 1 || port > 65535 {
		v.add(key, fmt.Sprint(port, " is not a port (1-65535)"), next)
	}
}

func (v *validator) definitions(c *Config) {
	if c.UseDBAppConfigs {
		v.add("use_db_app_configs", "is true, but API definitions from a dashboard are not supported",
			"set it to false and put the definitions as .json files into the directory app_path")
		return
	}
	v.directory("app_path", c.AppPath, "create the directory for the API definitions, or name another")
	if info, err := os.Stat(c.MiddlewarePath); err == nil && !info.IsDir() {
		v.add("middleware_path", c.MiddlewarePath+" is not a directory", "name a directory in which bundles can be unpacked")
	}
	switch c.Policies.PolicySource {
	case "", "file":
	case "service", "rpc":
		v.add("policies.policy_source", "is "+c.Policies.PolicySource+", but policies from a dashboard are not supported",
			"set it to file and name the file in policies.policy_record_name")
	default:
		v.add("policies.policy_source", fmt.Sprintf("%q is not known", c.Policies.PolicySource), "use file or remove it")
	}
}

func (v *validator) bundles(c *Config) {
	if c.EnableBundleDownloader {
		v.baseURL(c.BundleBaseURL)
	}
	switch {
	case c.PublicKeyPath != "":
		v.pem("public_key_path", c.PublicKeyPath, "name a PEM file with the public key that bundles are signed for, or remove it to load unsigned bundles")
	case c.RequireManifestSignature:
		v.add("require_manifest_signature", "is true, but there is no key to check signatures with", "set public_key_path")
	}
}

func (v *validator) baseURL(text string) {
	const key, next = "bundle_base_url", "write the URL of the directory that holds the bundles, such as http://host:8000/"
	base, err := url.Parse(text)
	switch {
	case text == "":
		v.add(key, "is missing, but enable_bundle_downloader is true", next)
	case err != nil:
		v.add(key, "is not a URL", next)
	case base.Scheme == "http" || base.Scheme == "https":
		if base.Hostname() == "" {
			v.add(key, "has no host", next)
		}
	case base.Scheme == "file":
		if base.Path == "" || base.Opaque != "" {
			v.add(key, "has no absolute path", "write file:///path/to/bundles/")
		}
	case base.Scheme == "":
		v.add(key, "is not an absolute URL", next)
	default:
		v.add(key, "has the scheme "+base.Scheme+", which is not supported", "use http, https or file")
	}
}

func (v *validator) coprocess(o *CoprocessOptions) {
	const key = "coprocess_options."
	if o.MaxInFlight < 1 {
		v.add(key+"max_in_flight", fmt.Sprint(o.MaxInFlight, " is not a number of calls"), "write 1 or more; 128 is the default")
	}
	if o.MaxWaiting < 1 {
		v.add(key+"max_waiting", fmt.Sprint(o.MaxWaiting, " is not a number of calls"), "write 1 or more; 4096 is the default")
	}
	if o.HookTimeout <= 0 {
		v.add(key+"hook_timeout", "is not above zero", `write a duration such as "10s"`)
	}
	switch o.Isolation {
	case "", IsolationInProcess:
	case "process":
		v.add(key+"isolation", "process is not available in this version", "use inprocess or remove it")
	default:
		v.add(key+"isolation", fmt.Sprintf("%q is not known", o.Isolation), "use inprocess or remove it")
	}
	if o.PythonVersion != "" && !pythonVersion.MatchString(o.PythonVersion) {
		v.add(key+"python_version", fmt.Sprintf("%q is not a version", o.PythonVersion), "write for example 3.11, or remove it to take what is there")
	}
	notNegative(v, key+"grpc_recv_max_size", o.GRPCRecvMaxSize)
	notNegative(v, key+"grpc_send_max_size", o.GRPCSendMaxSize)
	if !o.EnableCoprocess {
		return
	}
	if o.PythonHome != "" {
		v.directory(key+"python_home", o.PythonHome, "name the prefix of a Python installation, or remove it")
	}
	if o.Venv != "" {
		v.directory(key+"venv", o.Venv, "create it with python3 -m venv, or remove the setting")
	}
	if o.Venv != "" && o.PythonHome != "" {
		v.add(key+"python_home", "is set beside venv, which names a Python too", "remove one of the two")
	}
	if o.GRPCServer != "" {
		v.grpcServer(key+"coprocess_grpc_server", o.GRPCServer)
		v.grpcTLS(key+"grpc_tls.", &o.GRPCTLS)
	}
}

var pythonVersion = regexp.MustCompile(`^3(\.[0-9]{1,2}(\.[0-9]{1,2})?)?$`)

// references refuses Tyk's references into key-value stores where taking them
// for the value would be worst.
func (v *validator) references(c *Config) {
	for _, setting := range []struct{ key, value string }{
		{"secret", string(c.Secret)},
		{"storage.host", c.Storage.Host},
		{"storage.username", c.Storage.Username},
		{"storage.password", string(c.Storage.Password)},
		{"storage.sentinel_password", string(c.Storage.SentinelPassword)},
	} {
		scheme, _, ok := strings.Cut(setting.value, "://")
		switch {
		case !ok:
		case scheme == "env", scheme == "secrets", scheme == "vault", scheme == "consul":
			v.add(setting.key, "refers to a key-value store ("+scheme+"://), which is not supported",
				"write the value itself, or set it with a TYK_GW_ variable")
		}
	}
}

func isPort(text string) bool {
	port, err := strconv.ParseUint(text, 10, 16)
	return err == nil && port > 0
}

// isHost says whether text is an IP address or looks like a host name.
func isHost(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	return text != "" && !strings.ContainsAny(text, ":/?#@[] \t\r\n")
}

func isHostPort(text string) bool {
	host, port, err := net.SplitHostPort(text)
	return err == nil && isHost(host) && isPort(port)
}
