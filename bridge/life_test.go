package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	time.AfterFunc(200*time.Millisecond, func() { cancel(); close(running) })
	if _, err := p.Dispatch(ctx, sleeper("Sleep", time.Hour)); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w", errWrong, err)
	}
	<-running
	if err := stop(r, 300*time.Millisecond); !errors.Is(err, bridge.ErrDrain) {
		return fmt.Errorf("%w: stop: %w", errWrong, err)
	}
	return nil
}

func stopWithHungThread() error {
	r, p, err := start()
	if err != nil {
		return err
	}
	_ = p
	dir, err := os.MkdirTemp("", "krait-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	source := "import threading, time\nthreading.Thread(target=lambda: time.sleep(3600), daemon=False).start()\n"
	if err := os.WriteFile(filepath.Join(dir, "middleware.py"), []byte(source), 0o600); err != nil {
		return err
	}
	if _, err := r.Load(context.Background(), coprocess.Code{Name: "thread", Dir: dir, Entry: "middleware.py"}); err != nil {
		return err
	}
	if err := stop(r, time.Second); !errors.Is(err, bridge.ErrDrain) {
		return fmt.Errorf("%w: stop: %w", errWrong, err)
	}
	return nil
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
