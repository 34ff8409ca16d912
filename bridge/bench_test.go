package bridge_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
)

// realistic returns a message as a gateway sends it: 12 headers, a body of 300
// bytes as text and as bytes, 4 members of the API; 1.7 kB in all.
func realistic(hook string) *coprocesspb.Object {
	obj := object(hook)
	for i := range 9 {
		obj.Request.Headers[fmt.Sprintf("X-Header-%d", i)] = strings.Repeat("value ", 8)
	}
	obj.Request.Body = strings.Repeat("b", 300)
	obj.Request.RawBody = []byte(obj.Request.Body)
	obj.Spec["config_data"] = `{"limit": 100, "name": "` + strings.Repeat("n", 200) + `"}`
	return obj
}

// BenchmarkDispatch measures calls per second and the latency of one, for so
// many callers at a time.
func BenchmarkDispatch(b *testing.B) {
	p := load(b)
	large := realistic("AddHeader")
	large.Request.Body = strings.Repeat("b", 64<<10)
	large.Request.RawBody = []byte(large.Request.Body)
	for _, c := range []struct {
		name string
		obj  *coprocesspb.Object
		fail bool
	}{
		{"no-op", &coprocesspb.Object{HookName: "Nothing", HookType: coprocesspb.HookType_Pre}, false},
		{"realistic", realistic("AddHeader"), false},
		{"64kB", large, false},
		{"raising", realistic("Raise"), true},
		{"sleeping", sleeper("Sleep", 5*time.Millisecond), false},
		{"async", sleeper("AsyncSleep", 5*time.Millisecond), false},
	} {
		for _, callers := range []int{1, 8, 64, 256} {
			b.Run(fmt.Sprintf("%s/callers=%d", c.name, callers), func(b *testing.B) {
				b.ReportAllocs()
				var left atomic.Int64
				left.Store(int64(b.N))
				latencies := make([][]time.Duration, callers)
				var group sync.WaitGroup
				cpu := cpuTime()
				b.ResetTimer()
				for i := range callers {
					group.Go(func() {
						for left.Add(-1) >= 0 {
							begin := time.Now()
							_, err := p.Dispatch(b.Context(), c.obj)
							latencies[i] = append(latencies[i], time.Since(begin))
							if (err != nil) != c.fail {
								b.Error(err)
								return
							}
						}
					})
				}
				group.Wait()
				b.StopTimer()
				all := slices.Concat(latencies...)
				slices.Sort(all)
				require.NotEmpty(b, all)
				b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1e3, "p50-us")
				b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds())/1e3, "p99-us")
				b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/1e3/float64(len(all)), "cpu-us")
				b.ReportMetric(float64(len(all))/b.Elapsed().Seconds(), "calls/s")
			})
		}
	}
}

// BenchmarkAttach is the least that a call costs: into C, and the interpreter's
// lock.
func BenchmarkAttach(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if !python.Attach() {
			b.Fatal("no thread state")
		}
	}
}

// BenchmarkCodec is what a call costs in Go.
func BenchmarkCodec(b *testing.B) {
	obj := realistic("AddHeader")
	b.ReportAllocs()
	for b.Loop() {
		wire, err := obj.MarshalVT()
		if err == nil {
			err = new(coprocesspb.Object).UnmarshalVTUnsafe(wire)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// cpuTime is what the process has used of the processors.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
