package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/krait-gateway/krait/coprocesspb"
)

// memoryPoint is the resident memory of processes, in MB, after so many hooks.
type memoryPoint struct {
	Hooks int       `json:"hooks"`
	RSS   []float64 `json:"rss_mb"`
}

// memoryTime is after how long no further process begins.
const memoryTime = time.Minute

// measureMemory has processes of their own call hooks, one after the other.
func measureMemory(ctx context.Context, o options, r *results) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	began := time.Now()
	for i := 0; i < min(o.rounds, longRounds) && (i == 0 || time.Since(began) < memoryTime); i++ {
		command := exec.CommandContext(ctx, self, "memory", "-root", o.root, "-hooks", strconv.Itoa(o.hooks))
		command.Stderr = os.Stderr
		output, err := command.Output()
		if err != nil {
			return err
		}
		var points []memoryPoint
		if err := json.Unmarshal(output, &points); err != nil {
			return err
		}
		r.Memory = merge(r.Memory, points)
	}
	return nil
}

// merge adds what a further process has shown at the same points.
func merge(all, points []memoryPoint) []memoryPoint {
	if all == nil {
		return points
	}
	for i := range min(len(all), len(points)) {
		all[i].RSS = append(all[i].RSS, points[i].RSS...)
	}
	return all
}

// growMemory calls hooks, every tenth of which raises, from 64 goroutines.
func growMemory(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("memory", flag.ContinueOnError)
	root := flags.String("root", ".", "")
	hooks := flags.Int("hooks", 1_000_000, "")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	_, plugin, err := startPython(ctx, *root)
	if err != nil {
		return err
	}
	adds, raises := object("AddHeader", 300), object("Raise", 300)
	var points []memoryPoint
	done := 0
	for _, upTo := range []int{*hooks / 1000, *hooks / 10, *hooks / 2, *hooks} {
		var left atomic.Int64
		left.Store(int64(upTo - done))
		var group sync.WaitGroup
		for range 64 {
			group.Go(func() {
				for n := left.Add(-1); n >= 0; n = left.Add(-1) {
					var obj *coprocesspb.Object
					if obj = adds; n%10 == 0 {
						obj = raises
					}
					_, _ = plugin.Dispatch(ctx, obj) // a tenth raises
				}
			})
		}
		group.Wait()
		done = upTo
		debug.FreeOSMemory()
		rss, err := status(os.Getpid(), "VmRSS")
		if err != nil {
			return err
		}
		points = append(points, memoryPoint{done, []float64{float64(rss) / 1024}})
	}
	data, err := json.Marshal(points)
	if err != nil {
		return err
	}
	fmt.Println(string(data))
	return nil
}
