package config

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// Values of [Storage.Type] after [Load].
const (
	StorageMemory = "memory"
	StorageRedis  = "redis"
)

// IsolationInProcess is the only value of [CoprocessOptions.Isolation] after
// [Load].
const IsolationInProcess = "inprocess"

// Config is tyk.conf. The json tags are the file's keys. The env tags are what
// follows TYK_GW_ in the name of the overriding variable: Tyk derives them
// from its Go field names, which are not the keys everywhere.
type Config struct {
	// ListenAddress is the address to listen on, every one when empty.
	ListenAddress string `json:"listen_address" env:"LISTENADDRESS"`
	ListenPort    int    `json:"listen_port" env:"LISTENPORT"`
	// Secret authenticates calls of the gateway's own API.
	Secret Secret `json:"secret" env:"SECRET"`

	// AppPath is the directory of the API definitions.
	AppPath string `json:"app_path" env:"APPPATH"`
	// UseDBAppConfigs asks for API definitions from a dashboard; refused.
	UseDBAppConfigs bool `json:"use_db_app_configs" env:"USEDBAPPCONFIGS"`
	// MiddlewarePath is the directory below which bundles are unpacked.
	MiddlewarePath string   `json:"middleware_path" env:"MIDDLEWAREPATH"`
	Policies       Policies `json:"policies" envPrefix:"POLICIES_"`

	EnableBundleDownloader bool `json:"enable_bundle_downloader" env:"ENABLEBUNDLEDOWNLOADER"`
	// BundleBaseURL is what a bundle's name is appended to: an http, https
	// or file URL.
	BundleBaseURL            string `json:"bundle_base_url" env:"BUNDLEBASEURL"`
	BundleInsecureSkipVerify bool   `json:"bundle_insecure_skip_verify" env:"BUNDLEINSECURESKIPVERIFY"`
	// PublicKeyPath is a PEM file; when set, bundles have to be signed.
	PublicKeyPath string `json:"public_key_path" env:"PUBLICKEYPATH"`
	// RequireManifestSignature refuses bundles that only sign their files
	// (contract section 5).
	RequireManifestSignature bool `json:"require_manifest_signature" env:"REQUIREMANIFESTSIGNATURE"`

	// EnableCoprocess is the old place of CoprocessOptions.EnableCoprocess.
	// After Load both are the same.
	EnableCoprocess  bool             `json:"enable_coprocess" env:"ENABLECOPROCESS"`
	CoprocessOptions CoprocessOptions `json:"coprocess_options" envPrefix:"COPROCESSOPTIONS_"`

	Storage           Storage           `json:"storage" envPrefix:"STORAGE_"`
	HTTPServerOptions HTTPServerOptions `json:"http_server_options" envPrefix:"HTTPSERVEROPTIONS_"`

	// HealthCheckEndpointName is a path without its leading slash.
	HealthCheckEndpointName string `json:"health_check_endpoint_name" env:"HEALTHCHECKENDPOINTNAME"`
	// LogLevel and LogFormat are as for telemetry.NewLogger.
	LogLevel  string `json:"log_level" env:"LOGLEVEL"`
	LogFormat string `json:"log_format" env:"LOGFORMAT"`

	// HashKeys stores sessions under a hash of their key.
	HashKeys bool `json:"hash_keys" env:"HASHKEYS"`
	// GlobalSessionLifetime is how long sessions are stored, in seconds; 0
	// is forever. An API's own setting wins unless
	// ForceGlobalSessionLifetime is set.
	GlobalSessionLifetime      int64 `json:"global_session_lifetime" env:"GLOBALSESSIONLIFETIME"`
	ForceGlobalSessionLifetime bool  `json:"force_global_session_lifetime" env:"FORCEGLOBALSESSIONLIFETIME"`

	// MaxIdleConnectionsPerHost bounds idle connections to one upstream; 0
	// leaves it to the gateway.
	MaxIdleConnectionsPerHost int `json:"max_idle_connections_per_host" env:"MAXIDLECONNSPERHOST"`
	// CloseConnections switches keep-alive with clients off.
	CloseConnections bool `json:"close_connections" env:"CLOSECONNECTIONS"`
	// ProxyDefaultTimeout limits the wait for an upstream's response header,
	// in seconds; 0 is the default, 30.
	ProxyDefaultTimeout float64 `json:"proxy_default_timeout" env:"PROXYDEFAULTTIMEOUT"`
	// ProxySSLInsecureSkipVerify accepts any certificate of any upstream.
	ProxySSLInsecureSkipVerify bool `json:"proxy_ssl_insecure_skip_verify" env:"PROXYSSLINSECURESKIPVERIFY"`
}

