package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/config"
)

// bundles examines the bundles that apis name: whether they can be had, are
// whole and signed as they should be, and ask for a driver that is there. It
// runs none of their code and changes nothing below middleware_path.
func (r *report) bundles(ctx context.Context, conf *config.Config, apis []*apidef.API) {
	seen := make(map[string]bool)
	for _, api := range apis {
		for _, name := range api.Bundles {
			if seen[name] {
				continue
			}
			if len(seen) == 0 {
				r.section("Bundles")
			}
			seen[name] = true
			manifest, err := examine(ctx, conf, name)
			if err != nil {
				r.fault(err)
				continue
			}
			r.bundle(conf, name, manifest)
		}
	}
}

func (r *report) bundle(conf *config.Config, name string, manifest *bundle.Manifest) {
	driver := manifest.CustomMiddleware.Driver
	switch {
	case driver != pythonDriver:
		r.fault(fmt.Errorf("bundle %q: its driver %q is not in this version, which has %s only", name, driver, pythonDriver))
	case !conf.CoprocessOptions.EnableCoprocess:
		r.fault(fmt.Errorf("bundle %q: it needs Python; set coprocess_options.enable_coprocess", name))
	default:
		r.line("%s: in order", name)
	}
}

// examine returns the manifest of the bundle that the gateway would use.
func examine(ctx context.Context, conf *config.Config, name string) (*bundle.Manifest, error) {
	options, err := fetcherConfig(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	if !conf.EnableBundleDownloader {
		report, err := bundle.Verify(ctx, filepath.Join(options.Dir, bundle.ID(name)), bundle.VerifyOptions{
			PublicKey: options.PublicKey, RequireManifestSignature: options.RequireManifestSignature,
		})
		if err != nil {
			return nil, fmt.Errorf("bundle %q: %w", name, err)
		}
		return report.Manifest, nil
	}
	if options.Dir, err = os.MkdirTemp("", "krait-doctor-"); err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(options.Dir) }() // a temporary directory; nothing depends on its end
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
	return b.Manifest, nil
}
