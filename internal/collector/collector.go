// Package collector says how often a process that serves requests collects
// garbage.
package collector

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// room is how much, in bytes, is allocated at least between two garbage
	// collections. With Go's own rule, a gateway that keeps a few megabytes
	// collects dozens of times per second under load, which takes a tenth of its
	// processors.
	room = 64 << 20
	// goPercent is Go's own rule: as much again as is alive.
	goPercent = 100
	// slack is the change of the rule that is not worth an interruption.
	slack = 0.2
)

// Tune gives small heaps room for 64 MiB between two collections, unless GOGC
// says what to do. Heaps that are larger than that follow Go's rule, and
// GOMEMLIMIT counts for all. It goes on for the life of the process, and is for
// programs to call, once, as they start.
func Tune() {
	if os.Getenv("GOGC") != "" {
		return
	}
	adjust(&collection{percent: goPercent})
}

// collection is garbage at once, so that each collection ends with a call of
// adjust, before much has been allocated.
type collection struct{ percent int }

func adjust(c *collection) {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() == metrics.KindUint64 {
		percent := percentOf(sample[0].Value.Uint64())
		if math.Abs(float64(percent-c.percent)) > slack*float64(c.percent) {
			debug.SetGCPercent(percent)
			c.percent = percent
		}
	}
	runtime.SetFinalizer(&collection{percent: c.percent}, adjust)
}

// percentOf returns the percentage of live bytes after which to collect.
func percentOf(live uint64) int {
	const least = 4 << 20 // Go multiplies no less
	return int(max(goPercent, room*100/max(live, least)))
}
