// Package bridge embeds CPython and runs plugin code in it. It is the only
// package that sees Python: libpython is opened at run time through a table of
// functions (python.h), so one binary serves every CPython from 3.9 on.
//
// [Start] starts the interpreter once in a process; [Runtime.Load] makes a
// bundle's code callable as a [coprocess.Plugin]. Calls wait in one queue, which
// the thread that has the interpreter's lock works off (schedule.h). When a hook
// gives the lock up, another thread goes on, so that hooks that wait for I/O wait
// side by side; Config.MaxInFlight bounds how many.
//
// Everything is safe for concurrent use. [Runtime.Stop] lets calls in flight
// end, and later calls fail with [coprocess.ErrNotReady].
package bridge