// CoprocessOptions configures the plugin drivers.
type CoprocessOptions struct {
	EnableCoprocess bool `json:"enable_coprocess" env:"ENABLECOPROCESS"`
	// PythonPathPrefix is a directory to import from besides the built-in
	// library; optional.
	PythonPathPrefix string `json:"python_path_prefix" env:"PYTHONPATHPREFIX"`
	// PythonVersion picks a CPython, for example 3.11; any when empty.
	PythonVersion string `json:"python_version" env:"PYTHONVERSION"`
	// PythonHome is the prefix of a Python installation, Venv a virtual
	// environment; both optional.
	PythonHome string `json:"python_home" env:"PYTHONHOME"`
	Venv       string `json:"venv" env:"VENV"`
	// MaxInFlight bounds the hook calls that are in Python, each on a thread.
	MaxInFlight int `json:"max_in_flight" env:"MAXINFLIGHT"`
	// MaxWaiting bounds the calls beyond them: those that wait to be run, and
	// coroutines.
	MaxWaiting int `json:"max_waiting" env:"MAXWAITING"`
	// HookTimeout limits one hook call.
	HookTimeout Duration `json:"hook_timeout" env:"HOOKTIMEOUT"`
	// Isolation is where plugins run: inprocess.
	Isolation string `json:"isolation" env:"ISOLATION"`

	// GRPCServer is the plugin server: tcp://host:port, dns:///name:port or
	// unix:///path.
	GRPCServer                  string `json:"coprocess_grpc_server" env:"COPROCESSGRPCSERVER"`
	GRPCAuthority               string `json:"grpc_authority" env:"GRPCAUTHORITY"`
	GRPCRecvMaxSize             int    `json:"grpc_recv_max_size" env:"GRPCRECVMAXSIZE"` // bytes, 0 is gRPC's default
	GRPCSendMaxSize             int    `json:"grpc_send_max_size" env:"GRPCSENDMAXSIZE"` // bytes, 0 is gRPC's default
	GRPCRoundRobinLoadBalancing bool   `json:"grpc_round_robin_load_balancing" env:"GRPCROUNDROBINLOADBALANCING"`

	GRPCTLS GRPCTLS `json:"grpc_tls" envPrefix:"GRPCTLS_"`
}

// GRPCTLS configures TLS towards the plugin server.
type GRPCTLS struct {
	Enabled bool `json:"enabled" env:"ENABLED"`
	// CAFile holds the authority of the server's certificate; the system's
	// authorities when empty.
	CAFile string `json:"ca_file" env:"CAFILE"`
	// CertFile and KeyFile are a client certificate; optional.
	CertFile string `json:"cert_file" env:"CERTFILE"`
	KeyFile  string `json:"key_file" env:"KEYFILE"`
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool `json:"insecure_skip_verify" env:"INSECURESKIPVERIFY"`
}

// Storage configures the store for sessions and plugin data.
type Storage struct {
	// Type is memory or redis after Load.
	Type string `json:"type" env:"TYPE"`
	// Host and Port name a single Redis. Addrs (host:port) wins over Hosts
	// (host to port, the old form), which wins over these two; see
	// [Storage.Addresses].
	Host             string            `json:"host" env:"HOST"`
	Port             int               `json:"port" env:"PORT"`
	Hosts            map[string]string `json:"hosts" env:"HOSTS"`
	Addrs            []string          `json:"addrs" env:"ADDRS"`
	Username         string            `json:"username" env:"USERNAME"`
	Password         Secret            `json:"password" env:"PASSWORD"`
	Database         int               `json:"database" env:"DATABASE"`
	EnableCluster    bool              `json:"enable_cluster" env:"ENABLECLUSTER"`
	MasterName       string            `json:"master_name" env:"MASTERNAME"` // Sentinel's name of the master
	SentinelUsername string            `json:"sentinel_username" env:"SENTINELUSERNAME"`
	SentinelPassword Secret            `json:"sentinel_password" env:"SENTINELPASSWORD"`

	UseSSL                bool   `json:"use_ssl" env:"USESSL"`
	SSLInsecureSkipVerify bool   `json:"ssl_insecure_skip_verify" env:"SSLINSECURESKIPVERIFY"`
	CAFile                string `json:"ca_file" env:"CAFILE"`
	CertFile              string `json:"cert_file" env:"CERTFILE"`
	KeyFile               string `json:"key_file" env:"KEYFILE"`

	Timeout   int `json:"timeout" env:"TIMEOUT"`                   // seconds, 0 is the driver's default
	MaxActive int `json:"optimisation_max_active" env:"MAXACTIVE"` // connections, 0 is the driver's default
	MaxIdle   int `json:"optimisation_max_idle" env:"MAXIDLE"`     // connections, 0 is the driver's default
}

