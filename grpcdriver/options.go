package grpcdriver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Defaults of [Options].
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxInFlight = 128
)

const (
	// firstWait and longestWait are between attempts to connect. gRPC's own
	// longest, two minutes, would keep a restarted server waiting.
	firstWait   = 200 * time.Millisecond
	longestWait = 5 * time.Second
	// connectTimeout limits one attempt.
	connectTimeout = 5 * time.Second
	// silence is how long nothing has to come during a call before gRPC asks
	// whether the server is there. Servers cut clients that ask more often than
	// every five minutes, unless they were told otherwise.
	silence = 6 * time.Minute
	// unacknowledged is how long sent data may stay unacknowledged (it becomes
	// TCP_USER_TIMEOUT): this is what finds a host that has vanished.
	unacknowledged = 20 * time.Second
)

// Options configures a [Driver].
type Options struct {
	// Server is the plugin server: tcp://host:port, dns:///name:port or
	// unix:///path.
	Server string
	// Authority replaces the server's name in calls, and with TLS in the check
	// of its certificate. Empty means what Server says.
	Authority string
	// RecvMaxSize and SendMaxSize limit one message, in bytes. 0 means gRPC's
	// defaults: 4 MiB to receive, 2 GiB to send. The server has limits too.
	RecvMaxSize, SendMaxSize int
	// RoundRobin spreads calls over all addresses of the server's name;
	// otherwise the first that answers gets all.
	RoundRobin bool
	// TLS is used when it is not nil. It is not changed.
	TLS *tls.Config
	// Timeout limits one call, waiting for a place included, for plugins that
	// set none. 0 means [DefaultTimeout].
	Timeout time.Duration
	// MaxInFlight bounds the calls at once. 0 means [DefaultMaxInFlight].
	MaxInFlight int
	// Logger gets what happens to the connection. Nil means none.
	Logger *slog.Logger
}

// Validate returns everything that is wrong with o, joined, or nil.
func (o *Options) Validate() error {
	var faults []error
	if _, err := o.target(); err != nil {
		faults = append(faults, err)
	}
	for _, limit := range []struct {
		name  string
		value int64
	}{
		{"RecvMaxSize", int64(o.RecvMaxSize)},
		{"SendMaxSize", int64(o.SendMaxSize)},
		{"Timeout", int64(o.Timeout)},
		{"MaxInFlight", int64(o.MaxInFlight)},
	} {
		if limit.value < 0 {
			faults = append(faults, fmt.Errorf("%s: %d is negative; use 0 for the default", limit.name, limit.value))
		}
	}
	return errors.Join(faults...)
}

// target is Server as gRPC wants it.
func (o *Options) target() (string, error) {
	const next = "write tcp://host:port, dns:///name:port or unix:///path"
	server, err := url.Parse(o.Server)
	if err != nil {
		return "", fmt.Errorf("plugin server %q is not a URL; %s", o.Server, next)
	}
	switch server.Scheme {
	case "tcp":
		host, port, err := net.SplitHostPort(server.Host)
		if err != nil || host == "" || port == "" {
			return "", fmt.Errorf("plugin server %q has no host and port; %s", o.Server, next)
		}
		if o.RoundRobin {
			return "dns:///" + server.Host, nil
		}
		// The name is looked up at each attempt to connect.
		return "passthrough:///" + server.Host, nil
	case "dns":
		if strings.Trim(server.Path, "/")+server.Opaque == "" {
			return "", fmt.Errorf("plugin server %q has no name; %s", o.Server, next)
		}
		return o.Server, nil
	case "unix":
		if server.Host != "" || server.Path+server.Opaque == "" {
			return "", fmt.Errorf("plugin server %q has no absolute path; %s", o.Server, next)
		}
		return o.Server, nil
	default:
		return "", fmt.Errorf("plugin server %q is not an address; %s", o.Server, next)
	}
}

func (o *Options) dial() []grpc.DialOption {
	secure := insecure.NewCredentials()
	if o.TLS != nil {
		secure = credentials.NewTLS(o.TLS)
	}
	wait := backoff.DefaultConfig
	wait.BaseDelay, wait.MaxDelay = firstWait, longestWait
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(secure),
		// A plugin server is named exactly: neither proxies of the environment
		// nor configuration in DNS records belong between it and the gateway.
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		// Never let the connection go: it says whether the server is there.
		grpc.WithIdleTimeout(0),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: wait, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: silence, Timeout: unacknowledged}),
	}
	if o.Authority != "" {
		options = append(options, grpc.WithAuthority(o.Authority))
	}
	if o.RoundRobin {
		options = append(options, grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`))
	}
	return options
}

// call lists what each call of plugin code asks for. The codec is the
// generated one, without reflection; on the wire it is the same.
func (o *Options) call() []grpc.CallOption {
	options := []grpc.CallOption{grpc.ForceCodec(codec{})}
	if o.RecvMaxSize > 0 {
		options = append(options, grpc.MaxCallRecvMsgSize(o.RecvMaxSize))
	}
	if o.SendMaxSize > 0 {
		options = append(options, grpc.MaxCallSendMsgSize(o.SendMaxSize))
	}
	return options
}
