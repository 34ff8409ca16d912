package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// longRounds is how often at most what takes seconds is measured.
const longRounds = 3

// measureStartUp measures how long a gateway takes from its start to its first
// answer, and for a reload, with so many APIs that share one bundle: one that
// finds nothing new, and one that finds a new version of the bundle, which makes
// every API anew.
func measureStartUp(ctx context.Context, o options, r *results) error {
	dir, err := os.MkdirTemp("", "krait-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	r.StartUp = map[string]series{}
	for i := range min(o.rounds, longRounds) {
		for _, count := range apiCounts() {
			name := apisKey(count)
			if r.StartUp[name] == nil {
				r.StartUp[name] = series{}
			}
			fresh := filepath.Join(dir, fmt.Sprint(count, "-", i)) // no bundle is there yet
			if err := startOnce(ctx, o, fresh, count, r.StartUp[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func apiCounts() []int { return []int{1, 100, 1000} }

// apisKey names a gateway with so many APIs.
func apisKey(count int) string {
	if count == 1 {
		return "1 API"
	}
	return fmt.Sprint(count, " APIs")
}

func startOnce(ctx context.Context, o options, dir string, count int, to series) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	s, err := newSite(o.root, dir, address)
	if err != nil {
		return err
	}
	if err := s.bundle(ctx, o.root, "pre", "python", document{"pre": []document{hook("AddHeader")}}); err != nil {
		return err
	}
	for i := range count {
		if err := s.api(fmt.Sprint("api-", i), "http://127.0.0.1:9/", document{"custom_middleware_bundle": "pre.zip"}); err != nil {
			return err
		}
	}
	servers := &processes{dir: dir}
	defer servers.stop()
	began := time.Now()
	command, err := s.start(ctx, servers)
	if err != nil {
		return err
	}
	to.add("start ms", microseconds(time.Since(began))/1e3)
	if err := s.timeReload(ctx, "reload ms", to); err != nil {
		return err
	}
	// Another hook in the manifest makes it another bundle.
	if err := s.bundle(ctx, o.root, "pre", "python", document{"pre": []document{hook("Nothing")}}); err != nil {
		return err
	}
	if err := s.timeReload(ctx, "reload, new bundle ms", to); err != nil {
		return err
	}
	rss, err := status(command.Process.Pid, "VmRSS")
	if err != nil {
		return err
	}
	to.add("RSS MB", float64(rss)/1024)
	return nil
}

func (s *site) timeReload(ctx context.Context, name string, to series) error {
	began := time.Now()
	if err := s.reload(ctx); err != nil {
		return err
	}
	to.add(name, microseconds(time.Since(began))/1e3)
	return nil
}

// threadCount is how many threads a gateway has with so many requests at once,
// and its resident memory, in MB.
type threadCount struct {
	Requests int       `json:"requests"`
	Files    int       `json:"file_limit"` // of a process
	Threads  []float64 `json:"threads"`
	RSS      []float64 `json:"rss_mb"`
}

const (
	mostRequests    = 10_000
	slowAnswer      = 30 * time.Second
	betweenRequests = 300 * time.Microsecond
)

// measureThreads sends requests through a pre hook to an upstream that answers
// after a while: 10,000 at once, or as many as the limit of open files lets a
// gateway have.
func measureThreads(ctx context.Context, o options, r *results) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	const spare, each = 1000, 2 // to the client and to the upstream
	files := int(min(limit.Max, math.MaxInt32))
	r.Threads = &threadCount{Requests: min(mostRequests, (files-spare)/each), Files: files}
	for range min(o.rounds, longRounds) {
		if err := r.Threads.measure(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

func (c *threadCount) measure(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "krait-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	servers := &processes{dir: dir}
	defer servers.stop()
	free, err := freeAddresses(2)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if _, err := servers.start(ctx, free[0], self, "slow-upstream", "-listen", free[0], "-after", slowAnswer.String()); err != nil {
		return err
	}
	s, err := newSite(o.root, dir, free[1])
	if err != nil {
		return err
	}
	if err := s.bundle(ctx, o.root, "pre", "python", document{"pre": []document{hook("AddHeader")}}); err != nil {
		return err
	}
	if err := s.api("slow", "http://"+free[0], document{"custom_middleware_bundle": "pre.zip"}); err != nil {
		return err
	}
	command, err := s.start(ctx, servers)
	if err != nil {
		return err
	}
	upstream := servers.started[0].Process.Pid
	idle := openFiles(upstream)
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var failure atomic.Pointer[error]
	for range c.Requests {
		group.Go(func() {
			if err := once(ctx, client, s.url("slow/"), ""); err != nil && ctx.Err() == nil {
				failure.Store(&err)
			}
		})
		<-time.After(betweenRequests) // all at once they would not fit into the queues of the sockets
	}
	// All are there when the upstream has a connection for each.
	if err := await(ctx, func() bool { return openFiles(upstream) >= idle+c.Requests || failure.Load() != nil }); err != nil {
		return fmt.Errorf("not all %d requests got to the upstream: %w", c.Requests, err)
	}
	if failure.Load() != nil {
		return *failure.Load()
	}
	threads, err := status(command.Process.Pid, "Threads")
	if err != nil {
		return err
	}
	rss, err := status(command.Process.Pid, "VmRSS")
	if err != nil {
		return err
	}
	c.Threads, c.RSS = append(c.Threads, float64(threads)), append(c.RSS, float64(rss)/1024)
	return nil
}

func openFiles(pid int) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return len(entries)
}
