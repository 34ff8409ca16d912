package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
	"github.com/krait-gateway/krait/idextract"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/telemetry"
)

// parallelLoads bounds how many APIs fetch bundles and load plugin code at a
// time. Loads mostly wait for the network, so it is far above the CPU count.
const parallelLoads = 32

// build makes a snapshot of apis and begins to load their plugin code. Routes
// are complete when it returns; await waits for the rest.
func (g *Gateway) build(ctx context.Context, apis []apidef.Loaded) *snapshot {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s := newSnapshot(stop)
	slots := semaphore.NewWeighted(parallelLoads)
	ids := make(map[string]string)
	var duplicates []*api
	surroundings := apidef.Surroundings{
		Drivers: slices.Sorted(maps.Keys(g.drivers)), HealthPath: g.config.HealthPath(), AdminPath: config.AdminPath,
	}

	for _, loaded := range apis {
		for _, warning := range loaded.Warnings {
			g.log.Warn("API definition asks for something in vain", telemetry.KeyFile, loaded.File, telemetry.KeyError, warning)
		}
		if loaded.API == nil {
			continue
		}
		a := g.describe(&loaded)
		s.apis = append(s.apis, a)
		switch first, twice := ids[a.id]; {
		case twice:
			a.refuse(fmt.Errorf("api_id %q is also the id of the API in %s; give each API its own id", a.id, first))
			duplicates = append(duplicates, a)
			continue
		case !a.active:
			a.settle(&apiState{status: APIInactive, reason: "active is false"})
			continue
		}
		ids[a.id] = a.file
		if other := s.router.add(a); other != nil {
			a.refuse(fmt.Errorf("listen_path %q is also the listen path of API %q; give each API its own listen_path or domain", a.listenPath, other.id))
			continue
		}
		s.byID[a.id] = a
		if err := loaded.API.Unserved(a.file, surroundings); err != nil {
			a.refuse(err)
			continue
		}
		s.loads.Go(func() {
			if err := slots.Acquire(ctx, 1); err != nil {
				a.refuse(err)
				return
			}
			defer slots.Release(1)
			g.load(ctx, s, a, loaded.API)
		})
	}
	// What is refused comes last, so that a usable API keeps its listen path;
	// but it comes, or an API at a shorter path would take its requests.
	for _, a := range duplicates {
		if a.active {
			s.router.add(a)
		}
	}
	for _, loaded := range apis {
		if loaded.API == nil {
			g.addRefused(s, &loaded)
		}
	}
	return s
}

// describe makes the API of a definition that could be read.
func (g *Gateway) describe(loaded *apidef.Loaded) *api {
	def := loaded.API
	a := newAPI(g.log, def.ID, def.Name, loaded.File)
	a.orgID, a.active = def.OrgID, def.Active
	a.domain = normaliseHost(def.Domain)
	a.listenPath = decodedPath(def.Proxy.ListenPath)
	a.expiresAt = def.ExpiresAt
	a.bundles = strings.Join(def.Bundles, ",")
	return a
}

// addRefused keeps a definition that could not be read. When its listen path
// is known, requests there are answered with 503 instead of 404.
func (g *Gateway) addRefused(s *snapshot, loaded *apidef.Loaded) {
	partial := apidef.Partial{}
	if loaded.Partial != nil {
		partial = *loaded.Partial
	}
	a := newAPI(g.log, partial.ID, partial.Name, loaded.File)
	a.orgID, a.active = partial.OrgID, partial.Active
	a.domain = normaliseHost(partial.Domain)
	a.listenPath = decodedPath(partial.ListenPath)
	err := loaded.Err
	if err == nil {
		err = errors.New("the definition is empty")
	}
	if a.active && a.listenPath != "" {
		s.router.add(a) // when the path is taken, the usable API keeps it
	}
	s.apis = append(s.apis, a)
	a.refuse(err)
}

// load builds the chain of a, or refuses it. A panic here is a fault of this
// program, but must not take the other APIs down.
func (g *Gateway) load(ctx context.Context, s *snapshot, a *api, def *apidef.API) {
	defer func() {
		if fault := recover(); fault != nil {
			g.log.Error("panic while loading an API", telemetry.KeyAPIID, a.id,
				telemetry.KeyError, fmt.Sprint(fault), telemetry.KeyTraceback, string(debug.Stack()))
			a.refuse(errors.New("internal fault while loading, see the log"))
		}
	}()
	plugins, err := g.loadPlugins(ctx, s, a, def)
	if err != nil {
		a.refuse(err)
		return
	}
	handlers, err := g.eventHandlers(a, def, plugins)
	if err != nil {
		a.refuse(err)
		return
	}
	c, err := g.newChain(a, def, plugins)
	if err != nil {
		a.refuse(err)
		return
	}
	a.log.Info("API is served", telemetry.KeyListenPath, a.listenPath, telemetry.KeyHost, a.domain,
		telemetry.KeyTarget, def.Proxy.TargetURL.Redacted(), telemetry.KeyBundle, a.bundles)
	a.settle(&apiState{
		status: APIActive, reason: plugins.stale, driver: plugins.driver, chain: c, handlers: handlers,
	})
	if g.current.Load() == s {
		g.configureEvents() // Load did not wait for this API
	}
}

