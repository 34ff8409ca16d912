package redis_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/redisserver"
	"github.com/krait-gateway/krait/store/redis"
)

// BenchmarkStore is one round trip to a server on the same machine, for one
// caller, and for many, whose calls go together.
func BenchmarkStore(b *testing.B) {
	st, err := redis.New(redis.Options{Addrs: []string{redisserver.Start(b).Addr()}})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	value := make([]byte, 512)
	require.NoError(b, st.Set(b.Context(), "test:k", value, time.Hour))
	get := func() error {
		_, err := st.Get(b.Context(), "test:k")
		return err
	}
	set := func() error { return st.Set(b.Context(), "test:k", value, time.Hour) }
	for _, call := range []struct {
		name string
		do   func() error
	}{{"get", get}, {"set", set}} {
		b.Run(call.name+"/alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := call.do(); err != nil {
					b.Fatal(err)
				}
			}
		})
		const callers = 32 // for each processor
		b.Run(call.name+"/callers="+strconv.Itoa(callers), func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(callers)
			b.RunParallel(func(loop *testing.PB) {
				for loop.Next() {
					if err := call.do(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
