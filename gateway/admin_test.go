package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/gateway"
	"github.com/krait-gateway/krait/store/memory"
)

func TestHealth(t *testing.T) {
	up := newUpstream(t)
	refused := apidef.Loaded{File: "x.json", Err: errors.New("broken")}
	good := definition(t, "root", "/", up.URL, nil)
	check := func(err error) gateway.Check {
		return gateway.Check{Name: "python", Func: func(context.Context) (string, error) { return "3.13.5, upb", err }}
	}
	for _, c := range []struct {
		name   string
		apis   []apidef.Loaded
		checks []gateway.Check
		config func(*config.Config)
		path   string
		want   string
	}{
		{"everything works", []apidef.Loaded{good}, []gateway.Check{check(nil)}, nil, "/hello", "pass"},
		{"trailing slash", []apidef.Loaded{good}, nil, nil, "/hello/", "pass"},
		{"an API is refused", []apidef.Loaded{good, refused}, []gateway.Check{check(nil)}, nil, "/hello", "warn"},
		{"a component fails", nil, []gateway.Check{check(errors.New("gone"))}, nil, "/hello", "warn"},
		{"other name", nil, nil, func(c *config.Config) { c.HealthCheckEndpointName = "live/z" }, "/live/z", "pass"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, setup{apis: c.apis, checks: c.checks, config: c.config})
			got := f.get(c.path)
			require.Equal(t, 200, got.code)
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
			var h gateway.Health
			require.NoError(t, json.Unmarshal([]byte(got.body), &h))
			require.Equal(t, c.want, h.Status, got.body)
			require.Equal(t, "v1.2.3", h.Version)
			require.Equal(t, "datastore", h.Details["storage"].ComponentType)
			_, err := time.Parse(time.RFC3339, h.Details["storage"].Time)
			require.NoError(t, err)
			if c.checks != nil {
				require.Equal(t, "system", h.Details["python"].ComponentType)
				require.NotEmpty(t, h.Details["python"].Output)
			}
			require.Zero(t, up.count(), "an API on / does not shadow the endpoint")
			require.Equal(t, 405, f.do("POST", c.path, "").code)
		})
	}
}

func TestHealthWithoutStore(t *testing.T) {
	mem, err := memory.New(memory.Options{})
	require.NoError(t, err)
	f := start(t, setup{})
	require.NoError(t, f.store.Close())
	var h gateway.Health
	require.NoError(t, json.Unmarshal([]byte(f.get("/hello").body), &h))
	require.Equal(t, "fail", h.Status)
	require.NoError(t, mem.Close())
}

func TestStatusEndpoint(t *testing.T) {
	up := newUpstream(t)
	apis := []apidef.Loaded{definition(t, "a", "/a/", up.URL, nil), definition(t, "b", "/b/", up.URL, withHooks())}
	f := start(t, setup{apis: apis})
	for _, c := range []struct {
		name, secret string
		code         int
	}{
		{"no secret", "", 403}, {"wrong secret", "topsecreT", 403}, {"right secret", "topsecret", 200},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := f.get("/tyk/apis", "x-tyk-authorization", c.secret)
			require.Equal(t, c.code, got.code)
			if c.code != 200 {
				require.NotContains(t, got.body, "API a")
				return
			}
			var list []map[string]any
			require.NoError(t, json.Unmarshal([]byte(got.body), &list))
			require.Len(t, list, 2)
			require.Equal(t, "a", list[0]["api_id"])
			require.Equal(t, "/a/", list[0]["listen_path"])
			require.Equal(t, "active", list[0]["status"])
			require.Equal(t, "refused", list[1]["status"])
			require.Equal(t, "b.zip", list[1]["bundle"])
			require.NotEmpty(t, list[1]["reason"])
		})
	}
	t.Run("an endpoint that is not there", func(t *testing.T) {
		f := start(t, setup{apis: []apidef.Loaded{definition(t, "root", "/", up.URL, nil)}})
		require.Equal(t, 403, f.get("/tyk/nothing").code, "nobody learns what there is")
		got := f.get("/tyk/nothing", "x-tyk-authorization", "topsecret")
		require.Equal(t, 404, got.code)
		require.JSONEq(t, `{"status": "error", "message": "Not Found"}`, got.body)
		require.Equal(t, 200, f.get("/tyk/apis/", "x-tyk-authorization", "topsecret").code)
		require.Equal(t, 200, f.get("/tyks", "x-tyk-authorization", "topsecret").code, "the API at / answers")
	})
	t.Run("a method that the endpoint does not have", func(t *testing.T) {
		got := f.do("DELETE", "/tyk/apis", "", "x-tyk-authorization", "topsecret")
		require.Equal(t, 405, got.code)
		require.Equal(t, "GET, HEAD, POST", got.header.Get("Allow"))
	})
	t.Run("no secret is configured", func(t *testing.T) {
		f := start(t, setup{config: func(c *config.Config) { c.Secret = "" }})
		require.Equal(t, 403, f.get("/tyk/apis", "x-tyk-authorization", "").code)
	})
}

