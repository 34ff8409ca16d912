package bridge_test

import (
	"context"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
)

// awaited is a context that tells when a call looks whether it has ended, which
// is once it is in the queue.
type awaited struct {
	context.Context

	once   *sync.Once
	queued chan<- struct{}
}

func (a awaited) Done() <-chan struct{} {
	a.once.Do(func() { a.queued <- struct{}{} })
	return a.Context.Done()
}

// Calls begin in the order in which they came, however many there are. A hook
// counts only once it runs: CPython may take the lock from a thread that has begun
// a call before that, and while it waits for its turn, 5 ms or more, a hundred
// others begin and end. So nobody takes it here.
func TestNobodyIsOvertakenInTheQueue(t *testing.T) {
	p := load(t, func(c *coprocess.Code) { c.Timeout = time.Minute })
	keepLock(t, p)
	release := occupy(t, p)
	var group sync.WaitGroup
	const many = 200
	begun := make([]int, many)
	for i := range many {
		queued := make(chan struct{}, 1)
		group.Go(func() {
			got, err := p.Dispatch(awaited{t.Context(), &sync.Once{}, queued}, object("Count"))
			if assert.NoError(t, err) {
				begun[i], err = strconv.Atoi(got.Request.SetHeaders["X-Count"])
				assert.NoError(t, err)
			}
		})
		<-queued
	}
	release()
	group.Wait()
	for i, at := range begun {
		require.Equal(t, i, at, "all: %v", begun)
	}
}

// occupy has hooks of p take all places until release is called, or the test ends.
// p needs a long time limit.
func occupy(t *testing.T, p coprocess.Plugin) (release func()) {
	t.Helper()
	pipe, gate, err := os.Pipe()
	require.NoError(t, err)
	number := strconv.Itoa(int(pipe.Fd())) // it blocks from now on
	var group sync.WaitGroup
	release = sync.OnceFunc(func() {
		assert.NoError(t, gate.Close())
		group.Wait()
		assert.NoError(t, pipe.Close())
	})
	t.Cleanup(release)
	for range maxInFlight {
		group.Go(func() {
			obj := object("Hold")
			obj.Request.Params["pipe"] = number
			_, err := p.Dispatch(context.Background(), obj)
			assert.NoError(t, err)
		})
	}
	require.Eventually(t, func() bool { return python.InFlight() == maxInFlight }, 20*time.Second, time.Millisecond)
	return release
}

// keepLock has threads keep the interpreter's lock until they give it up
// themselves, for the rest of the test.
func keepLock(t *testing.T, p coprocess.Plugin) {
	t.Helper()
	got, err := p.Dispatch(t.Context(), object("KeepLock"))
	require.NoError(t, err)
	t.Cleanup(func() {
		obj := object("ShareLock")
		obj.Request.Params["interval"] = got.Request.SetHeaders["X-Interval"]
		_, err := p.Dispatch(context.Background(), obj)
		assert.NoError(t, err)
	})
}
