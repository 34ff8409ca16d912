package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// measureStartUp measures how long a gateway takes from its start to its first
// answer, and for a reload, with so many APIs that share one bundle.
func measureStartUp(ctx context.Context, o options, r *results) error {
	dir, err := os.MkdirTemp("", "krait-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	r.StartUp = map[string]series{}
	for range min(o.rounds, 3) { // seconds each
		for _, count := range apiCounts() {
			name := fmt.Sprint(count, " APIs")
			if r.StartUp[name] == nil {
				r.StartUp[name] = series{}
			}
			if err := startOnce(ctx, o, filepath.Join(dir, fmt.Sprint(count)), count, r.StartUp[name]); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

func apiCounts() []int { return []int{1, 100, 1000} }

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
	began = time.Now()
	if err := s.reload(ctx); err != nil {
		return err
	}
	to.add("reload ms", microseconds(time.Since(began))/1e3)
	rss, err := status(command.Process.Pid, "VmRSS")
	if err != nil {
		return err
	}
	to.add("RSS MB", float64(rss)/1024)
	return nil
}

// threadCount is how many threads a gateway has with so many requests at once.
type threadCount struct {
	Requests int `json:"requests"`
	Threads  int `json:"threads"`
	RSS      int `json:"rss_kb"`
}

const (
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
	const most, spare, each = 10_000, 1000, 2 // to the client and to the upstream
	count := min(most, (int(limit.Max)-spare)/each)
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
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	var failure atomic.Pointer[error]
	for range count {
		group.Go(func() {
			if err := once(ctx, client, s.url("slow/"), ""); err != nil && ctx.Err() == nil {
				failure.Store(&err)
			}
		})
		<-time.After(betweenRequests) // all at once they would not fit into the queues of the sockets
	}
	// All are there when the upstream has a connection for each.
	upstream := servers.started[0].Process.Pid
	if err := await(ctx, func() bool { return openFiles(upstream) >= count || failure.Load() != nil }); err != nil {
		return fmt.Errorf("not all %d requests got to the upstream: %w", count, err)
	}
	if failure.Load() != nil {
		return *failure.Load()
	}
	r.Threads = &threadCount{Requests: count}
	if r.Threads.Threads, err = status(command.Process.Pid, "Threads"); err != nil {
		return err
	}
	r.Threads.RSS, err = status(command.Process.Pid, "VmRSS")
	return err
}

func openFiles(pid int) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return len(entries)
}