// HTTPServerOptions configures the server that clients talk to.
type HTTPServerOptions struct {
	OverrideDefaults bool          `json:"override_defaults" env:"OVERRIDEDEFAULTS"` // without effect
	UseSSL           bool          `json:"use_ssl" env:"USESSL"`
	Certificates     []Certificate `json:"certificates" env:"CERTIFICATES"`
	MinVersion       uint16        `json:"min_version" env:"MINVERSION"` // TLS version as TLS numbers it, 0 is TLS 1.2

	ReadTimeout        int   `json:"read_timeout" env:"READTIMEOUT"`                 // seconds, 0 leaves it to the gateway
	WriteTimeout       int   `json:"write_timeout" env:"WRITETIMEOUT"`               // seconds, 0 leaves it to the gateway
	FlushInterval      int   `json:"flush_interval" env:"FLUSHINTERVAL"`             // milliseconds between flushes of a response
	MaxRequestBodySize int64 `json:"max_request_body_size" env:"MAXREQUESTBODYSIZE"` // bytes, 0 is no limit
	EnableHTTP2        bool  `json:"enable_http2" env:"ENABLEHTTP2"`
	EnableWebSockets   bool  `json:"enable_websockets" env:"ENABLEWEBSOCKETS"`
	SkipURLCleaning    bool  `json:"skip_url_cleaning" env:"SKIPURLCLEANING"`
}

// Certificate is a server certificate: PEM files.
type Certificate struct {
	DomainName string `json:"domain_name"`
	CertFile   string `json:"cert_file"`
	KeyFile    string `json:"key_file"`
}

// Policies says where policies come from.
type Policies struct {
	// PolicySource is file or empty.
	PolicySource string `json:"policy_source" env:"POLICYSOURCE"`
	// PolicyRecordName is the file; there are no policies when it is empty.
	PolicyRecordName string `json:"policy_record_name" env:"POLICYRECORDNAME"`
}

// Default returns the settings that hold when nothing is configured.
func Default() *Config {
	return &Config{
		ListenPort:              8080,
		AppPath:                 "apps",
		MiddlewarePath:          "middleware",
		HealthCheckEndpointName: "hello",
		LogLevel:                "info",
		LogFormat:               "text",
		ProxyDefaultTimeout:     30,
		CoprocessOptions: CoprocessOptions{
			MaxInFlight: 128,
			MaxWaiting:  4096,
			HookTimeout: Duration(10 * time.Second),
			Isolation:   IsolationInProcess,
		},
		Storage: Storage{Type: StorageMemory, Host: "127.0.0.1", Port: 6379},
		HTTPServerOptions: HTTPServerOptions{
			EnableHTTP2:      true,
			EnableWebSockets: true,
		},
	}
}

// Address returns the address to listen on as net.Listen takes it.
func (c *Config) Address() string {
	return net.JoinHostPort(c.ListenAddress, strconv.Itoa(c.ListenPort))
}

// AdminPath is where the gateway's own API is: there and everywhere below.
const AdminPath = "/tyk"

// StatusPath is the gateway's status endpoint.
const StatusPath = AdminPath + "/apis"

// HealthPath is the gateway's health endpoint.
func (c *Config) HealthPath() string {
	name := strings.Trim(c.HealthCheckEndpointName, "/")
	if name == "" {
		name = Default().HealthCheckEndpointName
	}
	return "/" + name
}

// Addresses returns the host:port pairs of Redis, sorted when they come from
// Hosts. Of several that are neither a cluster nor Sentinels it is the first, as
// in the reference.
func (s *Storage) Addresses() []string {
	all := s.listed()
	if len(all) > 1 && !s.EnableCluster && s.MasterName == "" {
		return all[:1]
	}
	return all
}

func (s *Storage) listed() []string {
	switch {
	case len(s.Addrs) > 0:
		return s.Addrs
	case len(s.Hosts) > 0:
		return joinHosts(s.Hosts)
	default:
		return []string{net.JoinHostPort(s.Host, strconv.Itoa(s.Port))}
	}
}
