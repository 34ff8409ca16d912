package redis_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/krait-gateway/krait/internal/output"
	"github.com/krait-gateway/krait/internal/redisserver"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/store/redis"
	"github.com/krait-gateway/krait/store/storetest"
)

func TestMain(m *testing.M) {
	redis.LogTo(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, opts redis.Options) *redis.Store {
	t.Helper()
	st, err := redis.New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// gathered has all calls go the way that many at a time go.
const gathered = -1

func TestStoreKeepsItsPromises(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) redis.Options{
		"single server": func(t *testing.T) redis.Options {
			return redis.Options{Addrs: []string{redisserver.Start(t).Addr()}}
		},
		"single server with a password and a database": func(t *testing.T) redis.Options {
			s := redisserver.Start(t, "--requirepass", "pass word")
			return redis.Options{Addrs: []string{s.Addr()}, Password: "pass word", DB: 3}
		},
		"single server with a user": func(t *testing.T) redis.Options {
			s := redisserver.Start(t, "--user", "gateway", "on", ">secret", "~*", "+@all")
			return redis.Options{Addrs: []string{s.Addr()}, Username: "gateway", Password: "secret"}
		},
		"single server over TLS": func(t *testing.T) redis.Options {
			s := redisserver.StartTLS(t)
			return redis.Options{Addrs: []string{s.Addr()}, TLS: s.TLSConfig()}
		},
		"cluster": func(t *testing.T) redis.Options {
			return redis.Options{Addrs: []string{redisserver.StartCluster(t).Addr()}, Cluster: true}
		},
		"master found by a Sentinel": func(t *testing.T) redis.Options {
			master := redisserver.Start(t)
			sentinel := redisserver.StartSentinel(t, "main", master)
			return redis.Options{Addrs: []string{sentinel.Addr()}, MasterName: "main"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := start(t)
			storetest.Run(t, func(t *testing.T) store.Store { return open(t, opts) })
			opts.Apart = gathered
			t.Run("gathered", func(t *testing.T) {
				storetest.Run(t, func(t *testing.T) store.Store { return open(t, opts) })
			})
		})
	}
}

func TestStoreKeepsItsPromisesOnMiniredis(t *testing.T) {
	server := miniredis.RunT(t)
	storetest.Run(t,
		func(t *testing.T) store.Store { return open(t, redis.Options{Addrs: []string{server.Addr()}}) },
		storetest.WithClock(server.FastForward))
}

func TestLifeTimesReachTheServerInMilliseconds(t *testing.T) {
	st := open(t, redis.Options{Addrs: []string{redisserver.Start(t).Addr()}})
	for name, tc := range map[string]struct{ ttl, most, least time.Duration }{
		"fraction of a second": {1500 * time.Millisecond, 1500 * time.Millisecond, 500 * time.Millisecond},
		"whole seconds":        {time.Hour, time.Hour, 59 * time.Minute},
		"no expiry":            {0, -1, -1},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, st.Set(t.Context(), "test:k", []byte("v"), tc.ttl))
			left, err := st.Client().PTTL(t.Context(), "test:k").Result()
			require.NoError(t, err)
			require.LessOrEqual(t, left, tc.most)
			require.GreaterOrEqual(t, left, tc.least)
		})
	}
}

func TestStoreWorksAgainAfterARestartOfTheServer(t *testing.T) {
	for name, apart := range map[string]int{"apart": 0, "gathered": gathered} {
		t.Run(name, func(t *testing.T) { worksAgain(t, apart) })
	}
}

func worksAgain(t *testing.T, apart int) {
	server := redisserver.Start(t)
	st := open(t, redis.Options{Addrs: []string{server.Addr()}, Apart: apart})
	require.NoError(t, st.Set(t.Context(), "test:k", []byte("1"), 0))

	server.Stop()
	require.Error(t, st.Ping(t.Context()))
	require.Error(t, st.Set(t.Context(), "test:k", []byte("2"), 0))

	server.Restart()
	require.NoError(t, st.Ping(t.Context()))
	_, err := st.Get(t.Context(), "test:k")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, st.Set(t.Context(), "test:k", []byte("3"), 0))

	// Connections that died unnoticed in the pool are replaced.
	server.Restart()
	require.NoError(t, st.Set(t.Context(), "test:k", []byte("4"), 0))
}

func TestStoreStartsWithoutAServer(t *testing.T) {
	server := redisserver.Start(t)
	server.Stop()
	st := open(t, redis.Options{Addrs: []string{server.Addr()}})
	err := st.Ping(t.Context())
	require.Error(t, err)
	require.NotErrorIs(t, err, store.ErrClosed)
	server.Restart()
	require.NoError(t, st.Ping(t.Context()))
}

func TestSilentServerFailsTheCallWithinTheTimeLimit(t *testing.T) {
	for name, apart := range map[string]int{"apart": 0, "gathered": gathered} {
		t.Run(name, func(t *testing.T) { failsInTime(t, apart) })
	}
}

