package bridge_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/bridge"
)

// write makes a bundle directory of one middleware.py.
func write(t *testing.T, dir, source string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "middleware.py"), []byte(source), 0o600))
}

func hookSetting(value string) string {
	return "from tyk.decorators import *\n@Hook\ndef H(request, session, spec):\n    request.add_header('X-Value', '" + value + "')\n    return request, session\n"
}

func TestLoadFaults(t *testing.T) {
	for name, c := range map[string]struct {
		source string
		hooks  []string
		kind   error
		want   string
	}{
		"a syntax error names file and line": {"def broken(:\n", nil, coprocess.ErrHook, "SyntaxError"},
		"an import that fails":               {"import no_such_module\n", nil, coprocess.ErrHook, "no_such_module"},
		"an exception at import":             {"raise RuntimeError('at import')\n", nil, coprocess.ErrHook, "at import"},
		"sys.exit at import":                 {"import sys\nsys.exit(1)\n", nil, coprocess.ErrHook, "SystemExit"},
		"a hook that is not defined":         {hookSetting("1"), []string{"Missing"}, coprocess.ErrHookNotFound, "Missing"},
		"an empty file that should define":   {"", []string{"Missing"}, coprocess.ErrHookNotFound, "Missing"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, c.source)
			_, err := python.Load(t.Context(), coprocess.Code{Name: "faulty.zip", Dir: dir, Entry: "middleware.py", Hooks: c.hooks})
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, `"faulty.zip"`)
		})
	}
	t.Run("a file that is missing", func(t *testing.T) {
		_, err := python.Load(t.Context(), coprocess.Code{Name: "x", Dir: t.TempDir(), Entry: "middleware.py"})
		require.Error(t, err)
	})
	t.Run("no entry file", func(t *testing.T) {
		_, err := python.Load(t.Context(), coprocess.Code{Name: "x", Dir: t.TempDir()})
		require.ErrorContains(t, err, "middleware.py")
	})
}

func TestNewCodeBesideTheOld(t *testing.T) {
	load := func(source string) (coprocess.Plugin, error) {
		dir := t.TempDir()
		write(t, dir, source)
		return python.Load(t.Context(), coprocess.Code{Name: "r.zip", Dir: dir, Entry: "middleware.py", Hooks: []string{"H"}})
	}
	value := func(p coprocess.Plugin) string {
		got, err := p.Dispatch(t.Context(), object("H"))
		require.NoError(t, err)
		return got.Request.SetHeaders["X-Value"]
	}
	one, err := load(hookSetting("1"))
	require.NoError(t, err)
	two, err := load(hookSetting("2"))
	require.NoError(t, err)
	_, err = load("def broken(:")
	require.Error(t, err)
	require.Equal(t, "1", value(one))
	require.Equal(t, "2", value(two))
	require.NoError(t, one.Close())
	require.NoError(t, one.Close(), "closing again does nothing")
	_, err = one.Dispatch(t.Context(), object("H"))
	require.ErrorIs(t, err, coprocess.ErrNotReady)
	require.Equal(t, "2", value(two))
	require.NoError(t, two.Close())
}

func TestALoadThatNobodyWaitsForLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "import time\ntime.sleep(0.3)\n"+measureHook)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := python.Load(ctx, coprocess.Code{Name: "abandoned", Dir: dir, Entry: "middleware.py"})
	require.ErrorIs(t, err, coprocess.ErrTimeout)

	p, err := python.Load(t.Context(), coprocess.Code{Name: "meter", Dir: dir, Entry: "middleware.py"})
	require.NoError(t, err)
	before := measure(t, p)
	require.NoError(t, p.Close())
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := python.Load(ctx, coprocess.Code{Name: "abandoned", Dir: dir, Entry: "middleware.py"})
		cancel()
		require.ErrorIs(t, err, coprocess.ErrTimeout)
	}
	p, err = python.Load(t.Context(), coprocess.Code{Name: "meter", Dir: dir, Entry: "middleware.py"})
	require.NoError(t, err)
	defer p.Close()
	require.Eventually(t, func() bool { return measure(t, p).modules == before.modules }, 10*time.Second, 10*time.Millisecond)
}

