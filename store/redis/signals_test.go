package redis_test

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/store/redis"
	"github.com/krait-gateway/krait/store/storetest"
)

// signalPatience is above the two seconds after which a subscriber looks again.
const signalPatience = 20 * time.Second

func TestSignalsKeepTheirPromises(t *testing.T) {
	for name, start := range map[string]func(t *testing.T) redis.Options{
		"single server": func(t *testing.T) redis.Options {
			return redis.Options{Addrs: []string{redisserver.Start(t).Addr()}}
		},
		"cluster": func(t *testing.T) redis.Options {
			return redis.Options{Addrs: []string{redisserver.StartCluster(t).Addr()}, Cluster: true}
		},
		"master found by a Sentinel": func(t *testing.T) redis.Options {
			master := redisserver.Start(t)
			return redis.Options{Addrs: []string{redisserver.StartSentinel(t, "main", master).Addr()}, MasterName: "main"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			opts := start(t)
			storetest.RunSignals(t, func(t *testing.T) (one, other storetest.SignalStore) {
				return open(t, opts), open(t, opts)
			})
		})
	}
}

func hears(t *testing.T, signals <-chan struct{}, why string) {
	t.Helper()
	select {
	case <-signals:
	case <-time.After(signalPatience):
		require.Fail(t, why)
	}
}

func subscribed(t *testing.T, st store.Signals) <-chan struct{} {
	t.Helper()
	signals, cancel := st.Subscribe(t.Context(), "topic")
	t.Cleanup(cancel)
	return signals
}

func TestSignalsWithoutTheRightToPublish(t *testing.T) {
	server := redisserver.Start(t, "--user", "gateway", "on", ">secret", "~*", "+@all", "resetchannels")
	st := open(t, redis.Options{Addrs: []string{server.Addr()}, Username: "gateway", Password: "secret"})
	signals := subscribed(t, st)
	require.NoError(t, st.Signal(t.Context(), "topic"))
	hears(t, signals, "it looks every two seconds")
}

func TestSignalsAfterARestartOfTheServer(t *testing.T) {
	server := redisserver.Start(t)
	one, other := open(t, redis.Options{Addrs: []string{server.Addr()}}), open(t, redis.Options{Addrs: []string{server.Addr()}})
	signals := subscribed(t, one)
	for range 2 {
		server.Restart()
		require.NoError(t, other.Signal(t.Context(), "topic"))
		hears(t, signals, "it subscribes again")
	}
}

func TestSignalsOfAServerThatIsDownAtFirst(t *testing.T) {
	server := redisserver.Start(t)
	server.Stop()
	st := open(t, redis.Options{Addrs: []string{server.Addr()}})
	require.Error(t, st.Signal(t.Context(), "topic"))
	signals := subscribed(t, st)
	server.Restart()
	hears(t, signals, "nobody knows what was missed")
}

func TestSignalsThatWereMissedAreCaughtUpWith(t *testing.T) {
	server := redisserver.Start(t)
	line := newLine(t, server.Addr())
	other := open(t, redis.Options{Addrs: []string{server.Addr()}})
	signals := subscribed(t, open(t, redis.Options{Addrs: []string{line.Addr().String()}}))
	require.NoError(t, other.Signal(t.Context(), "topic"))
	hears(t, signals, "while the line is up")

	line.set(false)
	require.NoError(t, other.Signal(t.Context(), "topic"))
	line.set(true)
	hears(t, signals, "when the line is up again")
}

// line is a connection to a server that can be cut.
type line struct {
	net.Listener
	target string

	mu          sync.Mutex
	up          bool
	connections []net.Conn
}

func newLine(t *testing.T, target string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &line{Listener: listener, target: target, up: true}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { l.serve(connection) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		l.set(false)
		running.Wait()
	})
	return l
}

func (l *line) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		return
	}
	defer server.Close()
	l.mu.Lock()
	up := l.up
	l.connections = append(l.connections, client, server)
	l.mu.Unlock()
	if !up {
		return
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(server, client) // ends when the line is cut
		_ = server.Close()
	}()
	_, _ = io.Copy(client, server)
	_ = client.Close()
	<-ended
}

// set cuts the line or lets it work again.
func (l *line) set(up bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.up = up
	if up {
		return
	}
	for _, one := range l.connections {
		_ = one.Close() // it may have ended by itself
	}
	l.connections = nil
}
