package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/bridge"
	"github.com/krait-gateway/krait/coprocesspb"
)

// The interpreter starts once in a process: the tests share the runtime that
// TestMain starts. What needs a process of its own is in life_test.go.
var (
	python *bridge.Runtime
	host   = newRecorder()
)

func TestMain(m *testing.M) {
	if name := os.Getenv(lifeCaseVariable); name != "" {
		os.Exit(runLifeCase(name))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	python, err = bridge.Start(context.Background(), testConfig(host))
	if err != nil {
		fmt.Fprintln(os.Stderr, "the tests of the bridge need a Python with protobuf (make test sets it up):", err)
		return 1
	}
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := python.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "stop:", err)
		return 1
	}
	return code
}

// maxInFlight is small enough to be used up, and holds the 64 sleepers.
const (
	maxInFlight = 96
	maxWaiting  = 1500
)

// testConfig uses the project's virtual environment, or the Python that
// KRAIT_TEST_PYTHON_HOME names.
func testConfig(h coprocess.Host) bridge.Config {
	cfg := bridge.Config{
		Host:        h,
		Logger:      slog.New(slog.DiscardHandler),
		MaxInFlight: maxInFlight, MaxWaiting: maxWaiting,
		Python: bridge.Search{Venv: "../.venv"},
	}
	if home := os.Getenv("KRAIT_TEST_PYTHON_HOME"); home != "" {
		cfg.Python = bridge.Search{Home: home}
	}
	return cfg
}

// recorder is a host that keeps what plugin code does.
type recorder struct {
	mu     sync.Mutex
	data   map[string][]byte
	logs   []logLine
	events []string
	// origins are those of events.
	origins []coprocess.Origin
}

type logLine struct {
	origin         coprocess.Origin
	level, message string
}

func newRecorder() *recorder { return &recorder{data: make(map[string][]byte)} }

// failingKey is the key for which the store fails.
const failingKey = "failing"

var errStore = errors.New("the store is away")

func (r *recorder) StoreData(_ context.Context, key string, value []byte, _ time.Duration) error {
	if key == failingKey {
		return errStore
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data[key] = slices.Clone(value)
	return nil
}

func (r *recorder) GetData(_ context.Context, key string) ([]byte, error) {
	if key == failingKey {
		return nil, errStore
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.data[key], nil
}

func (r *recorder) TriggerEvent(origin coprocess.Origin, name, payload string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, name+"="+payload)
	r.origins = append(r.origins, origin)
}

func (r *recorder) Log(origin coprocess.Origin, level, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, logLine{origin, level, message})
}

// logged returns the lines with that message.
func (r *recorder) logged(message string) []logLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []logLine
	for _, line := range r.logs {
		if line.message == message {
			found = append(found, line)
		}
	}
	return found
}

func (r *recorder) fired() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events)
}

func (r *recorder) firedBy() []coprocess.Origin {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.origins)
}

// load loads testdata/hooks and closes it with the test.
func load(t testing.TB, change ...func(*coprocess.Code)) coprocess.Plugin {
	t.Helper()
	code := coprocess.Code{Name: "hooks.zip", Dir: "testdata/hooks", Entry: "middleware.py"}
	for _, c := range change {
		c(&code)
	}
	p, err := python.Load(t.Context(), code)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// object returns a message of the usual size for hook.
func object(hook string) *coprocesspb.Object {
	return &coprocesspb.Object{
		HookType: coprocesspb.HookType_Pre,
		HookName: hook,
		Request: &coprocesspb.MiniRequestObject{
			Headers:         map[string]string{"Authorization": "a-token", "Accept": "*/*", "Host": "example.com"},
			Params:          map[string]string{},
			Url:             "/path?a=b",
			RequestUri:      "/path?a=b",
			Method:          "POST",
			Scheme:          "http",
			Body:            "hello",
			RawBody:         []byte("hello"),
			ReturnOverrides: &coprocesspb.ReturnOverrides{ResponseCode: -1},
		},
		Spec: map[string]string{"APIID": "api-1", "OrgID": "default", "config_data": "{}", "bundle_hash": "abc"},
	}
}

// alone and together run check once, and many times side by side.
func aloneAndTogether(t *testing.T, check func(t *testing.T)) {
	t.Run("alone", check)
	t.Run("together", func(t *testing.T) {
		var group sync.WaitGroup
		for range 32 {
			group.Go(func() {
				for range 10 {
					if t.Failed() {
						return
					}
					check(t)
				}
			})
		}
		group.Wait()
	})
}
