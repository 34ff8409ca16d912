package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/config"
)

// bundles examines the bundles that apis name: whether they can be had, are
// whole and signed as they should be, and fit the API and this gateway. It runs
// none of their code and changes nothing below middleware_path.
func (r *report) bundles(ctx context.Context, conf *config.Config, apis []*apidef.API) {
	seen := make(map[string]*bundle.Manifest) // nil: with a fault
	for _, api := range apis {
		if !api.Active {
			continue // its bundles are not fetched
		}
		for _, name := range api.Bundles {
			if _, ok := seen[name]; ok {
				continue
			}
			if len(seen) == 0 {
				r.section("Bundles")
				r.shelf(conf)
			}
			manifest, err := examine(ctx, conf, name)
			if err != nil {
				r.fault(err)
			}
			seen[name] = manifest
			if manifest != nil {
				r.bundle(conf, name, manifest)
			}
		}
		r.set(api, seen)
	}
}

// shelf says whether downloaded bundles have a place.
func (r *report) shelf(conf *config.Config) {
	if !conf.EnableBundleDownloader {
		return
	}
	options, _ := fetcherConfig(conf, slog.New(slog.DiscardHandler)) // where does not depend on the key, which may be at fault
	if err := bundle.CheckDir(options.Dir); err != nil {
		r.fault(err)
	}
}

func (r *report) bundle(conf *config.Config, name string, manifest *bundle.Manifest) {
	driver := manifest.CustomMiddleware.Driver
	if !slices.Contains(enabledDrivers(conf), driver) {
		r.fault(fmt.Errorf("bundle %q: %w", name, apidef.MissingDriver(driver)))
		return
	}
	r.line("%s: in order", name)
}

// set says whether the bundles of api can serve it together.
func (r *report) set(api *apidef.API, manifests map[string]*bundle.Manifest) {
	var bundles []*bundle.Bundle
	for i, name := range api.Bundles {
		manifest := manifests[name]
		if manifest == nil || slices.Contains(api.Bundles[:i], name) {
			return // told already
		}
		bundles = append(bundles, &bundle.Bundle{Name: name, ID: bundle.ID(name), Manifest: manifest})
	}
	set, err := bundle.Combine(bundles)
	switch {
	case err != nil:
		r.fault(fmt.Errorf("API %q: custom_middleware_bundle: %w", api.ID, err))
	case len(bundles) > 0 && api.CustomAuth && !api.Keyless && set.AuthCheck == nil:
		r.fault(fmt.Errorf("API %q: %w", api.ID, apidef.ErrNoAuthCheck))
	}
}

// enabledDrivers are those that the gateway would start.
func enabledDrivers(conf *config.Config) []string {
	switch o := conf.CoprocessOptions; {
	case !o.EnableCoprocess:
		return nil
	case o.GRPCServer == "":
		return []string{apidef.DriverPython}
	default:
		return []string{apidef.DriverPython, apidef.DriverGRPC}
	}
}

// examine returns the manifest of the bundle that the gateway would use.
func examine(ctx context.Context, conf *config.Config, name string) (_ *bundle.Manifest, err error) {
	if err := bundle.CheckName(name); err != nil {
		return nil, err
	}
	options, err := fetcherConfig(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if !conf.EnableBundleDownloader {
		return bundle.Look(ctx, options, name)
	}
	if options.Dir, err = os.MkdirTemp("", "krait-doctor-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(options.Dir)) }()
	options.Attempts = 1
	fetcher, err := bundle.NewFetcher(options)
	if err != nil {
		return nil, err
	}
	defer fetcher.Close()
	b, err := fetcher.Fetch(ctx, name)
	if err != nil {
		return nil, err
	}
	defer b.Release()
	return b.Manifest, nil
}
