package limit_test

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/krait-gateway/krait/internal/redisserver"
	"github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/store/redis"
)

// patience bounds every wait.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	redis.LogTo(slog.New(slog.DiscardHandler))
	goleak.VerifyTestMain(m)
}

func TestNew(t *testing.T) {
	tightest := limit.Limits{Rate: 1, Per: 100 * 365 * 24 * time.Hour}
	for name, tc := range map[string]struct {
		rate, per      float64
		quota, renewal int64
		want           limit.Limits
	}{
		"nothing set limits nothing":          {0, 0, 0, 0, limit.Limits{}},
		"-1 limits nothing":                   {-1, -1, -1, -1, limit.Limits{}},
		"rate without per limits nothing":     {5, 0, 0, 0, limit.Limits{}},
		"rate and per in seconds":             {1000, 1, 0, 0, limit.Limits{Rate: 1000, Per: time.Second}},
		"half a request per second":           {0.5, 1, 0, 0, limit.Limits{Rate: 1, Per: 2 * time.Second}},
		"fractions above one are cut":         {2.9, 1, 0, 0, limit.Limits{Rate: 2, Per: time.Second}},
		"quota with renewal in seconds":       {0, 0, 7, 60, limit.Limits{Quota: 7, Renewal: time.Minute}},
		"quota without renewal never ends":    {0, 0, 7, 0, limit.Limits{Quota: 7}},
		"largest quota is bounded":            {0, 0, math.MaxInt64, 0, limit.Limits{Quota: 1 << 53}},
		"renewal without quota is nothing":    {0, 0, -1, 60, limit.Limits{}},
		"huge rate is bounded":                {1e300, 1, 0, 0, limit.Limits{Rate: 100_000, Per: time.Microsecond}},
		"rate above 100000 is held in shares": {5e6, 3600, 0, 0, limit.Limits{Rate: 100_000, Per: 72 * time.Second}},
		"huge renewal is a hundred years":     {0, 0, 1, math.MaxInt64, limit.Limits{Quota: 1, Renewal: 100 * 365 * 24 * time.Hour}},
		"tiny per is one microsecond":         {1, 1e-30, 0, 0, limit.Limits{Rate: 1, Per: time.Microsecond}},
		"tiny rate is one in a hundred years": {1e-300, 1, 0, 0, limit.Limits{Rate: 1, Per: 100 * 365 * 24 * time.Hour}},
		"rate that is no number is tight":     {math.NaN(), 1, 0, 0, tightest},
		"per that is no number is tight":      {5, math.NaN(), 0, 0, tightest},
		"endless rate and per are tight":      {math.Inf(1), math.Inf(1), 0, 0, tightest},
		"endless rate is bounded":             {math.Inf(1), 1, 0, 0, limit.Limits{Rate: 100_000, Per: time.Microsecond}},
	} {
		t.Run(name, func(t *testing.T) {
			got := limit.New(tc.rate, tc.per, tc.quota, tc.renewal)
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.want == limit.Limits{}, got.None())
		})
	}
}

func TestKeyHoldsNoToken(t *testing.T) {
	key := limit.Key("org", "secret", "")
	require.NotContains(t, key, "secret")
	for _, other := range []string{limit.Key("other", "secret", ""), limit.Key("org", "secret", "gold"), limit.Key("org", "secret", "silver")} {
		require.NotContains(t, other, "secret")
		require.NotEqual(t, key, other)
	}
	require.NotEqual(t, limit.Key("a", "bc", ""), limit.Key("ab", "c", ""), "organisations do not share counters")
}

// counters starts each driver: what it returns yields counters that share their
// counts, as gateways on one Redis do.
func counters(t *testing.T, test func(t *testing.T, open func() limit.Counter)) {
	t.Run("memory", func(t *testing.T) {
		m, err := limit.NewMemory()
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, m.Close()) })
		test(t, func() limit.Counter { return m })
	})
	overRedis := func(opts redis.Options) func(t *testing.T) {
		return func(t *testing.T) {
			test(t, func() limit.Counter {
				st, err := redis.New(opts)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, st.Close()) })
				return limit.NewRedis(st.Client())
			})
		}
	}
	t.Run("Redis", func(t *testing.T) {
		overRedis(redis.Options{Addrs: []string{redisserver.Start(t).Addr()}})(t)
	})
	t.Run("Redis cluster", func(t *testing.T) {
		overRedis(redis.Options{Addrs: []string{redisserver.StartCluster(t).Addr()}, Cluster: true})(t)
	})
}

