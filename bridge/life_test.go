package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/bridge"
)

// lifeCaseVariable makes the test binary run one case of a start and a stop:
// each needs a process of its own.
const lifeCaseVariable = "KRAIT_BRIDGE_LIFE_CASE"

var errWrong = errors.New("wrong")

var lifeCases = map[string]func() error{
	"start, stop, and a second start is refused":  secondStart,
	"calls race a stop":                           callsRaceStop,
	"a stop with a hook that does not end":        stopWithHungHook,
	"a stop with a plugin thread that never ends": stopWithHungThread,
	"an interpreter without protobuf":             startWithoutProtobuf,
	"an exit handler that does not end":           stopWithHungExitHandler,
	"a host call that returns after a stop":       hostCallOutlivesStop,
	"a daemon thread in a host call at the end":   daemonThreadInHostCall,
	"a forked child does not become a gateway":    forkedChild,
	"a sub-interpreter beside host calls":         subInterpreter,
	"a thread on standby at the end":              standbyAtTheEnd,
	"calls behind a hook that had to wait":        callsBehindALateHook,
	"a stop with calls in the queue":              stopWithQueue,
}

func TestLife(t *testing.T) {
	for name := range lifeCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
			defer cancel()
			command := exec.CommandContext(ctx, os.Args[0], "-test.run=^$")
			temp := t.TempDir()
			command.Env = append(os.Environ(), lifeCaseVariable+"="+name, "TMPDIR="+temp)
			output, err := command.CombinedOutput()
			require.NoError(t, err, "%s", output)
			left, err := filepath.Glob(filepath.Join(temp, "*"))
			require.NoError(t, err)
			require.Empty(t, left, "nothing stays behind")
		})
	}
}

