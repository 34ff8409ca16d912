package bridge_test

import (
	"context"
	"fmt"
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

// Calls begin in the order in which they came, however many there are.
func TestNobodyIsOvertakenInTheQueue(t *testing.T) {
	p := load(t, func(c *coprocess.Code) { c.Timeout = time.Minute })
	pipe, gate, err := os.Pipe()
	require.NoError(t, err)
	defer pipe.Close()
	var group sync.WaitGroup
	for range maxInFlight {
		group.Go(func() {
			obj := object("Hold")
			obj.Request.Params["pipe"] = strconv.Itoa(int(pipe.Fd())) // it blocks from now on
			_, err := p.Dispatch(t.Context(), obj)
			assert.NoError(t, err)
		})
	}
	require.Eventually(t, func() bool { return python.InFlight() == maxInFlight }, 20*time.Second, time.Millisecond)

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
	require.NoError(t, gate.Close())
	group.Wait()
	// Between the begin of a call and its hook, its thread may lose the
	// interpreter's lock to one that has begun later.
	const switches = 16
	for i, at := range begun {
		require.InDelta(t, i, at, switches, fmt.Sprint("all: ", begun))
	}
}
