package tests_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestQueueIsBounded has one place for hooks and room for two calls that wait.
// What comes beyond that is told at once to come again; nobody else notices.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	for name, hold := range map[string]string{
		"threads":    "@Hook\ndef Hold(request, session, spec):\n    wait()\n    return request, session\n",
		"coroutines": "@Hook\nasync def Hold(request, session, spec):\n    await asyncio.to_thread(wait)\n    return request, session\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const admitted, more = 1 + 2, 7
			s := newSite(t)
			options := s.conf["coprocess_options"].(object)
			options["max_in_flight"], options["max_waiting"], options["hook_timeout"] = 1, 2, "60s"
			// Whoever opens a pipe to read from it waits until somebody writes to it.
			pipe := filepath.Join(s.dir, "pipe")
			require.NoError(t, syscall.Mkfifo(pipe, 0o600))
			plugin := fmt.Sprintf("import asyncio\nfrom tyk.decorators import *\n\n\ndef wait():\n    open(%q).close()\n\n\n", pipe)
			s.bundle("hold.zip", object{"pre": hooks("Hold")}, map[string]string{"middleware.py": plugin + hold})
			s.api("held", echo(t), object{"custom_middleware_bundle": "hold.zip"})
			g := s.start()

			answers, failures := make(chan reply, admitted+more), make(chan error, admitted+more)
			for range admitted + more {
				go func() {
					r, err := g.try(http.MethodGet, "/held/", nil)
					failures <- err
					answers <- r
				}()
			}
			for range more {
				require.NoError(t, <-failures)
				r := <-answers
				require.Equal(t, http.StatusServiceUnavailable, r.status, r.body)
				require.Equal(t, "1", r.header.Get("Retry-After"))
				require.Contains(t, r.body, "Service is busy")
			}
			g.awaitLog("max_waiting")
			release, err := os.OpenFile(pipe, os.O_WRONLY, 0)
			require.NoError(t, err)
			defer release.Close()
			for range admitted {
				require.NoError(t, <-failures)
				require.Equal(t, http.StatusOK, (<-answers).status, "it waited and was served")
			}
			require.Equal(t, http.StatusOK, g.get("/held/").status, "there is room again")
		})
	}
}
