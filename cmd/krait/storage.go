package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/store/memory"
	"github.com/krait-gateway/krait/store/redis"
)

// openStore makes the configured store. A Redis that does not answer is no
// error: the gateway starts without, and the health endpoint tells.
func openStore(conf *config.Config, logger *slog.Logger) (store.Store, error) {
	s := conf.Storage
	if s.Type == config.StorageMemory {
		return memory.New(memory.Options{Logger: logger})
	}
	tlsConfig, err := storageTLS(s)
	if err != nil {
		return nil, err
	}
	return redis.New(redis.Options{
		Addrs:            s.Addresses(),
		MasterName:       s.MasterName,
		Cluster:          s.EnableCluster,
		Username:         s.Username,
		Password:         string(s.Password),
		SentinelUsername: s.SentinelUsername,
		SentinelPassword: string(s.SentinelPassword),
		DB:               s.Database,
		TLS:              tlsConfig,
		PoolSize:         s.MaxActive,
		DialTimeout:      time.Duration(s.Timeout) * time.Second,
	})
}

// openLimits returns what counts requests: Redis when it is the store, so that
// all gateways count together, else this process.
func openLimits(s store.Store, parts *closers) (limit.Counter, error) {
	if shared, ok := s.(*redis.Store); ok {
		return limit.NewRedis(shared.Client()), nil
	}
	m, err := limit.NewMemory()
	if err != nil {
		return nil, err
	}
	parts.add("limits", func(context.Context) error { return m.Close() })
	return m, nil
}

// storageTLS returns nil when storage.use_ssl is off.
func storageTLS(s config.Storage) (*tls.Config, error) {
	if !s.UseSSL {
		return nil, nil //nolint:nilnil // nil is how crypto/tls says "no TLS"
	}
	c := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: s.SSLInsecureSkipVerify, //nolint:gosec // the operator's setting storage.ssl_insecure_skip_verify
	}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("storage.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("storage.ca_file: %s holds no PEM certificate", s.CAFile)
		}
	}
	if s.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("storage.cert_file, storage.key_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
