package bridge

import (
	"errors"
	"log/slog"
	"time"

	coprocess "github.com/krait-gateway/krait"
)

const (
	// DefaultMaxInFlight is how many calls may be in plugin code at once.
	DefaultMaxInFlight = 128
	// DefaultMaxWaiting is how many further calls may wait.
	DefaultMaxWaiting = 4096
	// DefaultHookTimeout limits one call of a hook.
	DefaultHookTimeout = 10 * time.Second
)

// Errors of [Start] and [Runtime.Stop].
var (
	// ErrAlreadyStarted says that this process has, or had, an interpreter:
	// CPython cannot be started reliably a second time.
	ErrAlreadyStarted = errors.New("this process has started its Python interpreter already; use that Runtime")
	// ErrNoCgo says that this binary was built without cgo.
	ErrNoCgo = errors.New("this binary was built without cgo and cannot run Python; build it with CGO_ENABLED=1")
	// ErrDrain says that plugin code was still running when Stop ran out of
	// time. The interpreter was then left as it was; end the process.
	ErrDrain = errors.New("plugin code is still running")
)

// Config says how to start the interpreter.
type Config struct {
	// Python says which interpreter to use.
	Python Search
	// Host answers plugin code. Required.
	Host coprocess.Host
	// Logger gets the runtime's own messages; nil means slog.Default().
	Logger *slog.Logger
	// MaxInFlight bounds the calls in plugin code, each on a thread; 0 means
	// DefaultMaxInFlight.
	MaxInFlight int
	// MaxWaiting bounds the calls beyond them: those that wait to be run, and
	// coroutines. Further ones fail with coprocess.ErrBusy. 0 means
	// DefaultMaxWaiting.
	MaxWaiting int
	// HookTimeout limits a call whose plugin sets no limit of its own; 0
	// means DefaultHookTimeout.
	HookTimeout time.Duration
	// Path lists directories to put at the end of sys.path.
	Path []string
}

func (c Config) withDefaults() (Config, error) {
	if c.Host == nil {
		return c, errors.New("bridge: Config.Host is required")
	}
	if c.MaxInFlight < 0 || c.MaxWaiting < 0 || c.HookTimeout < 0 {
		return c, errors.New("bridge: Config.MaxInFlight, Config.MaxWaiting and Config.HookTimeout must not be negative")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.MaxInFlight == 0 {
		c.MaxInFlight = DefaultMaxInFlight
	}
	if c.MaxWaiting == 0 {
		c.MaxWaiting = DefaultMaxWaiting
	}
	if c.HookTimeout == 0 {
		c.HookTimeout = DefaultHookTimeout
	}
	return c, nil
}

// Versions describes the running interpreter.
type Versions struct {
	Python     string   `json:"python"`           // for example 3.11.2
	Executable string   `json:"executable"`       // sys.executable
	Prefix     string   `json:"prefix"`           // sys.prefix
	Protobuf   string   `json:"protobuf"`         // version of the protobuf package
	Backend    string   `json:"protobuf_backend"` // upb, cpp or python
	Path       []string `json:"sys_path"`         // sys.path
	Library    string   `json:"library"`          // the libpython in use
}
