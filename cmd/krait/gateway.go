package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/bridge"
	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/gateway"
	"github.com/krait-gateway/krait/internal/collector"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store/redis"
	"github.com/krait-gateway/krait/telemetry"
)

const (
	// closeTimeout limits the end of plugins, events and the interpreter,
	// each, once requests have ended.
	closeTimeout = 10 * time.Second
	// slowBackend is the protobuf backend that takes half a millisecond for a
	// message.
	slowBackend = "python"
)

type gatewayCommand struct {
	Conf  string `default:"tyk.conf" help:"The configuration file." type:"path"`
	Watch bool   `help:"For development: reload when API definitions, policies or local bundles change."`
}

// Run serves until SIGTERM or an interrupt, then lets requests end. SIGHUP
// reloads.
func (c *gatewayCommand) Run(ctx context.Context) error {
	collector.Tune()
	conf, warnings, err := config.Load(c.Conf, os.Environ())
	if err != nil {
		return err
	}
	logger, err := telemetry.NewLogger(os.Stderr, conf.LogLevel, conf.LogFormat)
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		logger.Warn("setting has no effect", telemetry.KeySetting, warning)
	}
	redis.LogTo(logger)
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // from now on it does not end the process
	defer signal.Stop(hangup)
	// First of all: who waits for the port gets it when everything is ready,
	// and a port in use shows before bundles are fetched.
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", conf.Address())
	if err != nil {
		return fmt.Errorf("listen_address, listen_port: %w", err)
	}
	defer listener.Close()
	parts := closers{logger: logger}
	defer parts.close()

	store, err := openStore(conf, logger)
	if err != nil {
		return err
	}
	parts.add("store", func(context.Context) error { return store.Close() })
	limits, err := openLimits(store, &parts)
	if err != nil {
		return err
	}
	events := event.NewBus(event.Config{Logger: logger})
	parts.add("events", events.Close)
	bundles, err := fetcherConfig(conf, logger)
	if err != nil {
		return err
	}
	fetcher, err := bundle.NewFetcher(bundles)
	if err != nil {
		return err
	}
	parts.add("bundles", func(context.Context) error { return fetcher.Close() })

	drivers := map[string]coprocess.Driver{}
	var checks []gateway.Check
	if conf.CoprocessOptions.EnableCoprocess {
		check := startPython(ctx, conf, gateway.NewHost(store, events, logger), logger, drivers, &parts)
		checks = append(checks, check)
		if conf.CoprocessOptions.GRPCServer != "" {
			check, err := startGRPC(conf, logger, drivers, &parts)
			if err != nil {
				return err
			}
			checks = append(checks, check)
		}
	}
	g, err := gateway.New(ctx, gateway.Config{
		Config:      conf,
		Source:      source{conf: conf, logger: logger},
		Definitions: apidef.NewDir(conf.AppPath),
		Drivers:     drivers,
		Bundles:     fetcher,
		Store:       store,
		Signals:     store,
		Sessions:    session.NewStore(store),
		Limits:      limits,
		Events:      events,
		Logger:      logger,
		Checks:      checks,
		Version:     version,
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // stopped while it was starting
	case err != nil:
		return err
	}
	parts.add("plugins", g.Close)
	parts.add("waiting events", events.Close) // while plugins can handle them
	parts.add("reload on SIGHUP", reloadOn(hangup, g))
	if c.Watch {
		end, err := reloadOnChanges(conf, bundles, g, logger)
		if err != nil {
			return err
		}
		parts.add("reload on changes", end)
	}
	return g.Serve(ctx, listener)
}

// reloadOn has g reload at each signal until the function that it returns is
// called.
func reloadOn(signals <-chan os.Signal, g *gateway.Gateway) (end func(context.Context) error) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case got := <-signals:
				_ = g.RequestReload(got.String()) // fails when the gateway is closed
			case <-stop:
				return
			}
		}
	}()
	return func(context.Context) error {
		close(stop)
		<-stopped
		return nil
	}
}

