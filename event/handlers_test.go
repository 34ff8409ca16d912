package event_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/internal/output"
	"github.com/krait-gateway/krait/jsonfile"
)

var fired = event.Event{
	Name: event.AuthFailure, APIID: "api", OrgID: "org", RequestID: "r1",
	MetaData: map[string]any{"path": "/x"}, Time: time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600)),
}

const wantPayload = `{"message": {"Event": "AuthFailure", "MetaData": {"path": "/x"}, "TimeStamp": "2026-01-02T02:04:05.0000006Z"},
	"handler_name": %NAME%, "spec": {"APIID": "api", "OrgID": "org"}}`

func payloadFor(name string) string { return strings.Replace(wantPayload, "%NAME%", `"`+name+`"`, 1) }

// dispatcher records the events it gets.
type dispatcher struct {
	events    [][]byte
	requestID string
	err       error
}

func (d *dispatcher) Dispatch(context.Context, *coprocesspb.Object) (*coprocesspb.Object, error) {
	return nil, errors.New("no hooks here")
}

func (d *dispatcher) DispatchEvent(ctx context.Context, data []byte) error {
	d.events = append(d.events, data)
	d.requestID = coprocess.RequestID(ctx)
	return d.err
}

// only builds one handler from a handler_meta in JSON.
func only(t *testing.T, name, meta string, deps event.Deps) event.Handler {
	t.Helper()
	handlers, warnings, err := event.NewHandlers(map[string][]event.HandlerConfig{"E": {{Name: name, Meta: decode(t, meta)}}}, deps)
	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Len(t, handlers["E"], 1)
	return handlers["E"][0]
}

func decode(t *testing.T, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var meta map[string]any
	require.NoError(t, d.Decode(&meta))
	return meta
}

func TestPluginHandlerSendsThePayload(t *testing.T) {
	var d dispatcher
	h := only(t, event.HandlerPlugin, `{"name": "my_handler"}`, event.Deps{Dispatcher: &d})
	require.NoError(t, h.Handle(t.Context(), fired))
	require.Len(t, d.events, 1)
	require.JSONEq(t, payloadFor("my_handler"), string(d.events[0]))
	require.Equal(t, "r1", d.requestID)

	d.err = coprocess.ErrTimeout
	require.ErrorIs(t, h.Handle(t.Context(), fired), coprocess.ErrTimeout)
}

func TestLogHandlerWritesOneLine(t *testing.T) {
	var log output.Buffer
	h := only(t, event.HandlerLog, `{"prefix": "AUDIT"}`, event.Deps{Logger: slog.New(slog.NewJSONHandler(&log, nil))})
	require.NoError(t, h.Handle(t.Context(), fired))
	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(log.String()), &line))
	for key, want := range map[string]any{
		"level": "WARN", "msg": "event", "event": "AuthFailure", "api_id": "api", "org_id": "org", "request_id": "r1",
		"prefix": "AUDIT", "meta_data": map[string]any{"path": "/x"},
	} {
		require.Equal(t, want, line[key], key)
	}
}

// server records requests and answers with status.
type server struct {
	*httptest.Server
	status atomic.Int64
	hits   chan *http.Request
	bodies chan string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := &server{hits: make(chan *http.Request, 100), bodies: make(chan string, 100)}
	s.status.Store(http.StatusNoContent)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(err)
		}
		s.hits <- r
		s.bodies <- string(body)
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(int(s.status.Load()))
	}))
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T) *http.Client {
	t.Helper()
	c := event.NewHTTPClient(time.Second)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func TestWebhookSendsThePayload(t *testing.T) {
	s := newServer(t)
	for name, tc := range map[string]struct{ meta, method, body, contentType string }{
		"POST is the default":   {`{"target_path": "URL/in?k=v"}`, "POST", payloadFor("eh_web_hook_handler"), "application/json"},
		"method of the meta":    {`{"target_path": "URL/in?k=v", "method": "put"}`, "PUT", payloadFor("eh_web_hook_handler"), "application/json"},
		"GET carries no body":   {`{"target_path": "URL/in?k=v", "method": "GET"}`, "GET", "", ""},
		"headers can be chosen": {`{"target_path": "URL/in?k=v", "header_map": {"content-type": "application/x", "Host": "h.example"}}`, "POST", payloadFor("eh_web_hook_handler"), "application/x"},
	} {
		t.Run(name, func(t *testing.T) {
			meta := strings.Replace(tc.meta, "URL", s.URL, 1)
			require.NoError(t, only(t, event.HandlerWebhook, meta, event.Deps{HTTP: client(t)}).Handle(t.Context(), fired))
			r, body := <-s.hits, <-s.bodies
			require.Equal(t, tc.method, r.Method)
			require.Equal(t, "/in?k=v", r.URL.RequestURI())
			require.Equal(t, tc.contentType, r.Header.Get("Content-Type"))
			if tc.body == "" {
				require.Empty(t, body)
			} else {
				require.JSONEq(t, tc.body, body)
			}
			if strings.Contains(tc.meta, "Host") {
				require.Equal(t, "h.example", r.Host)
			}
		})
	}
}

func TestWebhookFailures(t *testing.T) {
	s := newServer(t)
	h := only(t, event.HandlerWebhook, `{"target_path": "`+s.URL+`?token=s3cr3t"}`, event.Deps{HTTP: client(t)})
	for _, status := range []int{http.StatusInternalServerError, http.StatusNotFound, http.StatusFound} {
		s.status.Store(int64(status))
		require.ErrorContains(t, h.Handle(t.Context(), fired), fmt.Sprintf("status %d", status))
	}
	require.Len(t, s.hits, 3, "redirects are not followed and nothing is repeated")

	s.Close()
	err := h.Handle(t.Context(), fired)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "s3cr3t", "a URL may hold credentials")
}

