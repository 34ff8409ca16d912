package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/bridge"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/oauth"

	coprocess "github.com/krait-gateway/krait"
)

// pingTimeout limits the question whether the store answers.
const pingTimeout = 5 * time.Second

// errFaults ends the doctor with a status that scripts can test.
var errFaults = errors.New("doctor: found faults; they are listed above")

type doctorCommand struct {
	Conf          string `help:"The configuration file to examine; without it only Python is." type:"path"`
	Venv          string `help:"The virtual environment to look in (when there is no configuration)." type:"path"`
	PythonHome    string `help:"The Python installation to look in (when there is no configuration)." type:"path"`
	PythonVersion string `help:"The Python version to look for (when there is no configuration)."`
}

// report collects what the doctor finds.
type report struct {
	out    io.Writer
	faults int
}

func (r *report) section(title string) { fmt.Fprintf(r.out, "%s\n", title) }

func (r *report) line(format string, arguments ...any) {
	fmt.Fprintf(r.out, "  "+format+"\n", arguments...)
}

// fault prints each line of err as a fault of its own.
func (r *report) fault(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		r.line("FAULT  %s", line)
		r.faults++
	}
}

func (r *report) warning(text string) { r.line("note   %s", text) }

// Run examines everything and reports all faults together.
func (c *doctorCommand) Run(ctx context.Context) error {
	r := &report{out: os.Stdout}
	conf := config.Default()
	search := bridge.Search{Version: c.PythonVersion, Home: c.PythonHome, Venv: c.Venv}
	if c.Conf != "" {
		conf = r.configuration(c.Conf)
		if conf == nil {
			return errFaults
		}
		search = pythonSearch(conf)
		r.bundles(ctx, conf, r.definitions(conf))
		r.policies(conf)
		r.storage(ctx, conf)
		if conf.CoprocessOptions.EnableCoprocess && conf.CoprocessOptions.GRPCServer != "" {
			r.pluginServer(ctx, conf)
		}
	}
	if c.Conf == "" || conf.CoprocessOptions.EnableCoprocess {
		r.python(ctx, search, c.Conf == "", pythonPath(conf.CoprocessOptions.PythonPathPrefix))
	}
	if r.faults > 0 {
		return errFaults
	}
	r.section("No faults found.")
	return nil
}

// configuration returns what could be read, nil when that is nothing.
func (r *report) configuration(path string) *config.Config {
	r.section("Configuration " + path)
	conf, warnings, err := config.Load(path, os.Environ())
	if err != nil {
		r.fault(err)
	}
	for _, warning := range warnings {
		r.warning(warning)
	}
	if err == nil && len(warnings) == 0 {
		r.line("in order")
	}
	return conf
}

// definitions returns the API definitions that are in order.
func (r *report) definitions(conf *config.Config) []*apidef.API {
	r.section("API definitions in " + conf.AppPath)
	apis, err := apidef.LoadDir(conf.AppPath)
	if err != nil {
		r.fault(err)
		return nil
	}
	around := apidef.Surroundings{Drivers: enabledDrivers(conf), HealthPath: conf.HealthPath(), AdminPath: config.AdminPath}
	var good []*apidef.API
	for _, loaded := range apis {
		if loaded.Err != nil {
			r.fault(loaded.Err)
			continue
		}
		good = append(good, loaded.API)
		if loaded.API.Active {
			if err := errors.Join(loaded.API.Unserved(loaded.File, around), tokenChecks(&loaded)); err != nil {
				r.fault(err)
				continue
			}
		}
		r.line("%s: %s at %s", loaded.File, loaded.API.ID, loaded.API.Proxy.ListenPath)
		for _, warning := range loaded.Warnings {
			r.warning(warning)
		}
	}
	if len(apis) == 0 {
		r.warning("there are none: every request will get 404")
	}
	return good
}

// tokenChecks says why tokens of an identity provider could not be checked for
// the API. The provider itself is not asked.
func tokenChecks(loaded *apidef.Loaded) error {
	external := loaded.API.ExternalOAuth
	if loaded.API.Keyless || !external.Enabled {
		return nil
	}
	checker, err := oauth.New(oauth.Config{Provider: external.Providers[0]})
	if err != nil {
		return fmt.Errorf("%s: %w", loaded.File, err)
	}
	checker.Close()
	return nil
}

