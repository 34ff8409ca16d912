package bridge_test

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
)

// measureHook reports how many blocks of memory Python has allocated after a
// collection.
const measureHook = `
import gc, sys
from tyk.decorators import *

@Hook
def Measure(request, session, spec):
    gc.collect()
    request.add_header('X-Blocks', str(sys.getallocatedblocks()))
    request.add_header('X-Modules', str(len(sys.modules)))
    return request, session
`

type memory struct{ blocks, modules int }

func measure(t *testing.T, p coprocess.Plugin) memory {
	t.Helper()
	got, err := p.Dispatch(t.Context(), object("Measure"))
	require.NoError(t, err)
	var m memory
	m.blocks, err = strconv.Atoi(got.Request.SetHeaders["X-Blocks"])
	require.NoError(t, err)
	m.modules, err = strconv.Atoi(got.Request.SetHeaders["X-Modules"])
	require.NoError(t, err)
	return m
}

// growth is how many blocks of memory run leaves. Where those are most or more, it
// counts anew, twice at most: what each call leaves is left each time, what Python
// makes once is not.
func growth(t *testing.T, meter coprocess.Plugin, most int, run func()) int {
	t.Helper()
	before := measure(t, meter)
	for again := 2; ; again-- {
		run()
		after := measure(t, meter)
		if left := after.blocks - before.blocks; left < most || again == 0 {
			return left
		}
		before = after
	}
}

// residentBytes is this process's resident memory, Go's, C's and Python's.
func residentBytes(t *testing.T) int {
	t.Helper()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	require.NoError(t, err)
	return pages * os.Getpagesize()
}

// TestMemoryOfTheProcess watches what the count of Python's blocks does not
// see: what C allocates for results, and bodies of requests that fail.
func TestMemoryOfTheProcess(t *testing.T) {
	const most = 64 << 20
	large := strings.Repeat("v", 100_000)
	dir := t.TempDir()
	write(t, dir, `
import ctypes
from tyk.decorators import *
LIBRARY = ctypes.CDLL(None)
LIBRARY.TykGetData.restype = ctypes.c_char_p

@Hook
def GetMuch(request, session, spec):
    for _ in range(1000):
        assert len(LIBRARY.TykGetData(b'large')) == 100000
    return request, session

@Hook
def Raise(request, session, spec):
    raise ValueError('no')
`)
	p, err := python.Load(t.Context(), coprocess.Code{Name: "much", Dir: dir, Entry: "middleware.py"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	require.NoError(t, host.StoreData(t.Context(), "large", []byte(large), 0))

	t.Run("TykGetData whose result nobody frees", func(t *testing.T) {
		before := residentBytes(t)
		for range 10 { // 1 GB if each result stayed
			_, err := p.Dispatch(t.Context(), object("GetMuch"))
			require.NoError(t, err)
		}
		require.Less(t, residentBytes(t)-before, most)
	})
	t.Run("a hook that raises on a large body", func(t *testing.T) {
		obj := object("Raise")
		obj.Request.RawBody = []byte(large)
		before := residentBytes(t)
		for range 2000 { // 200 MB if each body stayed
			_, err := p.Dispatch(t.Context(), obj)
			require.ErrorIs(t, err, coprocess.ErrHook)
		}
		require.Less(t, residentBytes(t)-before, most)
	})
}

// TestNothingLeaks counts what Python holds before and after. One object left
// behind per call would be more than the bound allows.
func TestNothingLeaks(t *testing.T) {
	calls := 2000
	if testing.Short() { // with the further CPythons
		calls = 800
	}
	dir := t.TempDir()
	write(t, dir, measureHook)
	meter, err := python.Load(t.Context(), coprocess.Code{Name: "meter", Dir: dir, Entry: "middleware.py"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, meter.Close()) })
	p := load(t)
	for _, hook := range []string{"AddHeader", "Authenticate", "Raise", "Exit", "ReturnNumber", "Store", "Log", "Absent"} {
		t.Run(hook, func(t *testing.T) {
			many := func() {
				var group sync.WaitGroup
				for range 8 {
					group.Go(func() {
						for range calls / 8 {
							_, _ = p.Dispatch(t.Context(), object(hook)) // some of them raise
						}
					})
				}
				group.Wait()
			}
			many() // caches fill, threads come to be
			require.Less(t, growth(t, meter, calls/10, many), calls/10, "blocks that %d calls left", calls)
		})
	}
	t.Run("loads and failed loads", func(t *testing.T) {
		const loads, failed = 200, 100
		load := func(source string) (coprocess.Plugin, error) {
			dir := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(dir, "helper.py"), []byte("VALUES = list(range(1000))\n"), 0o600))
			write(t, dir, "import helper\n"+source)
			return python.Load(t.Context(), coprocess.Code{Name: "again", Dir: dir, Entry: "middleware.py"})
		}
		many := func() {
			var old coprocess.Plugin
			for i := range loads { // each beside the one before, as a reload does
				p, err := load(hookSetting(strconv.Itoa(i)))
				require.NoError(t, err)
				_, err = p.Dispatch(t.Context(), object("H"))
				require.NoError(t, err)
				if old != nil {
					require.NoError(t, old.Close())
				}
				old = p
			}
			for range failed {
				_, err := load("raise RuntimeError\n")
				require.Error(t, err)
			}
			require.NoError(t, old.Close())
		}
		many()
		modules := measure(t, meter).modules
		require.Less(t, growth(t, meter, loads+failed, many), loads+failed, "blocks that %d loads left", loads+failed)
		require.Equal(t, modules, measure(t, meter).modules)
	})
}
