package main

import (
	"context"
	"log/slog"

	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/gateway"
	"github.com/krait-gateway/krait/telemetry"
	"github.com/krait-gateway/krait/watch"
)

// sourceWatch names changes of files in the log.
const sourceWatch = "--watch"

// reloadOnChanges has g reload whenever something changes that it serves from
// this machine's files, until the function that it returns is called.
func reloadOnChanges(conf *config.Config, bundles bundle.Config, g *gateway.Gateway, logger *slog.Logger) (end func(context.Context) error, err error) {
	places := []watch.Place{
		{Path: conf.AppPath},
		{Path: bundles.Dir, Deep: true, Ignore: bundle.Managed},
	}
	if file := conf.Policies.PolicyRecordName; file != "" {
		places = append(places, watch.Place{Path: file})
	}
	if dir, local := bundle.LocalBase(bundles.BaseURL); local && bundles.Enabled {
		places = append(places, watch.Place{Path: dir, Deep: true, Ignore: bundle.Managed})
	}
	w, err := watch.New(watch.Config{
		Places: places, Logger: logger,
		Changed: func() { _ = g.RequestReload(sourceWatch) }, // fails when the gateway is closed
	})
	if err != nil {
		return nil, err
	}
	for _, place := range places {
		logger.Info("changes are watched", telemetry.KeyPath, place.Path)
	}
	return func(context.Context) error { return w.Close() }, nil
}
