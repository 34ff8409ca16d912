package bundle

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/krait-gateway/krait/telemetry"
)

// update is current, but does not keep a present bundle from serving: the
// download is waited for no longer than PresentWait.
func (f *Fetcher) update(ctx context.Context, name string, present *fetched) (*fetched, error) {
	switch {
	case present == nil:
		return f.current(ctx, name, nil)
	case present.place.version == "":
		return nil, fmt.Errorf("%s is used where it is, because nothing can be written beside it; make middleware_path writable and restart to have downloads",
			present.place.dir)
	}
	type outcome struct {
		got *fetched
		err error
	}
	result := make(chan outcome, 1)
	var late atomic.Bool
	f.running.Add(1) // Close still waits for the flight that this is part of
	go func() {
		defer f.running.Done()
		got, err, _ := f.downloads.Do(name, func() (any, error) {
			ctx, cancel := context.WithTimeout(f.closing, f.config.Timeout)
			defer cancel()
			return f.current(ctx, name, present)
		})
		if late.Load() {
			f.reportLate(name, err)
		}
		found, _ := got.(*fetched)
		result <- outcome{found, err}
	}()
	timer := time.NewTimer(f.config.PresentWait)
	defer timer.Stop()
	select {
	case done := <-result:
		return done.got, done.err
	case <-timer.C:
		late.Store(true)
		where := ""
		if source, err := f.source(name); err == nil {
			where = "GET " + plain(source) + ": "
		}
		return nil, fmt.Errorf("%sno complete answer within %s; the download goes on, and what it brings is used at the next fetch; check bundle_base_url and the server",
			where, f.config.PresentWait)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reportLate says how a download ended that nobody waited for any more.
func (f *Fetcher) reportLate(name string, err error) {
	switch {
	case err == nil:
		f.config.Logger.Info("slow download of bundle has ended, the next fetch uses it", telemetry.KeyBundle, name)
	case f.closing.Err() == nil:
		f.config.Logger.Warn("slow download of bundle has failed, the next fetch tries again",
			telemetry.KeyBundle, name, telemetry.KeyError, err.Error())
	}
}
