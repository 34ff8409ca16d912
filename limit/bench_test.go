package limit_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
	"github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/store/redis"
)

// BenchmarkTake is what a request of a session with limits pays. The rate is one
// that the benchmark soon exceeds, as a busy caller does.
func BenchmarkTake(b *testing.B) {
	memory, err := limit.NewMemory()
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, memory.Close()) })
	st, err := redis.New(redis.Options{Addrs: []string{redisserver.Start(b).Addr()}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	for _, driver := range []struct {
		name    string
		counter limit.Counter
	}{{"memory", memory}, {"redis", limit.NewRedis(st.Client())}} {
		for _, kind := range []struct {
			name   string
			limits limit.Limits
		}{
			{"rate", limit.Limits{Rate: 1000, Per: time.Second}},
			{"quota", limit.Limits{Quota: 1 << 40, Renewal: time.Hour}},
		} {
			b.Run("driver="+driver.name+"/limit="+kind.name, func(b *testing.B) {
				key := limit.Key("org", kind.name, "")
				b.ReportAllocs()
				for b.Loop() {
					if _, err := driver.counter.Take(b.Context(), key, kind.limits); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