// startPython starts the interpreter and enters it in drivers. Without one the
// gateway serves all the same: only APIs with Python plugins are refused.
func startPython(ctx context.Context, conf *config.Config, host coprocess.Host, logger *slog.Logger, drivers map[string]coprocess.Driver, parts *closers) gateway.Check {
	python, err := bridge.Start(ctx, bridge.Config{
		Python:      pythonSearch(conf),
		Host:        host,
		Logger:      logger,
		MaxInFlight: conf.CoprocessOptions.MaxInFlight,
		MaxWaiting:  conf.CoprocessOptions.MaxWaiting,
		HookTimeout: time.Duration(conf.CoprocessOptions.HookTimeout),
		Path:        pythonPath(conf.CoprocessOptions.PythonPathPrefix),
	})
	if err != nil {
		logger.Error("python is not available; APIs with Python plugins are refused", telemetry.KeyError, err)
		return gateway.Check{Name: apidef.DriverPython, Func: func(context.Context) (string, error) { return "", err }}
	}
	drivers[apidef.DriverPython] = python
	parts.add(apidef.DriverPython, python.Stop)
	v := python.Versions()
	logger.Info("python is ready", "python_version", v.Python, "library", v.Library, "prefix", v.Prefix,
		"protobuf_version", v.Protobuf, "protobuf_backend", v.Backend)
	if v.Backend == slowBackend {
		logger.Warn("protobuf runs its pure-Python backend, about 50 times slower; install the wheel: pip install --upgrade protobuf",
			"protobuf_version", v.Protobuf)
	}
	summary := fmt.Sprintf("Python %s, protobuf %s (%s)", v.Python, v.Protobuf, v.Backend)
	return gateway.Check{Name: apidef.DriverPython, Func: func(context.Context) (string, error) {
		if state := python.State(); state != bridge.StateReady {
			return summary, fmt.Errorf("%w: it is %s", coprocess.ErrNotReady, state)
		}
		most := conf.CoprocessOptions.MaxInFlight
		if n := python.InFlight(); n >= most {
			return summary, fmt.Errorf("%w: %d of %d calls are in flight", coprocess.ErrBusy, n, most)
		}
		return summary, nil
	}}
}

func pythonSearch(conf *config.Config) bridge.Search {
	o := conf.CoprocessOptions
	return bridge.Search{Version: o.PythonVersion, Home: o.PythonHome, Venv: o.Venv}
}

// pythonPath lists the directories that the reference takes modules from below
// python_path_prefix, those that exist.
func pythonPath(prefix string) []string {
	if prefix == "" {
		return nil
	}
	var found []string
	for _, dir := range []string{prefix, filepath.Join(prefix, "coprocess", "python"), filepath.Join(prefix, "coprocess", "python", "proto")} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			found = append(found, dir)
		}
	}
	return found
}

// fetcherConfig says how bundles are had.
func fetcherConfig(conf *config.Config, logger *slog.Logger) (bundle.Config, error) {
	c := bundle.Config{
		Dir:                      filepath.Join(conf.MiddlewarePath, "bundles"),
		Enabled:                  conf.EnableBundleDownloader,
		BaseURL:                  conf.BundleBaseURL,
		InsecureSkipVerify:       conf.BundleInsecureSkipVerify,
		RequireManifestSignature: conf.RequireManifestSignature,
		Logger:                   logger,
	}
	if conf.PublicKeyPath != "" {
		key, err := bundle.LoadPublicKey(conf.PublicKeyPath)
		if err != nil {
			return c, fmt.Errorf("public_key_path: %w", err)
		}
		c.PublicKey = key
	}
	return c, nil
}

// closers ends what was started, the last first. What does not end in time is
// logged and left to the end of the process: it must not turn a stop into a
// failure.
type closers struct {
	logger *slog.Logger
	ends   []func()
}

func (c *closers) add(name string, end func(context.Context) error) {
	c.ends = append(c.ends, func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := end(ctx); err != nil {
			c.logger.Error("part of the gateway did not end in order", telemetry.KeySource, name, telemetry.KeyError, err)
		}
	})
}

func (c *closers) close() {
	for i := len(c.ends) - 1; i >= 0; i-- {
		c.ends[i]()
	}
}
