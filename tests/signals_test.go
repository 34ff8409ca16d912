package tests_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/internal/output"
)

// requireKilledBy requires that a program ended because of the signal.
func requireKilledBy(t *testing.T, err error, signal syscall.Signal) {
	t.Helper()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	status, ok := exit.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, signal, status.Signal(), "%v", err)
}

func TestStartedBundleBuildEndsOnASignal(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			prompt := &output.Buffer{}
			command := exec.Command(binary(t), "bundle", "build") //nolint:noctx // killed below
			command.Dir = pluginDirectory(t)
			command.Stderr = prompt
			answer, err := command.StdinPipe() // nobody answers
			require.NoError(t, err)
			defer answer.Close()
			require.NoError(t, command.Start())
			require.Eventually(t, func() bool { return strings.Contains(prompt.String(), "[y/N]") },
				patience, 5*time.Millisecond)
			require.NoError(t, command.Process.Signal(signal))
			ended := make(chan error, 1)
			go func() { ended <- command.Wait() }()
			select {
			case err := <-ended:
				requireKilledBy(t, err, signal)
			case <-time.After(patience):
				_ = command.Process.Kill()
				require.Fail(t, "it goes on", "%v", <-ended)
			}
			require.NoFileExists(t, filepath.Join(command.Dir, "bundle.zip"))
		})
	}
}

func TestStartedDoctorOpensNoPipe(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "tyk.conf"), 0o600))
	output, err := krait(t, dir, "doctor", "--conf", "tyk.conf")
	require.Error(t, err)
	require.Contains(t, output, "is not a regular file")
}

func TestStartedGatewayEndsAtOnceOnASecondSignal(t *testing.T) {
	asked := make(chan struct{})
	release := make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(asked)
		<-release
	}))
	t.Cleanup(upstream.Close)
	defer close(release)
	s := newSite(t)
	s.conf["coprocess_options"] = object{}
	s.api("slow", upstream.URL, nil)
	g := s.start()
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		_, _ = g.try(http.MethodGet, "/slow/", io.Reader(nil)) // it is cut
	}()
	<-asked
	require.NoError(t, g.command.Process.Signal(syscall.SIGTERM))
	require.Eventually(t, func() bool { // the port is closed: it drains
		response, err := http.Get(g.url + "/hello")
		if err == nil {
			_ = response.Body.Close()
		}
		return err != nil
	}, patience, 10*time.Millisecond)
	requireKilledBy(t, g.stop(), syscall.SIGTERM)
	<-answered
}
