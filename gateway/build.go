package gateway

import (
	"errors"
	"net/url"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
	"github.com/krait-gateway/krait/idextract"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/telemetry"
)

// load loads the plugin code of a and builds its chain.
func (g *Gateway) load(a *api, bundles []*fetched) error {
	plugins, err := g.loadPlugins(a, bundles)
	if err != nil {
		return err
	}
	handlers, err := g.eventHandlers(a, a.def, plugins)
	if err != nil {
		return err
	}
	c, err := g.newChain(a, a.def, plugins)
	if err != nil {
		return err
	}
	a.settle(&apiState{status: APIActive, driver: plugins.driver, chain: c, handlers: handlers})
	return nil
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
	if c.oauth, err = g.newExternalOAuth(a, def); err != nil {
		return nil, err
	}
	c.serial = serialOf(c)
	c.upstream = newUpstream(upstreamConfig{
		target: to, listenPath: a.listenPath,
		strip: def.Proxy.StripListenPath, preserveHost: def.Proxy.PreserveHostHeader,
		flush:   time.Duration(g.config.HTTPServerOptions.FlushInterval) * time.Millisecond,
		buffers: g.buffers, log: a.log,
		transports: g.connections(a, to, def),
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
