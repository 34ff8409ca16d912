package gateway_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/gateway"
)

// faulty is the file of good after it got a fault, and change.
func faulty(t *testing.T, good apidef.Loaded, change func(*apidef.Partial)) apidef.Loaded {
	t.Helper()
	asked := *good.API
	asked.Proxy.TargetURL = nil
	p := &apidef.Partial{ID: asked.ID, ListenPath: asked.Proxy.ListenPath, Active: asked.Active, Asked: &asked}
	if change != nil {
		change(p)
	}
	return apidef.Loaded{File: good.File, Err: errors.New(good.File + ": proxy.target_url: is not text"), Partial: p}
}

func TestOldVersionMustNotServeWhenTheNewestAsksForOtherProtection(t *testing.T) {
	up := newUpstream(t)
	keyless := definition(t, "a", "/a/", up.URL, withHooks())
	changed := func(more map[string]any) apidef.Loaded { return definition(t, "a", "/a/", up.URL, withHooks(more)) }
	for name, c := range map[string]struct {
		next version
		api  apidef.Loaded
	}{
		"keys are asked for":             {version{name: "broken"}, changed(map[string]any{"use_keyless": false})},
		"a hook is to authenticate":      {version{name: "broken"}, changed(custom())},
		"a limit is switched off":        {version{name: "broken"}, changed(map[string]any{"disable_quota": true})},
		"another domain":                 {version{name: "broken"}, changed(map[string]any{"domain": "example.com"})},
		"more plugin code":               {version{name: "v2"}, changed(map[string]any{"custom_middleware_bundle": "b.zip,missing.zip"})},
		"a faulty file asks for keys":    {version{name: "v2"}, faulty(t, keyless, func(p *apidef.Partial) { p.Asked.Keyless = false })},
		"what it asks is not supported":  {version{name: "v2"}, faulty(t, keyless, func(p *apidef.Partial) { p.Unsupported = true })},
		"the code is still being loaded": {version{name: "slow"}, changed(custom())},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			f := startReloading(t, setup{loadWait: 50 * time.Millisecond, onLoad: func(ctx context.Context, code coprocess.Code) error {
				if code.Dir == "slow" {
					<-release
				}
				return refuseBroken(ctx, code)
			}}, version{name: "v1"}, keyless)
			require.Equal(t, 200, f.get("/a/").code)
			f.reload(c.next, c.api)
			require.Equal(t, 503, f.get("/a/", "Host", "example.com").code)
			if c.next.name != "slow" {
				require.NotEqual(t, 200, f.get("/a/").code)
				require.Contains(t, f.APIs()[0].Reason, "the version before is not served instead")
			}
			close(release)
			f.awaitClosed(1)
			f.reload(version{name: "v3"}, keyless)
			require.Equal(t, "v3", f.get("/a/").body)
		})
	}
	t.Run("a faulty file that switches the API off", func(t *testing.T) {
		f := startReloading(t, setup{}, version{name: "v1"}, keyless)
		f.reload(version{name: "v1"}, faulty(t, keyless, func(p *apidef.Partial) { p.Active = false }))
		require.Equal(t, 404, f.get("/a/").code)
	})
}

func TestOldVersionMustNotServeWhenTheNewestRunsMoreHooks(t *testing.T) {
	up := newUpstream(t)
	good := definition(t, "a", "/a/", up.URL, map[string]any{
		"custom_middleware": map[string]any{"driver": "grpc", "pre": []any{map[string]any{"name": "Version"}, map[string]any{"name": "Off", "disabled": true}}},
	})
	f := startReloading(t, setup{}, version{}, good)
	require.Equal(t, 200, f.get("/a/").code)
	f.reload(version{}, faulty(t, good, nil))
	require.Equal(t, 200, f.get("/a/").code, "the same hooks")
	for name, pre := range map[string][]apidef.MiddlewareDefinition{
		"one more":        {{Name: "Version"}, {Name: "CheckAddress"}},
		"one switched on": {{Name: "Version"}, {Name: "Off"}},
	} {
		f.reload(version{}, good)
		require.Equal(t, 200, f.get("/a/").code)
		f.reload(version{}, faulty(t, good, func(p *apidef.Partial) { p.Asked.CustomMiddleware.Pre = pre }))
		require.Equal(t, 503, f.get("/a/").code, name)
	}
}

func TestAPathThatALateVersionAsksForGoesToNobodyElse(t *testing.T) {
	up := newUpstream(t)
	root := definition(t, "root", "/", up.URL, nil)
	f := startReloading(t, setup{onLoad: refuseBroken}, version{name: "v1"},
		definition(t, "a", "/a/", up.URL, withHooks()), definition(t, "b", "/b/", up.URL, nil), root)
	f.reload(version{name: "broken"}, definition(t, "a", "/b/", up.URL, withHooks()), definition(t, "b", "/a/", up.URL, nil), root)
	require.Equal(t, "ok", f.get("/a/").body, "b moved there")
	require.Equal(t, 503, f.get("/b/").code, "a asks for it and cannot have it, which is no reason to take root")
	require.Contains(t, f.APIs()[0].Reason, "SyntaxError")
	require.Equal(t, "/b/", f.APIs()[0].ListenPath)
	f.reload(version{name: "v2"}, definition(t, "a", "/b/", up.URL, withHooks()), definition(t, "b", "/a/", up.URL, nil), root)
	require.Equal(t, "v2", f.get("/b/").body)
}

func TestAFaultDoesNotOpenAListenPathToASecondAPI(t *testing.T) {
	up := newUpstream(t)
	good := definition(t, "a", "/a/", up.URL, map[string]any{"use_keyless": false})
	second := definition(t, "b", "/a/", up.URL, nil)
	halfSaved := apidef.Loaded{File: good.File, Err: errors.New(good.File + ": not valid JSON")}
	f := startReloading(t, setup{}, version{name: "v1"}, good)
	for name, broken := range map[string]apidef.Loaded{"a faulty file": faulty(t, good, nil), "half a file": halfSaved} {
		f.reload(version{name: "v1"}, broken, second)
		require.Equal(t, 401, f.get("/a/").code, name)
		require.Equal(t, gateway.APIRefused, f.APIs()[1].Status, name)
	}
	moved := faulty(t, good, func(p *apidef.Partial) { p.ListenPath = "/moved/" })
	f.reload(version{name: "v1"}, moved, second)
	require.Equal(t, 200, f.get("/a/").code, "nobody else asks for it any more")
}
