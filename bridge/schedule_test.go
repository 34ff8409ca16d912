package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
)

func TestDescriptionsOfAPIs(t *testing.T) {
	p := load(t)
	config := func(spec map[string]string) string {
		obj := object("ShowSpec")
		obj.Spec = spec
		got, err := p.Dispatch(t.Context(), obj)
		if !assert.NoError(t, err) {
			return ""
		}
		assert.Equal(t, spec, got.Spec)
		return got.Request.SetHeaders["X-Spec"]
	}
	one := map[string]string{"APIID": "1", "config_data": "one"}
	t.Run("each message has its own, however often they alternate", func(t *testing.T) {
		aloneAndTogether(t, func(t *testing.T) {
			for i := range 10 {
				spec := maps.Clone(one)
				spec["APIID"] = fmt.Sprint(i)
				assert.Equal(t, fmt.Sprintf("APIID=%d config_data=one", i), config(spec))
			}
		})
	})
	t.Run("a changed one counts at once", func(t *testing.T) {
		changed := maps.Clone(one)
		require.Equal(t, "APIID=1 config_data=one", config(one))
		changed["config_data"] = "two"
		require.Equal(t, "APIID=1 config_data=two", config(changed))
		require.Equal(t, "APIID=1 config_data=one", config(one))
	})
	t.Run("what a hook changes in it stays in the call", func(t *testing.T) {
		obj := object("ChangeSpec")
		obj.Spec = one
		for range 2 {
			got, err := p.Dispatch(t.Context(), obj)
			require.NoError(t, err)
			require.Equal(t, "absent", got.Request.SetHeaders["X-Before"])
		}
	})
	t.Run("none", func(t *testing.T) {
		require.Empty(t, config(nil))
	})
	t.Run("more than are kept", func(t *testing.T) {
		for i := range 1000 {
			spec := map[string]string{"APIID": fmt.Sprint("many-", i)}
			require.Equal(t, "APIID=many-"+fmt.Sprint(i), config(spec))
		}
	})
	t.Run("the first messages of an API come together", func(t *testing.T) {
		spec := map[string]string{"APIID": "new", "config_data": "new"}
		p = load(t)
		aloneAndTogether(t, func(t *testing.T) {
			assert.Equal(t, "APIID=new config_data=new", config(spec))
		})
	})
}

// Whoever waits behind a hook that blocks, or has its result before it, must not
// notice it.
func TestHooksThatBlockStopNobody(t *testing.T) {
	p := load(t, func(c *coprocess.Code) { c.Timeout = 20 * time.Second })
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					_, err := p.Dispatch(t.Context(), sleeper("Sleep", 2*time.Second))
					assert.NoError(t, err)
				}
			}
		})
	}
	var slowest atomic.Int64
	for range 16 {
		group.Go(func() {
			for range 200 {
				begin := time.Now()
				_, err := p.Dispatch(t.Context(), object("AddHeader"))
				assert.NoError(t, err)
				for took := int64(time.Since(begin)); ; {
					most := slowest.Load()
					if took <= most || slowest.CompareAndSwap(most, took) {
						break
					}
				}
			}
		})
	}
	time.AfterFunc(time.Second, func() { close(stop) })
	group.Wait()
	t.Logf("the slowest of the fast hooks took %s", time.Duration(slowest.Load()))
	require.Less(t, time.Duration(slowest.Load()), time.Second)
}

