package redisserver_test

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/krait-gateway/krait/internal/redisserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func reachable(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func TestServerStopsAndRestartsOnItsPort(t *testing.T) {
	s := redisserver.Start(t, "--requirepass", "secret")
	addr, pid := s.Addr(), s.PID()
	require.True(t, reachable(addr))

	s.Stop()
	require.Zero(t, s.PID())
	require.False(t, reachable(addr))
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH, "the process has ended")
	s.Stop()

	s.Restart()
	require.Equal(t, addr, s.Addr())
	require.NotEqual(t, pid, s.PID())
	require.True(t, reachable(addr))
}

func TestServerEndsWithItsTest(t *testing.T) {
	var pid int
	t.Run("inner", func(t *testing.T) { pid = redisserver.Start(t).PID() })
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
}

// failing records what a test would have failed with.
type failing struct {
	testing.TB
	message string
}

func (f *failing) Helper() {}

func (f *failing) Fatalf(format string, args ...any) {
	f.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func messageOf(t *testing.T, run func(testing.TB)) string {
	t.Helper()
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(f)
	}()
	<-done
	return f.message
}

func TestMissingBinaryFailsTheTest(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	message := messageOf(t, func(tb testing.TB) { redisserver.Start(tb) })
	require.Contains(t, message, "apt-get install redis-server")
}

func TestRefusedArgumentFailsTheTestWithTheServersOutput(t *testing.T) {
	message := messageOf(t, func(tb testing.TB) { redisserver.Start(tb, "--no-such-setting", "1") })
	require.Contains(t, message, "ended at its start")
	require.Contains(t, message, "no-such-setting")
}

func TestNothingIsKeptOnDisk(t *testing.T) {
	before, err := os.ReadDir(".")
	require.NoError(t, err)
	redisserver.Start(t).Stop()
	after, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Len(t, after, len(before))
}
