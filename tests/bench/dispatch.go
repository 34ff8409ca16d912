package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/bridge"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/internal/collector"
)

// callers are how many call at a time.
func callers() []int { return []int{1, 8, 64, 256} }

// python starts the interpreter with the plugin that is measured.
func startPython(ctx context.Context, root string) (*bridge.Runtime, coprocess.Plugin, error) {
	r, err := bridge.Start(ctx, bridge.Config{
		Host: noHost{}, Logger: slog.New(slog.DiscardHandler),
		Python: bridge.Search{Venv: filepath.Join(root, ".venv")},
	})
	if err != nil {
		return nil, nil, err
	}
	p, err := r.Load(ctx, coprocess.Code{Name: "bench", Dir: filepath.Join(root, "tests", "bench", "testdata", "plugin"), Entry: "middleware.py"})
	return r, p, err
}

// noHost is a host that keeps nothing.
type noHost struct{}

func (noHost) StoreData(context.Context, string, []byte, time.Duration) error { return nil }
func (noHost) GetData(context.Context, string) ([]byte, error)                { return nil, nil }
func (noHost) TriggerEvent(coprocess.Origin, string, string)                  {}
func (noHost) Log(coprocess.Origin, string, string)                           {}

// object returns a message as a gateway sends it: 12 headers, a body as text and
// as bytes, 4 members of the API. With a body of 300 bytes it has 1.7 kB.
func object(hook string, body int) *coprocesspb.Object {
	text := strings.Repeat("b", body)
	headers := map[string]string{"Host": "example.com", "Accept": "*/*", "Authorization": "Bearer 0123456789abcdef"}
	for i := range 9 {
		headers["X-Header-"+strconv.Itoa(i)] = strings.Repeat("value ", 8)
	}
	return &coprocesspb.Object{
		HookType: coprocesspb.HookType_Pre,
		HookName: hook,
		Request: &coprocesspb.MiniRequestObject{
			Headers: headers, Params: map[string]string{"a": "b"}, Url: "/path?a=b", RequestUri: "/path?a=b",
			Method: "POST", Scheme: "http", Body: text, RawBody: []byte(text),
			ReturnOverrides: &coprocesspb.ReturnOverrides{ResponseCode: -1},
		},
		Spec: map[string]string{
			"APIID": "api-1", "OrgID": "default", "bundle_hash": strings.Repeat("0", 32),
			"config_data": `{"limit": 100, "name": "` + strings.Repeat("n", 200) + `"}`,
		},
	}
}

// dispatchCase is one kind of call.
type dispatchCase struct {
	name   string
	obj    *coprocesspb.Object
	raises bool
}

func dispatchCases() []dispatchCase {
	return []dispatchCase{
		{"no-op", &coprocesspb.Object{HookName: "Nothing", HookType: coprocesspb.HookType_Pre, Request: &coprocesspb.MiniRequestObject{}}, false},
		{"realistic", object("ReadHeader", 300), false},
		{"realistic, not looked at", object("AddHeader", 300), false},
		{"body of 64 kB", object("ReadHeader", 64<<10), false},
		{"body of 64 kB, not looked at", object("AddHeader", 64<<10), false},
		{"raising", object("Raise", 300), true},
		{"time.sleep(0.005)", object("Sleep", 300), false},
		{"await asyncio.sleep(0.005)", object("AsyncSleep", 300), false},
	}
}

// key names a case with so many callers.
func key(name string, callers int) string { return fmt.Sprintf("%s, %d", name, callers) }

