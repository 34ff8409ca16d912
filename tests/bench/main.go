package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
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
	draw   bool
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

// part is a part of what is measured. It needs programs.
type part struct {
	name    string
	measure func(context.Context, options, *results) error
	needs   []string
}

func parts() []part {
	return []part{
		{"dispatch", measureDispatch, nil},
		{"memory", measureMemory, nil},
		{"gateway", measureGateway, []string{nginxBinary, redisBinary, wrkBinary}},
		{"threads", measureThreads, nil},
		{"startup", measureStartUp, nil},
	}
}

func parse(arguments []string) (options, error) {
	var o options
	var only string
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each case is measured")
	flags.DurationVar(&o.calls, "calls", 300*time.Millisecond, "length of one case of dispatch")
	flags.DurationVar(&o.load, "load", time.Second, "length of one measurement of a case of the gateway, whole seconds")
	flags.IntVar(&o.hooks, "hooks", 1_000_000, "calls of the memory case")
	flags.StringVar(&only, "only", "", "parts to measure, comma-separated: "+strings.Join(names, ", ")+"; nothing is written then")
	flags.StringVar(&o.root, "root", ".", "the repository")
	flags.BoolVar(&o.draw, "draw", false, "write tables and plots from docs/bench/results.json; nothing is measured")
	if err := flags.Parse(arguments); err != nil {
		return o, err
	}
	const leastHooks = 1000
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("%q is not understood; see -help", flags.Arg(0))
	case o.rounds < 1:
		return o, fmt.Errorf("-rounds %d: write 1 or more", o.rounds)
	case o.load < time.Second || o.load%time.Second != 0:
		return o, fmt.Errorf("-load %s: write whole seconds", o.load)
	case o.calls <= 0:
		return o, fmt.Errorf("-calls %s: write a time", o.calls)
	case o.hooks < leastHooks:
		return o, fmt.Errorf("-hooks %d: write %d or more", o.hooks, leastHooks)
	case only == "":
		return o, nil
	}
	for name := range strings.SplitSeq(only, ",") {
		if !slices.Contains(names, name) {
			return o, fmt.Errorf("-only: there is no part %q; they are %s", name, strings.Join(names, ", "))
		}
		o.only = append(o.only, name)
	}
	return o, nil
}

// prepared says what is missing, before minutes are spent on what is there.
func prepared(o options) error {
	var missing []string
	for _, path := range []string{filepath.Join(o.root, ".venv", "bin", "python3"), filepath.Join(o.root, "bin", "krait")} {
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, path)
		}
	}
	for _, p := range parts() {
		for _, name := range p.needs {
			if _, err := exec.LookPath(name); err != nil && o.wants(p.name) {
				missing = append(missing, name)
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("missing: %s; make setup-bench build installs and builds what it needs", strings.Join(missing, ", "))
}

func run(ctx context.Context, arguments []string) error {
	o, err := parse(arguments)
	if err != nil {
		return err
	}
	if o.draw {
		return draw(o.root)
	}
	if err := prepared(o); err != nil {
		return err
	}
	began := time.Now()
	allBefore, stolenBefore := processorTimes()
	r := &results{Machine: describeMachine(ctx, o.root), Rounds: o.rounds}
	for _, p := range parts() {
		if !o.wants(p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: measuring %s\n", time.Since(began).Round(time.Second), p.name)
		if err := p.measure(ctx, o, r); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	r.Machine.LoadAfter = loadAverage()
	if all, stolen := processorTimes(); all > allBefore {
		r.Machine.Stolen = 100 * (stolen - stolenBefore) / (all - allBefore)
	}
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
