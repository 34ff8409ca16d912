package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"golang.org/x/sync/semaphore"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/telemetry"
)

// errFault is what a panic while loading becomes.
var errFault = errors.New("internal fault while loading, see the log")

// guarded calls f and turns a panic, which is a fault of this program, into an
// error: it must not take what is served down.
func guarded(log *slog.Logger, f func() error) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			log.Error("panic while loading", telemetry.KeyError, fmt.Sprint(fault), telemetry.KeyTraceback, string(debug.Stack()))
			err = errFault
		}
	}()
	return f()
}

// loadedCode is plugin code, once for all APIs that use it, those of later
// reloads included. Its globals and threads live as long as it does.
type loadedCode struct {
	key    string
	name   string // of the bundle, for messages
	from   *fetched
	cancel context.CancelFunc // ends the wait for the driver
	ready  chan struct{}      // closed when plugin and err are set
	plugin coprocess.Plugin
	err    error
	users  int // guarded by codes.mu
}

// codes is the plugin code that is in use or being loaded, by what it was made
// from. The files below a bundle's directory never change, so equal keys mean
// equal code. It is safe for concurrent use.
type codes struct {
	drivers map[string]coprocess.Driver
	// serialise wraps code that one request at a time goes through.
	serialise func(coprocess.Plugin, coprocess.Code) *serialPlugin
	// places bounds how many are loaded at a time.
	places *semaphore.Weighted
	log    *slog.Logger
	live   *sync.WaitGroup

	mu    sync.Mutex
	byKey map[string]*loadedCode
}

// take returns the code, which may still be loading, and counts the caller
// among its users. from is the bundle that it is in, held by the caller, or nil;
// it stays on disk for as long as the code is used.
func (c *codes) take(driver string, code coprocess.Code, from *fetched) (*loadedCode, error) {
	d := c.drivers[driver]
	if d == nil {
		return nil, apidef.MissingDriver(driver)
	}
	key, err := json.Marshal(struct {
		Driver string
		Code   coprocess.Code
	}{driver, code})
	if err != nil {
		return nil, fmt.Errorf("plugin code %q: %w", code.Name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if one := c.byKey[string(key)]; one != nil {
		one.users++
		return one, nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	one := &loadedCode{key: string(key), name: code.Name, from: from, cancel: cancel, ready: make(chan struct{}), users: 1}
	if from != nil {
		from.take()
	}
	c.byKey[one.key] = one
	c.live.Add(1)
	go func() {
		defer close(one.ready)
		if err := c.load(ctx, one, d, code); err != nil {
			one.err = fmt.Errorf("load plugin code %q with driver %s: %w", code.Name, driver, err)
			c.forget(one) // who wants it next tries again
		}
	}()
	return one, nil
}

func (c *codes) load(ctx context.Context, one *loadedCode, driver coprocess.Driver, code coprocess.Code) error {
	if err := c.places.Acquire(ctx, 1); err != nil {
		return err
	}
	defer c.places.Release(1)
	return guarded(c.log, func() (err error) {
		one.plugin, err = driver.Load(ctx, code)
		if err == nil && code.Serial {
			one.plugin = c.serialise(one.plugin, code)
		}
		return err
	})
}

func (c *codes) forget(one *loadedCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[one.key] == one {
		delete(c.byKey, one.key)
	}
}

// drop counts a user out. After the last one the code is freed, in the
// background: that may have to wait for Python.
func (c *codes) drop(one *loadedCode) {
	c.mu.Lock()
	one.users--
	last := one.users == 0
	if last && c.byKey[one.key] == one {
		delete(c.byKey, one.key)
	}
	c.mu.Unlock()
	if !last {
		return
	}
	one.cancel()
	go func() {
		defer c.live.Done()
		<-one.ready
		if one.err == nil {
			if err := one.plugin.Close(); err != nil {
				c.log.Warn("cannot close plugin", telemetry.KeyBundle, one.name, telemetry.KeyError, err.Error())
			}
		}
		if one.from != nil {
			one.from.release()
		}
	}()
}
