package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	// Servers end with the thread that has started them (process.go): that is
	// the first one, which lives as long as the process.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 {
		if run, ok := roles()[os.Args[1]]; ok {
			exit(run(ctx, os.Args[2:]))
		}
	}
	exit(run(ctx, os.Args[1:]))
}

func exit(err error) {
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// roles are what further processes of this program do.
func roles() map[string]func(context.Context, []string) error {
	return map[string]func(context.Context, []string) error{
		"reverse-proxy": serveReverseProxy,
		"plugin-server": servePlugin,
		"slow-upstream": serveSlowly,
		"memory":        growMemory,
	}
}

// options of the command line.
type options struct {
	rounds int
	calls  time.Duration // of one case of dispatch
	load   time.Duration // of one case of the gateway
	hooks  int           // of the memory case
	only   []string
	root   string
}

func (o options) wants(part string) bool {
	return len(o.only) == 0 || slices.Contains(o.only, part)
}

// results are everything that was measured, as docs/bench/results.json holds it.
type results struct {
	Machine  machine           `json:"machine"`
	Rounds   int               `json:"rounds"`
	Dispatch map[string]series `json:"dispatch,omitempty"`
	Floor    series            `json:"floor,omitempty"`
	Gateway  map[string]series `json:"gateway,omitempty"`
	Memory   []memoryPoint     `json:"memory,omitempty"`
	Threads  *threadCount      `json:"threads,omitempty"`
	StartUp  map[string]series `json:"start_up,omitempty"`
}

func run(ctx context.Context, arguments []string) error {
	var o options
	var only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each case is measured")
	flags.DurationVar(&o.calls, "calls", 300*time.Millisecond, "length of one case of dispatch")
	flags.DurationVar(&o.load, "load", 2*time.Second, "length of one case of the gateway")
	flags.IntVar(&o.hooks, "hooks", 1_000_000, "calls of the memory case")
	flags.StringVar(&only, "only", "", "parts to measure, comma-separated: dispatch, gateway, memory, threads, startup; nothing is written then")
	flags.StringVar(&o.root, "root", ".", "the repository")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	began := time.Now()
	r := &results{Machine: describeMachine(), Rounds: o.rounds}
	for _, part := range []struct {
		name    string
		measure func(context.Context, options, *results) error
	}{
		{"dispatch", measureDispatch},
		{"memory", measureMemory},
		{"gateway", measureGateway},
		{"threads", measureThreads},
		{"startup", measureStartUp},
	} {
		if !o.wants(part.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: measuring %s\n", time.Since(began).Round(time.Second), part.name)
		if err := part.measure(ctx, o, r); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	r.Machine.LoadAfter = loadAverage()
	fmt.Println(targetTable(r))
	if len(o.only) > 0 {
		fmt.Println(tables(r))
		return nil
	}
	if err := write(o.root, r); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: docs/PERFORMANCE.md and docs/bench are written\n", time.Since(began).Round(time.Second))
	return nil
}