func TestMissingParts(t *testing.T) {
	_, err := gateway.New(t.Context(), gateway.Config{})
	for _, part := range []string{"Config is missing", "Sessions is missing", "Logger is missing"} {
		require.ErrorContains(t, err, part)
	}
}

func TestEventsReachTheirHandlers(t *testing.T) {
	up := newUpstream(t)
	bus := event.NewBus(event.Config{})
	defer func() { require.NoError(t, bus.Close(context.Background())) }()
	f := start(t, setup{
		events: bus, hooks: hookSet(&trail{}, accept("", nil)), bundles: bundles{"b.zip": allHooks},
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, withHooks(custom(), map[string]any{
			"event_handlers": map[string]any{"events": map[string]any{"AuthFailure": []any{
				map[string]any{"handler_name": "cp_dynamic_handler", "handler_meta": map[string]any{"name": "OnFailure"}},
				map[string]any{"handler_name": "eh_dynamic_handler", "handler_meta": map[string]any{"name": "js"}},
			}}},
		}))},
	})
	require.Equal(t, []string{"OnFailure"}, f.driver.loaded[0].Events)
	require.Equal(t, 403, f.get("/a/x", "Authorization", "secret", "X-Request-Id", "r1").code)
	var got []byte
	require.Eventually(t, func() bool {
		f.driver.mu.Lock()
		defer f.driver.mu.Unlock()
		if len(f.driver.events) == 0 {
			return false
		}
		got = f.driver.events[0]
		return true
	}, limit, time.Millisecond)
	var e struct {
		Message struct {
			Event    string
			MetaData struct{ Message, Path, Origin, Key string }
		} `json:"message"`
		HandlerName string                        `json:"handler_name"`
		Spec        struct{ APIID, OrgID string } `json:"spec"`
	}
	require.NoError(t, json.Unmarshal(got, &e))
	require.Equal(t, "AuthFailure", e.Message.Event)
	require.Equal(t, "/a/x", e.Message.MetaData.Path)
	require.Equal(t, "127.0.0.1", e.Message.MetaData.Origin)
	require.NotContains(t, string(got), "secret")
	require.Equal(t, "OnFailure", e.HandlerName)
	require.Equal(t, "a", e.Spec.APIID)
	require.Equal(t, "org", e.Spec.OrgID)
}

func TestHost(t *testing.T) {
	mem, err := memory.New(memory.Options{})
	require.NoError(t, err)
	defer mem.Close()
	events, out := &recorder{}, &logs{}
	host := gateway.NewHost(mem, events, slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	origin := coprocess.Origin{RequestID: "r1", APIID: "a", Bundle: "b.zip", Hook: "H"}

	t.Run("data lives under the plugins' prefix", func(t *testing.T) {
		value := []byte("bin\x00ary")
		require.NoError(t, host.StoreData(t.Context(), "k", value, 0))
		stored, err := mem.Get(t.Context(), "coprocess-data:k")
		require.NoError(t, err)
		require.Equal(t, value, stored)
		got, err := host.GetData(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, value, got)
	})
	t.Run("missing data is nil", func(t *testing.T) {
		got, err := host.GetData(t.Context(), "none")
		require.NoError(t, err)
		require.Nil(t, got)
	})
	t.Run("negative ttl means no expiry", func(t *testing.T) {
		require.NoError(t, host.StoreData(t.Context(), "k2", []byte("v"), -time.Second))
		got, err := host.GetData(t.Context(), "k2")
		require.NoError(t, err)
		require.Equal(t, "v", string(got))
	})
	t.Run("levels", func(t *testing.T) {
		for level, want := range map[string]string{
			"debug": "DEBUG", "info": "INFO", "warning": "WARN", "error": "ERROR", "loud": "INFO", "": "INFO",
		} {
			host.Log(origin, level, "said-"+want+level)
			require.Contains(t, out.String(), "level="+want+" msg=said-"+want+level+" ")
			require.Contains(t, out.String(), " request_id=r1 api_id=a bundle=b.zip hook=H")
		}
	})
	t.Run("events carry their origin", func(t *testing.T) {
		host.TriggerEvent(origin, "Mine", "payload")
		e := events.fired[0]
		require.Equal(t, "Mine", e.Name)
		require.Equal(t, "a", e.APIID)
		require.Equal(t, "r1", e.RequestID)
		data, err := e.Payload("h")
		require.NoError(t, err)
		require.Contains(t, string(data), `"MetaData":{"Message":"payload"}`)
	})
	t.Run("store that is away", func(t *testing.T) {
		require.NoError(t, mem.Close())
		require.Error(t, host.StoreData(t.Context(), "k", nil, 0))
		_, err := host.GetData(t.Context(), "k")
		require.Error(t, err)
	})
}
