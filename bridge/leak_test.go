package bridge_test

import (
	"os"
	"path/filepath"
	"strconv"
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

// TestNothingLeaks counts what Python holds before and after. One object left
// behind per call would be more than the bound allows.
func TestNothingLeaks(t *testing.T) {
	const calls = 2000
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
			before := measure(t, meter)
			many()
			after := measure(t, meter)
			require.Less(t, after.blocks-before.blocks, calls/10, "blocks that %d calls left", calls)
		})
	}
	t.Run("loads, reloads, failed loads", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "helper.py"), []byte("VALUES = list(range(1000))\n"), 0o600))
		many := func() {
			write(t, dir, "import helper\n"+hookSetting("1"))
			p, err := python.Load(t.Context(), coprocess.Code{Name: "again", Dir: dir, Entry: "middleware.py"})
			require.NoError(t, err)
			for i := range 200 {
				write(t, dir, "import helper\n"+hookSetting(strconv.Itoa(i)))
				require.NoError(t, p.Reload(t.Context()))
			}
			write(t, dir, "import helper\nraise RuntimeError\n")
			for range 100 {
				require.Error(t, p.Reload(t.Context()))
			}
			require.NoError(t, p.Close())
		}
		many()
		before := measure(t, meter)
		many()
		after := measure(t, meter)
		require.Equal(t, before.modules, after.modules)
		require.Less(t, after.blocks-before.blocks, 300, "blocks that 300 loads left")
	})
}