func runLifeCase(name string) int {
	if err := lifeCases[name](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func start() (*bridge.Runtime, coprocess.Plugin, error) {
	r, err := bridge.Start(context.Background(), testConfig(newRecorder()))
	if err != nil {
		return nil, nil, err
	}
	p, err := r.Load(context.Background(), coprocess.Code{Name: "hooks", Dir: "testdata/hooks", Entry: "middleware.py"})
	return r, p, err
}

func stop(r *bridge.Runtime, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return r.Stop(ctx)
}

func secondStart() error {
	r, p, err := start()
	if err != nil {
		return err
	}
	if _, err := p.Dispatch(context.Background(), object("AddHeader")); err != nil {
		return err
	}
	if _, _, err := start(); !errors.Is(err, bridge.ErrAlreadyStarted) {
		return fmt.Errorf("%w: second start: %w", errWrong, err)
	}
	if err := stop(r, 20*time.Second); err != nil {
		return err
	}
	if r.State() != bridge.StateStopped {
		return fmt.Errorf("%w: state %s", errWrong, r.State())
	}
	if _, err := p.Dispatch(context.Background(), object("AddHeader")); !errors.Is(err, coprocess.ErrNotReady) {
		return fmt.Errorf("%w: dispatch after stop: %w", errWrong, err)
	}
	if err := p.Close(); err != nil {
		return fmt.Errorf("close after stop: %w", err)
	}
	if _, _, err := start(); !errors.Is(err, bridge.ErrAlreadyStarted) {
		return fmt.Errorf("%w: start after stop: %w", errWrong, err)
	}
	return nil
}

func callsRaceStop() error {
	r, p, err := start()
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	failures := make(chan error, 64)
	for range 32 {
		group.Go(func() {
			for {
				_, err := p.Dispatch(context.Background(), object("AddHeader"))
				if errors.Is(err, coprocess.ErrNotReady) {
					return
				}
				if err != nil {
					failures <- err
					return
				}
			}
		})
	}
	if err := stop(r, 30*time.Second); err != nil {
		return err
	}
	group.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func stopWithHungHook() error {
	r, p, err := start()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	running := make(chan struct{})
	go func() {
		defer close(running)
		for r.InFlight() == 0 {
			runtime.Gosched()
		}
		cancel()
	}()
	if _, err := p.Dispatch(ctx, sleeper("Sleep", time.Hour)); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	<-running
	if err := stop(r, 300*time.Millisecond); !errors.Is(err, bridge.ErrDrain) {
		return fmt.Errorf("%w: stop: %w", errWrong, err)
	}
	return nil
}

// loadSource loads source as a plugin of its own.
func loadSource(r *bridge.Runtime, source string) (coprocess.Plugin, error) {
	dir, err := os.MkdirTemp("", "plugin-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "middleware.py"), []byte(source), 0o600); err != nil {
		return nil, err
	}
	return r.Load(context.Background(), coprocess.Code{Name: "source", Dir: dir, Entry: "middleware.py"})
}

// startWith starts the runtime with source loaded.
func startWith(h coprocess.Host, source string) (*bridge.Runtime, coprocess.Plugin, error) {
	r, err := bridge.Start(context.Background(), testConfig(h))
	if err != nil {
		return nil, nil, err
	}
	p, err := loadSource(r, source)
	return r, p, err
}

func wantDrainError(r *bridge.Runtime, limit time.Duration) error {
	began := time.Now()
	if err := stop(r, limit); !errors.Is(err, bridge.ErrDrain) {
		return fmt.Errorf("%w: stop: %w", errWrong, err)
	}
	if took := time.Since(began); took > limit+5*time.Second {
		return fmt.Errorf("%w: stop took %s", errWrong, took)
	}
	return nil
}

func stopWithHungThread() error {
	r, _, err := startWith(newRecorder(), "import threading, time\nthreading.Thread(target=lambda: time.sleep(3600), daemon=False).start()\n")
	if err != nil {
		return err
	}
	return wantDrainError(r, time.Second)
}

func stopWithHungExitHandler() error {
	r, _, err := startWith(newRecorder(), "import atexit, time\natexit.register(lambda: time.sleep(3600))\n")
	if err != nil {
		return err
	}
	return wantDrainError(r, time.Second)
}

// blockingHost lets get_data wait until release is closed.
type blockingHost struct {
	*recorder
	entered, release chan struct{}
}

func newBlockingHost() *blockingHost {
	return &blockingHost{newRecorder(), make(chan struct{}, 1), make(chan struct{})}
}

func (h *blockingHost) GetData(ctx context.Context, key string) ([]byte, error) {
	h.entered <- struct{}{}
	<-h.release
	return h.recorder.GetData(ctx, key)
}

// lockedCall calls TykGetData with the interpreter's lock held, as a Cython
// module does.
const lockedCall = `
import ctypes, threading
from tyk.decorators import *
LIBRARY = ctypes.PyDLL(None)
LIBRARY.TykGetData.restype = ctypes.c_char_p

@Hook
def Get(request, session, spec):
    LIBRARY.TykGetData(b"key")
    return request, session

@Hook
def GetInThread(request, session, spec):
    threading.Thread(target=LIBRARY.TykGetData, args=(b"key",), daemon=True).start()
    return request, session
`

func hostCallOutlivesStop() error {
	h := newBlockingHost()
	r, p, err := startWith(h, lockedCall)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.Dispatch(context.Background(), object("Get"))
		done <- err
	}()
	<-h.entered
	if err := wantDrainError(r, 200*time.Millisecond); err != nil {
		return err
	}
	close(h.release)
	return <-done
}

func daemonThreadInHostCall() error {
	h := newBlockingHost()
	r, p, err := startWith(h, lockedCall)
	if err != nil {
		return err
	}
	if _, err := p.Dispatch(context.Background(), object("GetInThread")); err != nil {
		return err
	}
	<-h.entered
	if err := stop(r, 10*time.Second); err != nil {
		return err
	}
	close(h.release) // it returns into an interpreter that is gone
	time.Sleep(200 * time.Millisecond)
	return nil
}

func forkedChild() error {
	h := newRecorder()
	r, p, err := startWith(h, `
import os
from tyk.decorators import *

def fork(request):
    child = os.fork()
    if child:
        request.add_header("X-Status", str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))

@Hook
def Fork(request, session, spec):
    fork(request)
    return request, session

@Hook
def ForkThenAwait(request, session, spec):
    fork(request)
    async def rest():
        return request, session
    return rest()
`)
	if err != nil {
		return err
	}
	for _, hook := range []string{"Fork", "ForkThenAwait"} {
		got, err := p.Dispatch(context.Background(), object(hook))
		if err != nil {
			return err
		}
		if status := got.Request.SetHeaders["X-Status"]; status != "70" {
			return fmt.Errorf("%w: the child of %s ended with %q", errWrong, hook, status)
		}
	}
	return stop(r, 10*time.Second)
}

func subInterpreter() error {
	h := newRecorder()
	r, p, err := startWith(h, `
import ctypes
from tyk.decorators import *
try:
    import _interpreters
except ImportError:
    try:
        import _xxsubinterpreters as _interpreters
    except ImportError:
        import _xxinterpreters as _interpreters

@Hook
def H(request, session, spec):
    _interpreters.destroy(_interpreters.create())
    library = ctypes.CDLL(None)
    library.TykStoreData(b"key", b"value", 0)
    return request, session
`)
	if err != nil {
		return err
	}
	if _, err := p.Dispatch(context.Background(), object("H")); err != nil {
		return err
	}
	if value, _ := h.GetData(context.Background(), "key"); string(value) != "value" {
		return fmt.Errorf("%w: stored %q", errWrong, value)
	}
	return stop(r, 10*time.Second)
}

// standbyAtTheEnd stops while a thread waits for the interpreter's lock on behalf
// of a call that has been given up. Plugin threads that compete for the lock make
// that wait long.
func standbyAtTheEnd() error {
	r, p, err := startWith(newRecorder(), `
import threading
from tyk.decorators import *

def spin():
    while True:
        pass

for _ in range(8):
    threading.Thread(target=spin, daemon=True).start()

@Hook
def H(request, session, spec):
    return request, session
`)
	if err != nil {
		return err
	}
	for err == nil { // now and then a call gets the lock at once
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		_, err = p.Dispatch(ctx, object("H"))
		cancel()
	}
	if err := stop(r, 20*time.Second); err != nil {
		return err
	}
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	if bytes.Contains(stacks, []byte("krait_serve")) {
		return fmt.Errorf("%w: a goroutine is left in an interpreter that has ended:\n%s", errWrong, stacks)
	}
	return nil
}

// waitFor is the source of a hook Wait that ends when there is the file gate, and
// of a hook H.
func waitFor(gate string) string {
	return `
import os, time
from tyk.decorators import *

@Hook
def Wait(request, session, spec):
    while not os.path.exists("` + gate + `"):
        time.sleep(0.01)
    return request, session

@Hook
def H(request, session, spec):
    return request, session
`
}

// stopWithQueue stops while hooks have all places and other calls wait for one.
// These end at once, the hooks when they are done.
func stopWithQueue() error {
	dir, err := os.MkdirTemp("", "files-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	gate := filepath.Join(dir, "gate")
	r, p, err := startWith(newRecorder(), waitFor(gate))
	if err != nil {
		return err
	}
	var running, waiting errgroup.Group
	for range maxInFlight {
		running.Go(func() error {
			_, err := p.Dispatch(context.Background(), object("Wait"))
			return err
		})
	}
	for r.InFlight() < maxInFlight {
		runtime.Gosched()
	}
	for range maxInFlight {
		waiting.Go(func() error {
			if _, err := p.Dispatch(context.Background(), object("H")); !errors.Is(err, coprocess.ErrNotReady) {
				return fmt.Errorf("%w: a call that waited: %w", errWrong, err)
			}
			return nil
		})
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop(r, 20*time.Second) }()
	err = waiting.Wait()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		return err
	}
	return errors.Join(err, running.Wait(), <-stopped)
}

// callsBehindALateHook keeps calls from running for so long that nobody would
// look after them any more, and then has one of them block.
func callsBehindALateHook() error {
	dir, err := os.MkdirTemp("", "files-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	held, gate := filepath.Join(dir, "held"), filepath.Join(dir, "gate")
	r, p, err := startWith(newRecorder(), waitFor(gate))
	if err != nil {
		return err
	}
	loaded := make(chan error, 1)
	go func() {
		_, err := loadSource(r, `
import ctypes
hold = ctypes.PyDLL(None).usleep  # keeps the interpreter's lock
open("`+held+`", "w").close()
hold(500000)
`)
		loaded <- err
	}()
	for !exists(held) {
		runtime.Gosched()
	}
	waited := make(chan error, 1)
	go func() {
		_, err := p.Dispatch(context.Background(), object("Wait"))
		waited <- err
	}()
	var group errgroup.Group
	for range 8 {
		group.Go(func() error {
			_, err := p.Dispatch(context.Background(), object("H"))
			return err
		})
	}
	err = group.Wait() // none of them waits for the gate
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		return err
	}
	return errors.Join(err, <-waited, <-loaded, stop(r, 20*time.Second))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func startWithoutProtobuf() error {
	dir, err := os.MkdirTemp("", "krait-venv-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := testConfig(newRecorder())
	found, err := bridge.Find(context.Background(), cfg.Python)
	if err != nil {
		return err
	}
	if output, err := exec.Command(found.Interpreter, "-m", "venv", "--without-pip", dir).CombinedOutput(); err != nil { //nolint:noctx // bounded by the case's time limit
		return fmt.Errorf("make an environment without protobuf: %w: %s", err, output)
	}
	cfg.Python = bridge.Search{Venv: dir}
	_, err = bridge.Start(context.Background(), cfg)
	if !errors.Is(err, bridge.ErrNoPython) {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	return nil
}
