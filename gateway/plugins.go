package gateway

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/bundle"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
	"github.com/krait-gateway/krait/telemetry"
)

// pluginSet is the plugin code of one API.
type pluginSet struct {
	driver string
	units  []pluginUnit
	// extractor is the id_extractor that counts, one that does not run when
	// there is none.
	extractor apidef.IDExtractor
}

// pluginUnit is one bundle of an API, or its own hooks, made callable.
type pluginUnit struct {
	bundle     string // name, "" for hooks without a bundle
	hash       string // bundle_hash of contract section 2
	middleware *apidef.CustomMiddleware
	plugin     coprocess.Plugin
}

// loadPlugins loads the code of a, from bundles or from where its definition
// says. a gives it up when it is freed.
func (g *Gateway) loadPlugins(a *api, bundles []*fetched) (*pluginSet, error) {
	def := a.def
	if len(def.Bundles) == 0 {
		return g.loadOwnHooks(a)
	}
	if def.CustomMiddleware.HasHooks() || def.CustomMiddleware.IDExtractor.Runs() {
		a.log.Warn("custom_middleware of the API definition is without effect, that of the bundle's manifest counts",
			telemetry.KeyFile, a.file, telemetry.KeyBundle, a.bundles)
	}
	list := make([]*bundle.Bundle, 0, len(bundles))
	for _, one := range bundles {
		list = append(list, one.bundle)
	}
	combined, err := bundle.Combine(list)
	if err != nil {
		return nil, fmt.Errorf("custom_middleware_bundle: %w", err)
	}
	set := &pluginSet{driver: combined.Driver}
	if combined.IDExtractor != nil {
		set.extractor = combined.IDExtractor.Manifest.CustomMiddleware.IDExtractor
	}
	for i, one := range bundles {
		b := one.bundle
		code, err := codeOf(b)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			// Event functions belong into the first bundle: names alone do
			// not say which one was meant.
			code.Events = def.EventFunctions()
		}
		plugin, err := g.loadPlugin(a, combined.Driver, code, one)
		if err != nil {
			return nil, err
		}
		set.units = append(set.units, pluginUnit{
			bundle: b.Name, hash: b.ID, middleware: &b.Manifest.CustomMiddleware, plugin: plugin,
		})
	}
	return set, nil
}

// staleness says which bundles are older versions and why. The fetcher has
// logged it.
func staleness(bundles []*fetched) string {
	var faults []string
	for _, one := range bundles {
		if b := one.bundle; b.Stale != nil {
			faults = append(faults, fmt.Sprintf("the version on disk of bundle %q is in service: %v", b.Name, b.Stale))
		}
	}
	return strings.Join(faults, "; ")
}

// loadOwnHooks loads hooks and event functions that an API definition names
// without a bundle. They have no code here, so only a driver that calls a plugin
// server can run them.
func (g *Gateway) loadOwnHooks(a *api) (*pluginSet, error) {
	def := a.def
	mw := &def.CustomMiddleware
	if !def.NeedsDriver() {
		return &pluginSet{extractor: mw.IDExtractor}, nil
	}
	plugin, err := g.loadPlugin(a, mw.Driver, coprocess.Code{
		Name: def.ID, Hooks: hookNames(mw), Events: def.EventFunctions(),
	}, nil)
	if err != nil {
		return nil, err
	}
	return &pluginSet{
		driver: mw.Driver, extractor: mw.IDExtractor,
		units: []pluginUnit{{hash: bundle.ID(""), middleware: mw, plugin: plugin}},
	}, nil
}

// loadPlugin takes code and waits until it is loaded.
func (g *Gateway) loadPlugin(a *api, driver string, code coprocess.Code, from *fetched) (coprocess.Plugin, error) {
	one, err := g.codes.take(driver, code, from)
	if err != nil {
		return nil, err
	}
	a.parts = append(a.parts, func() { g.codes.drop(one) })
	select {
	case <-one.ready:
		return one.plugin, one.err
	case <-a.loading.Done():
		return nil, a.loading.Err()
	}
}

// codeOf says where the code of b is and how it wants to be run.
func codeOf(b *bundle.Bundle) (coprocess.Code, error) {
	settings := b.Manifest.Krait
	code := coprocess.Code{
		Name: b.Name, Dir: b.Dir, Entry: b.Entry(), Hooks: hookNames(&b.Manifest.CustomMiddleware),
		Timeout: settings.HookTimeout(), Serial: settings.Serial,
	}
	if settings.Venv != "" {
		venv := settings.Venv
		if !filepath.IsAbs(venv) {
			venv = filepath.Join(b.Dir, venv)
		}
		paths, err := filepath.Glob(filepath.Join(venv, "lib", "python3*", "site-packages"))
		if err != nil || len(paths) == 0 {
			return code, fmt.Errorf("bundle %q: manifest.json: krait.venv: %s is not a Python virtual environment; create it or remove the setting", b.Name, venv)
		}
		code.Path = paths
	}
	return code, nil
}

// hookNames lists the functions that have to be defined.
func hookNames(mw *apidef.CustomMiddleware) []string {
	var names []string
	for _, list := range [][]apidef.MiddlewareDefinition{mw.Pre, {mw.AuthCheck}, mw.PostKeyAuth, mw.Post, mw.Response} {
		for _, d := range list {
			if d.Runs() && !slices.Contains(names, d.Name) {
				names = append(names, d.Name)
			}
		}
	}
	return names
}

// hooks makes the configured hooks of all units callable, in order.
func (p *pluginSet) hooks(def *apidef.API, kind coprocesspb.HookType,
	list func(*apidef.CustomMiddleware) []apidef.MiddlewareDefinition,
) []*hook.Hook {
	var out []*hook.Hook
	for _, u := range p.units {
		spec := &hook.API{
			ID: def.ID, Name: def.Name, OrgID: def.OrgID, BundleHash: u.hash, ConfigData: def.ConfigData,
		}
		for _, d := range list(u.middleware) {
			if !d.Runs() {
				continue
			}
			out = append(out, &hook.Hook{
				Type: kind, Name: d.Name, RawBodyOnly: d.RawBodyOnly, API: spec, Bundle: u.bundle,
				Dispatcher: u.plugin, ResponseLimit: responseLimit,
			})
		}
	}
	return out
}
