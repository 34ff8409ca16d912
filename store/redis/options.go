package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Defaults of [Options].
const (
	DefaultAddr        = "127.0.0.1:6379"
	DefaultDialTimeout = 2 * time.Second
	DefaultTimeout     = 3 * time.Second
	DefaultApart       = 2
)

// maxRetries is how often go-redis tries a command again after a broken
// connection. A restarted server leaves dead connections in the pool; two more
// tries reach a new one. All commands used here can be repeated safely.
const maxRetries = 2

// Options say where Redis is and how to talk to it.
type Options struct {
	// Addrs are host:port addresses: of the server, of the Sentinels when
	// MasterName is set, of some nodes when Cluster is set. None means
	// [DefaultAddr].
	Addrs []string
	// MasterName makes Addrs Sentinels that know the master of that name.
	MasterName string
	// Cluster makes Addrs nodes of a Redis Cluster. It takes a single address
	// too (a configuration endpoint).
	Cluster bool
	// Username and Password authenticate towards the servers; without a
	// Username, Password is the one of requirepass.
	Username, Password string
	// SentinelUsername and SentinelPassword authenticate towards the Sentinels.
	SentinelUsername, SentinelPassword string
	// DB is the number of the database; a Cluster has only 0.
	DB int
	// TLS, when set, encrypts all connections, those to Sentinels included.
	TLS *tls.Config
	// PoolSize bounds the connections per server; 0 means 10 per CPU.
	PoolSize int
	// DialTimeout bounds the opening of one connection; 0 means
	// [DefaultDialTimeout].
	DialTimeout time.Duration
	// Timeout bounds one call of a [Store] as a whole: waiting for a connection,
	// retries and all. 0 means [DefaultTimeout]. An earlier deadline of the
	// call's context counts.
	Timeout time.Duration
	// Apart is how many calls at a time each have a connection of their own; 0
	// means [DefaultApart], less than 0 none. More are gathered: those that come
	// while an answer is awaited are sent together, which takes a fifth of the
	// work. A single call would take three times as long that way.
	Apart int
}

// Validate returns everything that is wrong with o, joined, or nil.
func (o Options) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, addr := range o.Addrs {
		if err := validateAddr(addr); err != nil {
			fault("address %q: %w", addr, err)
		}
	}
	if o.Cluster && o.MasterName != "" {
		fault("a cluster and a Sentinel master name exclude each other: set one of them")
	}
	if len(o.Addrs) > 1 && !o.Cluster && o.MasterName == "" {
		fault("%d addresses need the cluster mode or a Sentinel master name: set one of them, or give one address", len(o.Addrs))
	}
	if o.DB < 0 {
		fault("database %d does not exist: use 0 or more", o.DB)
	}
	if o.Cluster && o.DB > 0 {
		fault("database %d does not exist: a cluster has only database 0", o.DB)
	}
	if o.PoolSize < 0 {
		fault("pool size %d is not possible: use a positive number, or 0 for the default", o.PoolSize)
	}
	if o.DialTimeout < 0 || o.Timeout < 0 {
		fault("negative time limits are not possible: use a positive duration, or 0 for the default")
	}
	return errors.Join(faults...)
}

func validateAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("not host:port: %w", err)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return fmt.Errorf("%q is not a port (1-65535)", port)
	}
	return nil
}

// withDefaults returns o with every 0 that has a default replaced.
func (o Options) withDefaults() Options {
	if len(o.Addrs) == 0 {
		o.Addrs = []string{DefaultAddr}
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = DefaultDialTimeout
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Apart == 0 {
		o.Apart = DefaultApart
	}
	return o
}

// universal translates o, which has its defaults.
func (o Options) universal() *goredis.UniversalOptions {
	u := &goredis.UniversalOptions{
		Addrs:            append([]string(nil), o.Addrs...),
		MasterName:       o.MasterName,
		IsClusterMode:    o.Cluster,
		ClientName:       "krait",
		Username:         o.Username,
		Password:         o.Password,
		SentinelUsername: o.SentinelUsername,
		SentinelPassword: o.SentinelPassword,
		DB:               o.DB,
		PoolSize:         o.PoolSize,
		PoolTimeout:      o.Timeout,
		ReadTimeout:      o.Timeout,
		WriteTimeout:     o.Timeout,
		DialTimeout:      o.DialTimeout,
		// One dial per try: the retries of commands already repeat it.
		DialerRetries:         1,
		MaxRetries:            maxRetries,
		ContextTimeoutEnabled: true,
		// Only Redis Enterprise announces its maintenance.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if o.TLS != nil {
		u.TLSConfig = o.TLS.Clone()
	}
	return u
}
