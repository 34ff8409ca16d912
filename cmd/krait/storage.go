package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/store/memory"
	"github.com/krait-gateway/krait/store/redis"
)

// signalStore is a store whose users can wake each other.
type signalStore interface {
	store.Store
	store.Signals
}

// openStore makes the configured store. A Redis that does not answer is no
// error: the gateway starts without, and the health endpoint tells.
func openStore(conf *config.Config, logger *slog.Logger) (signalStore, error) {
	s := conf.Storage
	if s.Type == config.StorageMemory {
		return memory.New(memory.Options{Logger: logger})
	}
	tlsConfig, err := clientTLS{
		section: "storage", enabled: s.UseSSL, caFile: s.CAFile, certFile: s.CertFile, keyFile: s.KeyFile,
		insecureSkipVerify: s.SSLInsecureSkipVerify,
	}.config()
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
