package limit

import (
	"context"
	"fmt"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// memoryBytes bounds what all counters together take. Beyond it, those used
	// least are forgotten: whoever can make up tokens must not end the process.
	memoryBytes = 64 << 20
	// counterBytes is what a counter costs besides its time stamps.
	counterBytes = 256
	stampBytes   = 8
)

// Memory counts in this process, for one gateway. Its counters take 64 MiB at
// most; beyond that the least used ones begin anew. Make one with [NewMemory].
type Memory struct {
	counters *otter.Cache[string, *counter]
	began    time.Time
}

// counter is changed within otter's Compute only, one call at a time.
type counter struct {
	passed []time.Duration // since Memory.began, oldest first
	used   int64
	renews time.Duration // since Memory.began; 0: never
	ends   time.Duration // when there is nothing left to remember; 0: never
}

// NewMemory returns a Counter without any counts.
func NewMemory() (*Memory, error) {
	m := &Memory{began: time.Now()}
	counters, err := otter.New(&otter.Options[string, *counter]{
		MaximumWeight: memoryBytes,
		Weigher: func(_ string, c *counter) uint32 {
			return uint32(min(counterBytes+stampBytes*cap(c.passed), memoryBytes))
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, *counter]) time.Duration {
			if e.Value.ends == 0 {
				return maxWindow
			}
			return max(e.Value.ends-time.Since(m.began), time.Millisecond)
		}),
	})
	if err != nil {
		return nil, fmt.Errorf("memory counters: %w", err)
	}
	m.counters = counters
	return m, nil
}

// Close ends the goroutine that removes old counters.
func (m *Memory) Close() error {
	m.counters.StopAllGoroutines()
	return nil
}

// Take implements [Counter].
func (m *Memory) Take(ctx context.Context, key string, l Limits) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	var result Result
	m.counters.Compute(key, func(c *counter, found bool) (*counter, otter.ComputeOp) {
		if !found {
			c = &counter{}
		}
		// From 1 on: 0 stands for never.
		now := time.Since(m.began) + 1
		result.Verdict = c.take(now, l)
		if result.Verdict != RateExceeded {
			m.quota(c, l, &result)
		}
		return c, otter.WriteOp
	})
	return result, nil
}

// Peek implements [Counter].
func (m *Memory) Peek(ctx context.Context, key string, l Limits) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	var result Result
	m.counters.Compute(key, func(c *counter, found bool) (*counter, otter.ComputeOp) {
		if !found {
			c = &counter{}
		}
		c.renew(time.Since(m.began) + 1)
		m.quota(c, l, &result)
		if l.Quota > 0 && result.Remaining == 0 {
			result.Verdict = QuotaExceeded
		}
		return c, otter.CancelOp
	})
	return result, nil
}

// Reset implements [Counter].
func (m *Memory) Reset(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.counters.Invalidate(key)
	return nil
}

// quota fills in what is left of the quota.
func (m *Memory) quota(c *counter, l Limits, result *Result) {
	if l.Quota == 0 {
		return
	}
	result.Remaining = max(l.Quota-c.used, 0)
	if c.renews > 0 {
		result.Renews = m.began.Add(c.renews)
	}
}

func (c *counter) take(now time.Duration, l Limits) Verdict {
	c.renew(now)
	verdict := c.count(now, l)
	c.ends = now + l.Per
	switch {
	case c.used > 0 && c.renews == 0:
		c.ends = 0
	case c.used > 0:
		c.ends = max(c.ends, c.renews)
	}
	return verdict
}

func (c *counter) count(now time.Duration, l Limits) Verdict {
	if l.Rate > 0 {
		for len(c.passed) > 0 && now-c.passed[0] >= l.Per {
			c.passed = c.passed[1:]
		}
		if int64(len(c.passed)) >= l.Rate {
			return RateExceeded
		}
		c.passed = append(c.passed, now)
	}
	if l.Quota == 0 {
		return Allowed
	}
	verdict := QuotaExceeded
	if c.used < l.Quota {
		c.used++
		verdict = Allowed
	}
	// A quota that just began, or whose renewal was set or shortened since.
	if l.Renewal > 0 && (c.renews == 0 || c.renews > now+l.Renewal) {
		c.renews = now + l.Renewal
	}
	return verdict
}

// renew begins the quota anew when its time has come.
func (c *counter) renew(now time.Duration) {
	if c.renews > 0 && now >= c.renews {
		c.used, c.renews = 0, 0
	}
}
