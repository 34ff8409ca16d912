package tests_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// meterHooks reports what Python holds after a collection.
const meterHooks = `
import gc, sys, threading
from tyk.decorators import *

@Hook
def Measure(request, session, spec):
    gc.collect()
    request.add_header('X-Blocks', str(sys.getallocatedblocks()))
    request.add_header('X-Modules', str(len(sys.modules)))
    return request, session
`

// changingHooks is a plugin with some weight: a module beside it, globals, a
// class, a cache, a decorated function. Every second version raises at import.
const changingHooks = `
import functools, helper
from tyk.decorators import *

class Thing:
    def __init__(self): self.me = self

THINGS = [Thing() for _ in range(100)]
TABLE = {n: 'version VERSION' for n in range(1000)}

@functools.lru_cache(maxsize=None)
def cached(n): return [helper.VALUES, n]

FAIL

@Hook
def Changing(request, session, spec):
    cached(len(TABLE))
    request.add_header('X-Version', 'VERSION')
    return request, session
`

// usage is what a gateway holds.
type usage struct {
	blocks, modules, files, threads, versions, temporary int
	resident                                             int // bytes
}

// TestContract5ReloadLeaksNothing states what a reload may leave behind: less than
// half a block of Python's memory and 16 kB of the process.
func TestContract5ReloadLeaksNothing(t *testing.T) {
	const reloads = 1000
	s := newSite(t)
	upstream := echo(t)
	s.conf["bundle_base_url"] = "file://" + filepath.Join(s.dir, "plugins")
	s.conf["log_level"] = "error" // else the test would measure its own log
	plugin := func(name, hook, code string) {
		s.writeJSON("plugins/"+name+"/manifest.json", object{
			"file_list": []string{"middleware.py", "helper.py"}, "custom_middleware": object{"driver": "python", "pre": hooks(hook)},
		})
		s.write("plugins/"+name+"/helper.py", "VALUES = list(range(1000))\n")
		s.write("plugins/"+name+"/middleware.py", code)
	}
	plugin("meter", "Measure", meterHooks)
	version := func(n int) {
		fail := ""
		if n%10 == 9 {
			fail = "raise RuntimeError('VERSION')"
		}
		plugin("changing", "Changing", strings.ReplaceAll(strings.ReplaceAll(changingHooks, "FAIL", fail), "VERSION", strconv.Itoa(n)))
	}
	version(0)
	s.api("meter", upstream, object{"custom_middleware_bundle": "meter"})
	s.api("changing", upstream, object{"custom_middleware_bundle": "changing"})
	temporary := t.TempDir()
	g := s.start("TMPDIR=" + temporary)

	measure := func() usage {
		got := g.get("/meter/").echoed(t).Header
		u := usage{blocks: number(t, got.Get("X-Blocks")), modules: number(t, got.Get("X-Modules"))}
		process := filepath.Join("/proc", strconv.Itoa(g.command.Process.Pid))
		u.files, u.threads = entries(t, filepath.Join(process, "fd")), entries(t, filepath.Join(process, "task"))
		u.versions = entries(t, filepath.Join(s.dir, "middleware", "bundles", ".krait"))
		u.temporary = entries(t, temporary)
		statm, err := os.ReadFile(filepath.Join(process, "statm"))
		require.NoError(t, err)
		u.resident = number(t, strings.Fields(string(statm))[1]) * os.Getpagesize()
		return u
	}
	many := func(from, to int) {
		for n := from; n < to; n++ {
			version(n)
			g.reload()
			want := n
			if n%10 == 9 {
				want = n - 1
			}
			require.Equal(t, strconv.Itoa(want), g.get("/changing/").echoed(t).Header.Get("X-Version"))
		}
	}
	many(1, 200) // caches fill, threads come to be
	before := measure()
	many(200, 200+reloads)
	after := measure()
	t.Logf("before %+v, after %+v", before, after)
	require.LessOrEqual(t, after.modules, before.modules)
	require.Less(t, after.blocks-before.blocks, reloads/2, "half a block of Python's memory for each reload")
	require.Less(t, after.resident-before.resident, 16<<20, "bytes of memory")
	require.LessOrEqual(t, after.files, before.files+8)
	require.LessOrEqual(t, after.threads, before.threads+8)
	require.LessOrEqual(t, after.versions, before.versions+2)
	require.LessOrEqual(t, after.temporary, before.temporary)
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	all, err := os.ReadDir(dir)
	require.NoError(t, err)
	return len(all)
}
