package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
)

// Calls of all kinds at a time, with loads beside them: each ends, with an outcome
// of its own, and afterwards nothing is left that would keep a call waiting.
func TestCallsOfAllKindsEnd(t *testing.T) {
	p := load(t)
	brief := load(t, func(c *coprocess.Code) { c.Timeout = 4 * time.Millisecond })
	serial := load(t, func(c *coprocess.Code) { c.Serial = true })
	quick := coprocess.Code{Name: "quick", Dir: t.TempDir(), Entry: "middleware.py"}
	write(t, quick.Dir, hookSetting("1"))
	echoes := func(p coprocess.Plugin, hook string) {
		body := fmt.Sprint(rand.Int())
		got, err := p.Dispatch(t.Context(), echo(hook, body))
		if assert.NoError(t, err) {
			assert.Equal(t, body, got.Request.SetHeaders["X-Body"])
		}
	}
	kinds := map[string]func(){
		"echo":   func() { echoes(p, "Echo") },
		"async":  func() { echoes(p, "EchoAsync") },
		"serial": func() { echoes(serial, "Echo") },
		"sleep": func() {
			_, err := p.Dispatch(t.Context(), sleeper("Sleep", rand.N(5*time.Millisecond)))
			assert.NoError(t, err)
		},
		"CPU-bound": func() {
			_, err := p.Dispatch(t.Context(), sleeper("SpinFor", rand.N(2*time.Millisecond)))
			assert.NoError(t, err)
		},
		"raise": func() {
			_, err := p.Dispatch(t.Context(), object("Raise"))
			assert.ErrorIs(t, err, coprocess.ErrHook)
		},
		"event": func() {
			assert.NoError(t, p.DispatchEvent(t.Context(), []byte(`{"message":{"Event":"E"},"handler_name":"OnEvent","spec":{"APIID":"1"}}`)))
		},
		"given up": func() {
			for _, hook := range []string{"Nothing", "Sleep", "SpinFor", "AsyncSleep"} {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(rand.N(3*time.Millisecond), cancel)
				_, err := p.Dispatch(ctx, sleeper(hook, rand.N(5*time.Millisecond)))
				assert.True(t, err == nil || errors.Is(err, context.Canceled), "%v", err)
				cancel()
			}
		},
		"overdue": func() {
			for _, hook := range []string{"Nothing", "Sleep", "SpinFor", "AsyncSleep"} {
				_, err := brief.Dispatch(t.Context(), sleeper(hook, rand.N(10*time.Millisecond)))
				assert.True(t, err == nil || errors.Is(err, coprocess.ErrTimeout) || errors.Is(err, coprocess.ErrBusy), "%v", err)
			}
		},
		"load": func() {
			other, err := python.Load(t.Context(), quick)
			if assert.NoError(t, err) {
				_, err := other.Dispatch(t.Context(), object("H"))
				assert.NoError(t, err)
				assert.NoError(t, other.Close())
			}
		},
	}
	end := time.Now().Add(2 * time.Second)
	var left, calls atomic.Int64
	for _, call := range kinds {
		for range 4 {
			left.Add(1)
			go func() {
				defer left.Add(-1)
				for time.Now().Before(end) && !t.Failed() {
					call()
					calls.Add(1)
				}
			}()
		}
	}
	require.Eventually(t, func() bool { return left.Load() == 0 && python.InFlight() == 0 }, 60*time.Second, 5*time.Millisecond)
	t.Logf("%d calls", calls.Load())

	// While code is loaded no call begins, and the scheduler falls asleep.
	dir := t.TempDir()
	write(t, dir, "import time\ntime.sleep(0.4)\n")
	slow, err := python.Load(t.Context(), coprocess.Code{Name: "slow", Dir: dir, Entry: "middleware.py"})
	require.NoError(t, err)
	require.NoError(t, slow.Close())
	for range 2 {
		for name, call := range kinds {
			begin := time.Now()
			call()
			require.Less(t, time.Since(begin), 8*time.Second, name) // less than its time limit
		}
	}
}