func (g *Gateway) newChain(a *api, def *apidef.API, plugins *pluginSet) (*chain, error) {
	to, err := targetOf(def.Proxy.TargetURL)
	if err != nil {
		return nil, err
	}
	c := &chain{
		keyless: def.Keyless,
		auth:    authSource{def.Auth},
		noRate:  def.DisableRateLimit,
		noQuota: def.DisableQuota,
		lifetimes: session.Lifetimes{
			API: def.SessionLifetime, Global: time.Duration(g.config.GlobalSessionLifetime) * time.Second,
			ForceGlobal: g.config.ForceGlobalSessionLifetime,
		},
		bodyLimit: g.config.HTTPServerOptions.MaxRequestBodySize,
		pre: plugins.hooks(def, coprocesspb.HookType_Pre,
			func(m *apidef.CustomMiddleware) []apidef.MiddlewareDefinition { return m.Pre }),
		postKeyAuth: plugins.hooks(def, coprocesspb.HookType_PostKeyAuth,
			func(m *apidef.CustomMiddleware) []apidef.MiddlewareDefinition { return m.PostKeyAuth }),
		post: plugins.hooks(def, coprocesspb.HookType_Post,
			func(m *apidef.CustomMiddleware) []apidef.MiddlewareDefinition { return m.Post }),
		response: plugins.hooks(def, coprocesspb.HookType_Response,
			func(m *apidef.CustomMiddleware) []apidef.MiddlewareDefinition { return m.Response }),
	}
	if c.authCheck, err = authCheckOf(plugins, a, def); err != nil {
		return nil, err
	}
	if c.extractor, err = extractorOf(plugins, a, c.authCheck); err != nil {
		return nil, err
	}
	if def.Keyless {
		// They belong to a protected chain, as in the reference.
		c.postKeyAuth = nil
	}
	c.serial = serialOf(c)
	c.upstream = newUpstream(upstreamConfig{
		target: to, listenPath: a.listenPath,
		strip: def.Proxy.StripListenPath, preserveHost: def.Proxy.PreserveHostHeader,
		flush:   time.Duration(g.config.HTTPServerOptions.FlushInterval) * time.Millisecond,
		buffers: g.buffers, log: a.log,
		transport: transportConfig{
			idlePerHost: g.config.MaxIdleConnectionsPerHost,
			timeout:     time.Duration(g.config.ProxyDefaultTimeout * float64(time.Second)),
			tls: &tls.Config{
				MinVersion: tls.VersionTLS12,
				// An operator's explicit choice, for this API or for all.
				InsecureSkipVerify: def.Proxy.Transport.SSLInsecureSkipVerify || g.config.ProxySSLInsecureSkipVerify, //nolint:gosec // see above
			},
		},
	})
	return c, nil
}

// authCheckOf returns the hook that authenticates, nil when stored keys do.
func authCheckOf(plugins *pluginSet, a *api, def *apidef.API) (*hook.Hook, error) {
	found := plugins.hooks(def, coprocesspb.HookType_CustomKeyCheck,
		func(m *apidef.CustomMiddleware) []apidef.MiddlewareDefinition {
			return []apidef.MiddlewareDefinition{m.AuthCheck}
		})
	switch {
	case def.Keyless || !def.CustomAuth:
		if len(found) > 0 {
			a.log.Warn("auth_check hook is without effect; set enable_coprocess_auth to true and use_keyless to false to use it",
				telemetry.KeyHook, found[0].Name, telemetry.KeyBundle, found[0].Bundle)
		}
		return nil, nil
	case len(found) == 0:
		return nil, apidef.ErrNoAuthCheck
	case len(found) > 1:
		return nil, errors.New("custom_middleware_bundle: more than one bundle has an auth_check; remove all but one")
	}
	return found[0], nil
}

// extractorOf returns what identifies callers whom authCheck need not see again,
// nil when it sees them all.
func extractorOf(plugins *pluginSet, a *api, authCheck *hook.Hook) (*idextract.Extractor, error) {
	switch {
	case !plugins.extractor.Runs():
		return nil, nil
	case authCheck == nil:
		a.log.Warn("id_extractor is without effect, because the API has no auth_check hook that runs", telemetry.KeyBundle, a.bundles)
		return nil, nil
	}
	return idextract.New(plugins.extractor)
}

// decodedPath is the path that decoded request paths are compared with.
func decodedPath(p string) string {
	if decoded, err := url.PathUnescape(p); err == nil {
		return decoded
	}
	return p
}
