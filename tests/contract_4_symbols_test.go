package tests_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The module declares the functions itself, as the documentation of rich
// plugins shows it.
const cythonModule = `
cdef extern:
    void TykStoreData(char* key, char* value, int ttl)
    char* TykGetData(char* key)
    void TykTriggerEvent(char* event_name, char* payload)
    void CoProcessLog(char* message, char* level)

def call():
    event_name = 'my event'.encode('utf-8')
    payload = 'my payload'.encode('utf-8')
    TykTriggerEvent( event_name, payload )
    CoProcessLog(b'logged by cython', b'warning')
    TykStoreData(b'from cython', b'value of cython', 60)
    return TykGetData(b'from cython')

def read(key):
    return TykGetData(key)
`

const nativeHooks = `
import ctypes
from tyk.decorators import *
from gateway import TykGateway as tyk
import native

LIBRARY = ctypes.CDLL(None)
LIBRARY.TykGetData.restype = ctypes.c_char_p

@Hook
def Native(request, session, spec):
    values = [native.call(), native.read(b'absent'), LIBRARY.TykGetData(b'from cython'), tyk.get_data('from cython')]
    LIBRARY.CoProcessLog(b'logged by ctypes', b'info')
    LIBRARY.TykTriggerEvent(b'my event', b'by ctypes')
    LIBRARY.TykStoreData(b'from ctypes', b'value of ctypes', 60)
    request.object.raw_body = b'|'.join(values + [native.read(b'from ctypes')])
    return request, session

@Event
def OnMyEvent(event, spec):
    tyk.log('event: ' + event.message['MetaData']['Message'])
`

// run runs a command of the tests' set-up to its end.
func run(t *testing.T, dir, name string, arguments ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Dir = dir
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s %s\n%s", name, strings.Join(arguments, " "), output)
	return strings.TrimSpace(string(output))
}

// compiled compiles the Cython module name and returns its file's name and
// contents.
func compiled(t *testing.T, name, source string) (file, library string) {
	t.Helper()
	work := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(work, name+".pyx"), []byte(source), 0o600))
	python := filepath.Join(venv(t), "bin", "python3")
	run(t, work, python, "-m", "cython", "-3", name+".pyx")
	include := run(t, work, python, "-c", "import sysconfig; print(sysconfig.get_path('include'))")
	file = name + run(t, work, python, "-c", "import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))")
	run(t, work, "cc", "-shared", "-fPIC", "-I"+include, "-o", file, name+".c")
	data, err := os.ReadFile(filepath.Join(work, file))
	require.NoError(t, err)
	return file, string(data)
}

// TestContract4CSymbols is section 4 of the plugin contract: the functions of
// api.h are reached in all three ways, through tyk.gateway, ctypes, and a compiled
// Cython module inside of the bundle.
func TestContract4CSymbols(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	file, library := compiled(t, "native", cythonModule)
	s.bundle("native.zip", object{"pre": hooks("Native")}, map[string]string{
		"middleware.py": nativeHooks, "vendor/" + file: library,
	})
	changes := pluginEvent("my event", "OnMyEvent")
	changes["custom_middleware_bundle"] = "native.zip"
	s.api("native", echo(t), changes)
	g := s.start()
	for range 5 {
		body := string(g.get("/native/").echoed(t).Body)
		require.Equal(t, "value of cython||value of cython|value of cython|value of ctypes", body)
	}
	g.awaitLog("logged by cython")
	g.awaitLog("logged by ctypes")
	g.awaitLog("event: my payload")
	g.awaitLog("event: by ctypes")
}