func measureDispatch(ctx context.Context, o options, r *results) error {
	collector.Tune() // as the gateway does
	python, plugin, err := startPython(ctx, o.root)
	if err != nil {
		return err
	}
	defer func() { _ = python.Stop(context.WithoutCancel(ctx)) }() // the process ends soon
	versions := python.Versions()
	r.Machine.Python, r.Machine.Protobuf = versions.Python, versions.Protobuf+" ("+versions.Backend+")"
	r.Dispatch, r.Floor = map[string]series{}, series{}
	for range o.rounds {
		if err := measureFloor(ctx, python, plugin, r.Floor); err != nil {
			return err
		}
		for _, c := range dispatchCases() {
			for _, n := range callers() {
				name := key(c.name, n)
				if r.Dispatch[name] == nil {
					r.Dispatch[name] = series{}
				}
				if err := callFor(ctx, plugin, c, n, o.calls, r.Dispatch[name]); err != nil {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
		}
		if err := measureTogether(ctx, plugin, r.Floor); err != nil {
			return err
		}
	}
	return nil
}

var errDidNotRaise = errors.New("the hook did not raise")

// warmUp is how long a case runs before it counts: until as many calls as there
// may be are under way.
const warmUp = 50 * time.Millisecond

// callFor calls c from n goroutines. The calls count that end within d.
func callFor(ctx context.Context, plugin coprocess.Plugin, c dispatchCase, n int, d time.Duration, to series) error {
	latencies := make([][]time.Duration, n)
	var failure atomic.Pointer[error]
	var before, after runtime.MemStats
	made := make([]int, n)
	runtime.GC()
	runtime.ReadMemStats(&before)
	var group sync.WaitGroup
	from := time.Now().Add(warmUp)
	until := from.Add(d)
	for i := range n {
		group.Go(func() {
			for end := time.Now(); end.Before(until); {
				begin := end
				_, err := plugin.Dispatch(ctx, c.obj)
				end = time.Now()
				made[i]++
				if end.After(from) && end.Before(until) {
					latencies[i] = append(latencies[i], end.Sub(begin))
				}
				if c.raises && err == nil {
					err = errDidNotRaise
				} else if c.raises {
					err = nil
				}
				if err != nil {
					failure.Store(&err)
					return
				}
			}
		})
	}
	group.Wait()
	runtime.ReadMemStats(&after)
	if failed := failure.Load(); failed != nil {
		return *failed
	}
	all := slices.Concat(latencies...)
	if len(all) == 0 {
		return fmt.Errorf("no call has ended within %s", d)
	}
	calls := 0
	for _, count := range made {
		calls += count
	}
	to.add("calls/s", float64(len(all))/d.Seconds())
	to.add("p50 µs", quantile(all, 0.5))
	to.add("p99 µs", quantile(all, 0.99))
	to.add("p99/p50", quantile(all, 0.99)/quantile(all, 0.5))
	// The list of latencies is part of it, amortised.
	to.add("allocations", float64(after.Mallocs-before.Mallocs)/float64(calls))
	return nil
}

// measureFloor measures the parts of a call on their own, in microseconds. As of
// a call, it is the median that is compared.
func measureFloor(ctx context.Context, python *bridge.Runtime, plugin coprocess.Plugin, to series) error {
	const calls = 2000
	obj := object("ReadHeader", 300)
	message, err := obj.MarshalVT()
	if err != nil {
		return err
	}
	ask := object("Floor", 0)
	ask.Request.RawBody = message
	ask.Request.Params["calls"] = strconv.Itoa(calls)
	got, err := plugin.Dispatch(ctx, ask)
	if err != nil {
		return err
	}
	var loops struct{ Plain, Least, Krait, Unread float64 }
	if err := json.Unmarshal([]byte(got.GetRequest().GetBody()), &loops); err != nil {
		return err
	}
	to.add("plain loop", loops.Plain*1e6)
	to.add("plain loop without spec", loops.Least*1e6)
	to.add("Python side", loops.Krait*1e6)
	to.add("Python side, not looked at", loops.Unread*1e6)

	const attaches = 20 // at a time: one takes as long as a look at the clock
	to.add("attach", timed(calls, func() {
		for range attaches {
			python.Attach()
		}
	})/attaches)
	buffer := make([]byte, len(message))
	to.add("codec", timed(calls, func() {
		if failed := codec(obj, buffer); failed != nil {
			err = failed
		}
	}))
	return err
}

// codec encodes obj and decodes it again, as the bridge does: into a buffer that
// is used again, and from a block that the strings of the result share.
func codec(obj *coprocesspb.Object, buffer []byte) error {
	n, err := obj.MarshalToSizedBufferVT(buffer[:obj.SizeVT()])
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	block := append(make([]byte, 0, n), buffer[:n]...)
	if err := new(coprocesspb.Object).UnmarshalVTUnsafe(block); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}

// timed returns how long work takes, in microseconds: the median.
func timed(calls int, work func()) float64 {
	took := make([]time.Duration, 0, calls)
	for range calls {
		began := time.Now()
		work()
		took = append(took, time.Since(began))
	}
	return quantile(took, 0.5)
}

// measureTogether measures how long 1000 coroutines of 50 ms take together.
func measureTogether(ctx context.Context, plugin coprocess.Plugin, to series) error {
	const many = 1000
	obj := object("Await50", 300)
	failures := make(chan error, many)
	var group sync.WaitGroup
	began := time.Now()
	for range many {
		group.Go(func() {
			if _, err := plugin.Dispatch(ctx, obj); err != nil {
				failures <- err
			}
		})
	}
	group.Wait()
	to.add("1000 coroutines", microseconds(time.Since(began)))
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}