// TestImportsThatHangLeavePlacesForCalls has more imports hang than the gateway
// has places.
func TestImportsThatHangLeavePlacesForCalls(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, hookSetting("1"))
	p, err := python.Load(t.Context(), coprocess.Code{Name: "good.zip", Dir: dir, Entry: "middleware.py"})
	require.NoError(t, err)
	defer p.Close()
	hangs := t.TempDir()
	gate := filepath.Join(hangs, "gate")
	write(t, hangs, "import os, time\nwhile not os.path.exists('"+gate+"'):\n    time.sleep(0.01)\n")
	gone, cancel := context.WithCancel(t.Context())
	var loads sync.WaitGroup
	for range maxInFlight + 10 {
		loads.Go(func() {
			_, err := python.Load(gone, coprocess.Code{Name: "hangs.zip", Dir: hangs, Entry: "middleware.py"})
			assert.Error(t, err)
		})
	}
	require.Eventually(t, func() bool { return python.InFlight() >= maxInFlight/2 }, 20*time.Second, time.Millisecond)
	cancel()
	loads.Wait()
	require.Equal(t, maxInFlight/2, python.InFlight(), "abandoned imports keep their places, but only so many")
	for range 10 {
		_, err := p.Dispatch(t.Context(), object("H"))
		require.NoError(t, err)
	}
	soon, cancelSoon := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancelSoon()
	_, err = python.Load(soon, coprocess.Code{Name: "good.zip", Dir: dir, Entry: "middleware.py"})
	require.ErrorIs(t, err, coprocess.ErrBusy)
	require.NoError(t, os.WriteFile(gate, nil, 0o600))
	require.Eventually(t, func() bool { return python.InFlight() == 0 }, 20*time.Second, 10*time.Millisecond)
}

func TestCallsRaceLoadsAndClose(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, hookSetting("1"))
	p, err := python.Load(t.Context(), coprocess.Code{Name: "race.zip", Dir: dir, Entry: "middleware.py"})
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for {
				_, err := p.Dispatch(t.Context(), object("H"))
				if err != nil {
					// Close came in between: not ready before the call, or
					// no such code inside of it.
					assert.ErrorIs(t, err, coprocess.ErrNotReady)
					return
				}
			}
		})
	}
	for range 50 {
		other, err := python.Load(t.Context(), coprocess.Code{Name: "race.zip", Dir: dir, Entry: "middleware.py"})
		require.NoError(t, err)
		require.NoError(t, other.Close())
	}
	require.NoError(t, p.Close())
	group.Wait()
}

func TestTwoBundlesDoNotSeeEachOther(t *testing.T) {
	var plugins []coprocess.Plugin
	for _, value := range []string{"one", "two"} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "helper.py"), []byte("VALUE = '"+value+"'\n"), 0o600))
		write(t, dir, "from tyk.decorators import *\n@Hook\ndef H(request, session, spec):\n    import helper\n    request.add_header('X-Value', helper.VALUE)\n    return request, session\n")
		p, err := python.Load(t.Context(), coprocess.Code{Name: "same.zip", Dir: dir, Entry: "middleware.py"})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close()) })
		plugins = append(plugins, p)
	}
	for i, want := range []string{"one", "two"} {
		got, err := plugins[i].Dispatch(t.Context(), object("H"))
		require.NoError(t, err)
		require.Equal(t, want, got.Request.SetHeaders["X-Value"])
	}
}

func TestVersions(t *testing.T) {
	v := python.Versions()
	require.NotEmpty(t, v.Python)
	require.NotEmpty(t, v.Protobuf)
	require.Contains(t, []string{"upb", "cpp", "python"}, v.Backend)
	require.NotEmpty(t, v.Path)
	require.FileExists(t, v.Library)
	require.Equal(t, bridge.StateReady, python.State())
}