func (r *report) storage(ctx context.Context, conf *config.Config) {
	if conf.Storage.Type == config.StorageMemory {
		r.section("Store: memory, not shared with other gateways and empty after a restart")
		return
	}
	addresses := strings.Join(conf.Storage.Addresses(), ", ")
	r.section("Store: Redis at " + addresses)
	store, err := openStore(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		r.fault(err)
		return
	}
	defer store.Close()
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := store.Ping(ctx); err != nil {
		r.fault(fmt.Errorf("redis at %s does not answer: %w; check storage in the configuration and that the server runs", addresses, err))
		return
	}
	r.line("answers")
}

func (r *report) python(ctx context.Context, search bridge.Search, flags bool, path []string) {
	r.section("Python")
	found, err := bridge.Find(ctx, search)
	r.candidates(found.Tried)
	if err != nil {
		r.noPython(search, flags)
		return
	}
	runtime, err := bridge.Start(ctx, bridge.Config{
		Python: search, Host: silentHost{}, Logger: slog.New(slog.DiscardHandler), Path: path,
	})
	if err != nil {
		r.fault(err)
		return
	}
	v := runtime.Versions()
	r.line("version   %s", v.Python)
	r.line("libpython %s", v.Library)
	r.line("prefix    %s", v.Prefix)
	r.line("protobuf  %s, backend %s", v.Protobuf, v.Backend)
	r.line("sys.path  %s", strings.Join(v.Path, "\n            "))
	if v.Backend == slowBackend {
		r.warning("the pure-Python backend of protobuf is about 50 times slower; run: " + v.Executable + " -m pip install --upgrade protobuf")
	}
	if found.Warning != "" {
		r.warning(found.Warning)
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := runtime.Stop(stopCtx); err != nil {
		r.fault(err)
	}
}

// noPython says which settings limit the search, and what to do. flags says
// that they came from the command line.
func (r *report) noPython(search bridge.Search, flags bool) {
	names := [...]string{"coprocess_options.venv", "coprocess_options.python_home", "coprocess_options.python_version"}
	if flags {
		names = [...]string{"--venv", "--python-home", "--python-version"}
	}
	var limits, settings []string
	for i, value := range []string{search.Venv, search.Home, search.Version} {
		if value != "" {
			limits, settings = append(limits, names[i]+" is "+value), append(settings, names[i])
		}
	}
	if len(limits) == 0 {
		r.fault(bridge.ErrNoPython)
	} else {
		r.fault(fmt.Errorf("%w: %s", bridge.ErrNoPython, strings.Join(limits, ", ")))
	}
	wanted := "one"
	if search.Version != "" {
		wanted = "Python " + search.Version
	}
	next := "or name it with " + names[0]
	if len(settings) > 0 {
		next = "or correct or remove " + strings.Join(settings, " and ")
	}
	r.line("Next: install %s with its shared library and protobuf (Debian, Ubuntu: apt-get install python3-dev python3-venv, then pip install protobuf in a virtual environment), %s", wanted, next)
}

// candidates shows what was looked at and why each is used or not.
func (r *report) candidates(tried []bridge.Candidate) {
	table := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	for _, c := range tried {
		verdict := "not used: " + c.Rejected
		if c.Rejected == "" {
			verdict = "used: the first that fits"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", cmp.Or(c.Interpreter, c.Library), c.Source, verdict)
	}
	_ = table.Flush() // a terminal that is gone
}

// silentHost serves the doctor's interpreter, which runs no plugins.
type silentHost struct{}

func (silentHost) StoreData(context.Context, string, []byte, time.Duration) error { return nil }
func (silentHost) GetData(context.Context, string) ([]byte, error)                { return nil, nil }
func (silentHost) TriggerEvent(coprocess.Origin, string, string)                  {}
func (silentHost) Log(coprocess.Origin, string, string)                           {}