func TestCoroutinesOccupyNoThread(t *testing.T) {
	p := load(t)
	const many = 1000 // far more than maxInFlight
	begin := time.Now()
	var most atomic.Int64
	var group sync.WaitGroup
	for range many {
		group.Go(func() {
			got, err := p.Dispatch(t.Context(), sleeper("AsyncSleep", 50*time.Millisecond))
			if assert.NoError(t, err) {
				assert.Equal(t, "yes", got.Request.SetHeaders["X-Async"])
			}
			for n := int64(python.InFlight()); ; {
				if now := most.Load(); n <= now || most.CompareAndSwap(now, n) {
					break
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d coroutines of 50 ms took %s, at most %d calls on threads", many, time.Since(begin), most.Load())
	require.Less(t, time.Since(begin), 20*time.Second, "one after the other they take 50 s")
	require.LessOrEqual(t, most.Load(), int64(maxInFlight))
}

func TestCallsBeyondWhatMayWaitAreBusy(t *testing.T) {
	p := load(t)
	var group sync.WaitGroup
	var busy atomic.Int64
	begin := time.Now()
	for range maxInFlight + maxWaiting + 50 {
		group.Go(func() {
			_, err := p.Dispatch(t.Context(), sleeper("AsyncSleep", time.Second))
			if err != nil {
				assert.ErrorIs(t, err, coprocess.ErrBusy)
				assert.Less(t, time.Since(begin), 5*time.Second, "they need not wait")
				busy.Add(1)
			}
		})
	}
	group.Wait()
	require.GreaterOrEqual(t, busy.Load(), int64(1))
	_, err := p.Dispatch(t.Context(), object("AddHeader"))
	require.NoError(t, err, "there is room again")
}

// A call that timed out keeps its buffers as long as Python uses them. Were they
// used for the next calls, those would see its bytes. A coroutine goes on after
// its call has ended; what it leaves is for nobody.
func TestBuffersOfOverdueCallsAreNotUsedAgain(t *testing.T) {
	slow := load(t, func(c *coprocess.Code) { c.Timeout = 30 * time.Millisecond })
	p := load(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 20 {
				if i%2 == 0 {
					for _, hook := range []string{"EchoLate", "EchoLateAsync"} {
						_, _ = slow.Dispatch(t.Context(), echo(hook, fmt.Sprintf("late %d/%d", i, j))) // some time out
					}
					continue
				}
				for _, hook := range []string{"Echo", "EchoAsync"} {
					body := fmt.Sprintf("in time %s %d/%d", hook, i, j)
					got, err := p.Dispatch(t.Context(), echo(hook, body))
					if assert.NoError(t, err) {
						assert.Equal(t, body, string(got.Request.RawBody))
						assert.Equal(t, body, got.Request.SetHeaders["X-Body"])
					}
				}
			}
		})
	}
	group.Wait()
}

// Hooks that end in the moment in which they are interrupted, and others that
// follow them on their thread.
func TestAnInterruptHitsNobodyElse(t *testing.T) {
	brief := load(t, func(c *coprocess.Code) { c.Timeout = 4 * time.Millisecond })
	p := load(t, func(c *coprocess.Code) { c.Timeout = 20 * time.Second })
	spin := func(d time.Duration) *coprocesspb.Object { return sleeper("SpinFor", d) }
	var overdue atomic.Int64
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			for range 150 {
				if i >= 2 {
					_, err := p.Dispatch(t.Context(), spin(500*time.Microsecond))
					assert.NoError(t, err)
					continue
				}
				if _, err := brief.Dispatch(t.Context(), spin(3500*time.Microsecond+rand.N(2*time.Millisecond))); err != nil {
					overdue.Add(1)
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d calls were overdue", overdue.Load())
	require.Positive(t, overdue.Load())
	for range 50 { // any thread would find out: they all look
		_, err := p.Dispatch(t.Context(), object("Profiled"))
		require.NoError(t, err, "CPython 3.11 must not look for interrupts that are not there")
	}
}

// Results share one block of memory, which belongs to them alone: neither later
// calls nor changes of one part of it show in another.
func TestResultsAreNotWrittenOver(t *testing.T) {
	p := load(t)
	got, err := p.Dispatch(t.Context(), echo("Echo", "first"))
	require.NoError(t, err)
	before := got.CloneVT()
	for i := range 500 {
		_, err := p.Dispatch(t.Context(), echo("Echo", fmt.Sprintf("other %d", i)))
		require.NoError(t, err)
	}
	require.True(t, before.EqualVT(got))
	_ = append(got.Request.RawBody, "appended"...)
	require.True(t, before.EqualVT(got))
}

func echo(hook, body string) *coprocesspb.Object {
	obj := object(hook)
	obj.Request.RawBody, obj.Request.Body = []byte(body), body
	return obj
}

func TestACallThatWaitsCanBeGivenUp(t *testing.T) {
	p := load(t, func(c *coprocess.Code) { c.Timeout = time.Minute })
	release := occupy(t, p)
	waiting, giveUp := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer giveUp()
	begin := time.Now()
	_, err := p.Dispatch(waiting, object("AddHeader"))
	require.ErrorIs(t, err, coprocess.ErrBusy, "half of its time has gone by in the queue")
	require.Less(t, time.Since(begin), 10*time.Second, "half of the plugin's own limit is 27 s")
	for range 200 {
		brief, done := context.WithTimeout(t.Context(), 50*time.Microsecond)
		_, err := p.Dispatch(brief, object("AddHeader"))
		done()
		if !errors.Is(err, coprocess.ErrTimeout) { // its time was over before it came
			require.ErrorIs(t, err, coprocess.ErrBusy, "however late the timer is")
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	time.AfterFunc(5*time.Millisecond, cancel)
	_, err = p.Dispatch(gone, object("AddHeader"))
	require.ErrorIs(t, err, context.Canceled)
	release()
	require.Eventually(t, func() bool { return python.InFlight() == 0 }, 20*time.Second, time.Millisecond)
}