func take(t *testing.T, c limit.Counter, key string, l limit.Limits) limit.Result {
	t.Helper()
	r, err := c.Take(t.Context(), key, l)
	require.NoError(t, err)
	return r
}

func TestCounter(t *testing.T) {
	counters(t, func(t *testing.T, open func() limit.Counter) {
		c := open()
		t.Run("rate: the request after the last one is refused, for this key only", func(t *testing.T) {
			l := limit.Limits{Rate: 3, Per: time.Hour}
			for range 3 {
				require.Equal(t, limit.Result{}, take(t, c, "rate", l))
			}
			for range 2 {
				require.Equal(t, limit.RateExceeded, take(t, c, "rate", l).Verdict)
			}
			require.Equal(t, limit.Allowed, take(t, c, "rate of others", l).Verdict)
			require.Equal(t, limit.Allowed, take(t, c, "rate", limit.Limits{Rate: 4, Per: time.Hour}).Verdict, "a higher rate counts at once")
			require.Equal(t, limit.RateExceeded, take(t, c, "rate", limit.Limits{Rate: 2, Per: time.Hour}).Verdict, "and so does a lower one")
		})
		t.Run("rate: at most so many in any window", func(t *testing.T) {
			const per, rate = 200 * time.Millisecond, 4
			l := limit.Limits{Rate: rate, Per: per}
			var passed []time.Time // before and after each request that passed
			require.Eventually(t, func() bool {
				before := time.Now()
				if take(t, c, "window", l).Verdict == limit.Allowed {
					passed = append(passed, before, time.Now())
				}
				return len(passed) >= 2*4*rate
			}, patience, 5*time.Millisecond)
			for i := 0; i+2*rate < len(passed); i += 2 {
				// Redis counts in microseconds.
				require.GreaterOrEqual(t, passed[i+2*rate+1].Sub(passed[i])+time.Millisecond, per)
			}
		})
		t.Run("quota: counts down, is refused, and begins anew", func(t *testing.T) {
			l := limit.Limits{Quota: 2, Renewal: 400 * time.Millisecond}
			first := take(t, c, "quota", l)
			require.Equal(t, limit.Allowed, first.Verdict)
			require.EqualValues(t, 1, first.Remaining)
			require.WithinDuration(t, time.Now().Add(l.Renewal), first.Renews, 300*time.Millisecond)
			require.EqualValues(t, 0, take(t, c, "quota", l).Remaining)
			third := take(t, c, "quota", l)
			require.Equal(t, limit.QuotaExceeded, third.Verdict)
			require.WithinDuration(t, first.Renews, third.Renews, 10*time.Millisecond, "refused requests move nothing")
			require.Eventually(t, func() bool {
				r := take(t, c, "quota", l)
				return r.Verdict == limit.Allowed && r.Remaining == 1
			}, patience, 10*time.Millisecond)
			require.False(t, time.Now().Before(first.Renews.Add(-10*time.Millisecond)))
		})
		t.Run("quota: without a renewal it stays used up", func(t *testing.T) {
			l := limit.Limits{Quota: 1}
			require.True(t, take(t, c, "for ever", l).Renews.IsZero())
			require.Equal(t, limit.QuotaExceeded, take(t, c, "for ever", l).Verdict)
			require.False(t, take(t, c, "for ever", limit.Limits{Quota: 1, Renewal: time.Hour}).Renews.IsZero(), "until it gets one")
		})
		t.Run("the largest limits count", func(t *testing.T) {
			l := limit.New(1e300, 1e300, math.MaxInt64, math.MaxInt64)
			r := take(t, c, "largest", l)
			require.Equal(t, limit.Allowed, r.Verdict)
			require.Equal(t, l.Quota-1, r.Remaining)
			require.WithinDuration(t, time.Now().Add(l.Renewal), r.Renews, time.Minute)
			require.Equal(t, limit.Allowed, take(t, c, "largest", l).Verdict)
		})
		t.Run("quota: a changed maximum counts at once", func(t *testing.T) {
			l := limit.Limits{Quota: 5, Renewal: time.Hour}
			take(t, c, "changed", l)
			take(t, c, "changed", l)
			require.Equal(t, limit.QuotaExceeded, take(t, c, "changed", limit.Limits{Quota: 1, Renewal: time.Hour}).Verdict)
			require.EqualValues(t, 7, take(t, c, "changed", limit.Limits{Quota: 10, Renewal: time.Hour}).Remaining)
		})
		t.Run("quota: a shorter renewal counts at once, a longer one with the next period", func(t *testing.T) {
			began := take(t, c, "renewal", limit.Limits{Quota: 9, Renewal: time.Hour}).Renews
			longer := take(t, c, "renewal", limit.Limits{Quota: 9, Renewal: 2 * time.Hour})
			require.WithinDuration(t, began, longer.Renews, time.Second)
			shorter := take(t, c, "renewal", limit.Limits{Quota: 9, Renewal: time.Minute})
			require.WithinDuration(t, time.Now().Add(time.Minute), shorter.Renews, 20*time.Second)
			require.EqualValues(t, 6, shorter.Remaining)
		})
		t.Run("the rate comes first and spares the quota", func(t *testing.T) {
			l := limit.Limits{Rate: 1, Per: time.Hour, Quota: 5, Renewal: time.Hour}
			take(t, c, "both", l)
			require.Equal(t, limit.RateExceeded, take(t, c, "both", l).Verdict)
			left, err := c.Peek(t.Context(), "both", l)
			require.NoError(t, err)
			require.EqualValues(t, 4, left.Remaining)
		})
		t.Run("peek counts nothing", func(t *testing.T) {
			l := limit.Limits{Quota: 1, Renewal: time.Hour}
			for range 3 {
				left, err := c.Peek(t.Context(), "peek", l)
				require.NoError(t, err)
				require.Equal(t, limit.Result{Remaining: 1}, left)
			}
			require.Equal(t, limit.Allowed, take(t, c, "peek", l).Verdict)
			left, err := c.Peek(t.Context(), "peek", l)
			require.NoError(t, err)
			require.Equal(t, limit.QuotaExceeded, left.Verdict)
		})
		t.Run("reset begins rate and quota anew, for this key only", func(t *testing.T) {
			l := limit.Limits{Rate: 2, Per: time.Hour, Quota: 1, Renewal: time.Hour}
			for _, key := range []string{"reset", "kept"} {
				take(t, c, key, l)
				require.Equal(t, limit.QuotaExceeded, take(t, c, key, l).Verdict)
				require.Equal(t, limit.RateExceeded, take(t, c, key, l).Verdict)
			}
			require.NoError(t, open().Reset(t.Context(), "reset"))
			require.NoError(t, c.Reset(t.Context(), "never counted"))
			require.Equal(t, limit.Allowed, take(t, c, "reset", l).Verdict)
			require.Equal(t, limit.RateExceeded, take(t, c, "kept", l).Verdict)
		})
		t.Run("of many at once, through several counters, as many pass as may", func(t *testing.T) {
			l := limit.Limits{Rate: 50, Per: time.Hour, Quota: 30, Renewal: time.Hour}
			verdicts := [3]atomic.Int64{}
			var group sync.WaitGroup
			for range 4 {
				c := open()
				group.Go(func() {
					for range 25 {
						r, err := c.Take(context.Background(), "many", l)
						if assert.NoError(t, err) {
							verdicts[r.Verdict].Add(1)
						}
					}
				})
			}
			group.Wait()
			require.EqualValues(t, 30, verdicts[limit.Allowed].Load())
			require.EqualValues(t, 20, verdicts[limit.QuotaExceeded].Load())
			require.EqualValues(t, 50, verdicts[limit.RateExceeded].Load())
		})
		t.Run("nothing passes when the caller has gone", func(t *testing.T) {
			gone, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := c.Take(gone, "gone", limit.Limits{Rate: 1, Per: time.Hour})
			require.ErrorIs(t, err, context.Canceled)
			require.ErrorIs(t, c.Reset(gone, "gone"), context.Canceled)
		})
	})
}

func TestRedisAwayIsAnError(t *testing.T) {
	server := redisserver.Start(t)
	st, err := redis.New(redis.Options{Addrs: []string{server.Addr()}, Timeout: time.Second})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	c := limit.NewRedis(st.Client())
	l := limit.Limits{Rate: 1, Per: time.Hour}
	require.Equal(t, limit.Allowed, take(t, c, "key", l).Verdict)
	server.Stop()
	_, err = c.Take(t.Context(), "key", l)
	require.Error(t, err)
	server.Restart()
	require.Eventually(t, func() bool {
		_, err := c.Take(t.Context(), "other", l)
		return err == nil
	}, patience, 20*time.Millisecond)
}