func failsInTime(t *testing.T, apart int) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts by its backlog, never answers
	require.NoError(t, err)
	defer silent.Close()
	st := open(t, redis.Options{Addrs: []string{silent.Addr().String()}, Timeout: 200 * time.Millisecond, Apart: apart})
	begin := time.Now()
	_, err = st.Get(t.Context(), "session:secret")
	require.Error(t, err)
	require.NotErrorIs(t, err, store.ErrNotFound)
	require.NotContains(t, err.Error(), "secret")
	require.Less(t, time.Since(begin), 5*time.Second)

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, st.Ping(ctx), context.DeadlineExceeded)
}

func TestWrongPasswordIsNamed(t *testing.T) {
	server := redisserver.Start(t, "--requirepass", "right")
	require.ErrorContains(t, open(t, redis.Options{Addrs: []string{server.Addr()}}).Ping(t.Context()), "NOAUTH")
	err := open(t, redis.Options{Addrs: []string{server.Addr()}, Password: "wr0ng"}).Ping(t.Context())
	require.ErrorContains(t, err, "WRONGPASS")
	require.NotContains(t, err.Error(), "wr0ng")
}

func TestUntrustedCertificateIsRefused(t *testing.T) {
	server := redisserver.StartTLS(t)
	st := open(t, redis.Options{Addrs: []string{server.Addr()}, TLS: &tls.Config{MinVersion: tls.VersionTLS12}})
	require.ErrorContains(t, st.Ping(t.Context()), "certificate")
}

func TestManyCallsAtATime(t *testing.T) {
	server := redisserver.Start(t)
	st := open(t, redis.Options{Addrs: []string{server.Addr()}})
	var group sync.WaitGroup
	for i := range 64 {
		group.Go(func() {
			for j := range 50 {
				key, value := fmt.Sprintf("test:%d", i), fmt.Sprint(i, j)
				assert.NoError(t, st.Set(t.Context(), key, []byte(value), time.Minute))
				got, err := st.Get(t.Context(), key)
				assert.NoError(t, err)
				assert.Equal(t, value, string(got), "each caller sees what it wrote before")
			}
			_, err := st.Get(t.Context(), "test:missing")
			assert.ErrorIs(t, err, store.ErrNotFound)
		})
	}
	group.Wait()
}

func TestErrorsOfTheServerDoNotQuoteKeysOrValues(t *testing.T) {
	server := redisserver.Start(t, "--rename-command", "SET", "")
	st := open(t, redis.Options{Addrs: []string{server.Addr()}})
	err := st.Set(t.Context(), "session:s3cr3t", []byte("v4lue"), 0)
	require.ErrorContains(t, err, "unknown command")
	require.ErrorContains(t, err, "session:")
	require.NotContains(t, err.Error(), "s3cr3t")
	require.NotContains(t, err.Error(), "v4lue")
	var cause goredis.Error
	require.ErrorAs(t, err, &cause, "the cause stays reachable")
}

func TestAllCallsShareOnePool(t *testing.T) {
	server := redisserver.Start(t)
	st := open(t, redis.Options{Addrs: []string{server.Addr()}, PoolSize: 2})
	errs := make(chan error)
	for i := range 40 {
		go func() { errs <- st.Set(t.Context(), fmt.Sprintf("test:%d", i), []byte("v"), 0) }()
	}
	for range 40 {
		require.NoError(t, <-errs)
	}
	require.LessOrEqual(t, st.Client().PoolStats().TotalConns, uint32(2))
}

func TestOptionsReportAllFaultsTogether(t *testing.T) {
	_, err := redis.New(redis.Options{
		Addrs: []string{"no-port", "host:99999"}, Cluster: true, MasterName: "m", DB: 2, PoolSize: -1, DialTimeout: -1,
	})
	for _, want := range []string{`"no-port"`, `"99999" is not a port`, "exclude each other", "only database 0", "pool size -1", "negative time limits"} {
		require.ErrorContains(t, err, want)
	}
	_, err = redis.New(redis.Options{Addrs: []string{"a:1", "b:2"}})
	require.ErrorContains(t, err, "2 addresses need")
	_, err = redis.New(redis.Options{DB: -1})
	require.ErrorContains(t, err, "database -1")
}

func TestLibraryMessagesGoToTheLoggerButDoNotFloodIt(t *testing.T) {
	var out output.Buffer
	redis.LogTo(slog.New(slog.NewTextHandler(&out, nil)))
	defer redis.LogTo(slog.New(slog.DiscardHandler))
	server := redisserver.Start(t)
	server.Stop()
	st := open(t, redis.Options{Addrs: []string{server.Addr()}})
	for range 3 {
		require.Error(t, st.Ping(t.Context()))
	}
	require.Equal(t, 1, strings.Count(out.String(), "failed to dial"), out.String())
	require.Contains(t, out.String(), "level=WARN")
}