func TestWebhookThatHangsIsGivenUp(t *testing.T) {
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer s.Close()
	defer close(release)
	h := only(t, event.HandlerWebhook, `{"target_path": "`+s.URL+`"}`, event.Deps{HTTP: client(t)})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, h.Handle(ctx, fired), context.DeadlineExceeded)
}

func TestEventTimeoutHoldsBackRepetitions(t *testing.T) {
	s := newServer(t)
	h := only(t, event.HandlerWebhook, `{"target_path": "`+s.URL+`", "event_timeout": 10}`, event.Deps{HTTP: client(t)})
	at := func(d time.Duration, meta string) event.Event {
		e := fired
		e.Time, e.MetaData = fired.Time.Add(d), meta
		return e
	}
	s.status.Store(http.StatusBadGateway)
	require.Error(t, h.Handle(t.Context(), at(0, "x")))
	s.status.Store(http.StatusOK)
	require.NoError(t, h.Handle(t.Context(), at(time.Second, "x")))
	require.Len(t, s.hits, 2, "one that failed is not a repetition")
	require.NoError(t, h.Handle(t.Context(), at(9*time.Second, "x")))
	require.Len(t, s.hits, 2, "within the time")
	require.NoError(t, h.Handle(t.Context(), at(9*time.Second, "y")))
	require.Len(t, s.hits, 3, "another event")
	require.NoError(t, h.Handle(t.Context(), at(12*time.Second, "x")))
	require.Len(t, s.hits, 4, "after the time")
}

func TestNewHandlersReportsAllFaultsTogether(t *testing.T) {
	handlers, warnings, err := event.NewHandlers(map[string][]event.HandlerConfig{
		"B": {{Name: "eh_unknown", Meta: map[string]any{"x": 1}}, {}},
		"A": {
			{Name: event.HandlerPlugin, Meta: map[string]any{}},
			{Name: event.HandlerPlugin, Meta: map[string]any{"name": 5.0}},
			{Name: event.HandlerWebhook, Meta: map[string]any{
				"method": "BREW", "target_path": "/just/a/path?s3cr3t", "event_timeout": "5",
				"header_map": map[string]any{"X": 1.0, "a b": "c", "Y": "line\nbreak s3cr3t"},
			}},
			{Name: event.HandlerWebhook, Meta: map[string]any{"target_path": "http://x", "event_timeout": json.Number("1.5"), "header_map": "no"}},
			{Name: event.HandlerWebhook, Meta: map[string]any{"target_path": "http://x", "event_timeout": -1.0, "disabled": "yes"}},
			{Name: event.HandlerLog, Meta: map[string]any{"prefix": []any{}}},
		},
	}, event.Deps{File: "api.json", Dispatcher: &dispatcher{}})
	require.Nil(t, handlers)
	var faults *jsonfile.Error
	require.ErrorAs(t, err, &faults)
	var fields []string
	for _, f := range faults.Faults {
		require.Equal(t, "api.json", f.File)
		require.NotEmpty(t, f.Next)
		fields = append(fields, strings.TrimPrefix(f.Field, "event_handlers.events."))
	}
	require.Equal(t, []string{
		"A[0].handler_meta.name", "A[1].handler_meta.name",
		"A[2].handler_meta.method", "A[2].handler_meta.target_path", "A[2].handler_meta.header_map.X",
		"A[2].handler_meta.header_map.Y", "A[2].handler_meta.header_map.a b", "A[2].handler_meta.event_timeout",
		"A[3].handler_meta.header_map", "A[3].handler_meta.event_timeout",
		"A[4].handler_meta.disabled", "A[4].handler_meta.event_timeout",
		"A[5].handler_meta.prefix",
	}, fields)
	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0], `B[0].handler_name: "eh_unknown" is not a handler`)
	require.NotContains(t, err.Error(), "s3cr3t")
}

func TestPluginHandlerWithoutPluginIsAFault(t *testing.T) {
	_, _, err := event.NewHandlers(map[string][]event.HandlerConfig{
		"E": {{Name: event.HandlerPlugin, Meta: map[string]any{"name": "f"}}},
	}, event.Deps{File: "api.json"})
	require.ErrorContains(t, err, "no plugin")
}

func TestDisabledHandlersAreLeftOutAndUnknownMembersWarnedAbout(t *testing.T) {
	handlers, warnings, err := event.NewHandlers(map[string][]event.HandlerConfig{"E": {
		{Name: event.HandlerLog, Meta: map[string]any{"disabled": true}},
		{Name: event.HandlerLog, Meta: map[string]any{"id": "1", "name": "n", "template_path": "t.json", "empty": ""}},
	}}, event.Deps{File: "api.json"})
	require.NoError(t, err)
	require.Len(t, handlers["E"], 1)
	require.Equal(t, []string{"api.json: event_handlers.events.E[1].handler_meta.template_path has no effect"}, warnings)
}
