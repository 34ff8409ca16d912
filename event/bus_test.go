package event_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/event"
	"github.com/krait-gateway/krait/internal/output"
)

func TestEventsReachTheHandlersOfTheirAPIAndName(t *testing.T) {
	var own, other recorder
	b := event.NewBus(event.Config{Workers: 1})
	b.Configure(map[string]event.API{
		"a": {OrgID: "of a", Handlers: event.Handlers{event.AuthFailure: {&own, &own}}},
		"b": {Handlers: event.Handlers{event.AuthFailure: {&other}}},
	})
	at := time.Unix(5, 0)
	b.Fire(event.Event{Name: event.AuthFailure, APIID: "a", OrgID: "o", MetaData: "m", Time: at})
	b.Fire(event.Event{Name: event.KeyExpired, APIID: "a"})
	b.Fire(event.Event{Name: event.AuthFailure, APIID: "absent"})
	require.NoError(t, b.Close(t.Context()))

	want := event.Event{Name: event.AuthFailure, APIID: "a", OrgID: "o", MetaData: "m", Time: at}
	require.Equal(t, []event.Event{want, want}, own.all())
	require.Empty(t, other.all())
	require.Zero(t, b.Dropped())
}

func TestAnEventOfNoAPIReachesEveryAPI(t *testing.T) {
	var first, second recorder
	b := event.NewBus(event.Config{Workers: 1})
	b.Configure(map[string]event.API{
		"a": {OrgID: "of a", Handlers: event.Handlers{"Custom": {&first}}},
		"b": {OrgID: "of b", Handlers: event.Handlers{"Custom": {&second}}},
		"c": {},
	})
	b.Fire(event.Event{Name: "Custom", MetaData: "m"})
	require.NoError(t, b.Close(t.Context()))
	require.Len(t, first.all(), 1)
	require.Len(t, second.all(), 1)
	got := first.all()[0]
	require.Equal(t, "a/of a", got.APIID+"/"+got.OrgID)
	require.False(t, got.Time.IsZero(), "Fire sets the time")
	require.Equal(t, "b/of b", second.all()[0].APIID+"/"+second.all()[0].OrgID)
}

func TestConfigureReplacesHandlers(t *testing.T) {
	var before, after recorder
	b := newBus(t, event.Config{}, event.Handlers{"E": {&before}})
	b.Fire(event.Event{Name: "E", APIID: "a"})
	b.Configure(apiA(event.Handlers{"E": {&after}}))
	b.Fire(event.Event{Name: "E", APIID: "a"})
	b.Configure(nil)
	b.Fire(event.Event{Name: "E", APIID: "a"})
	require.NoError(t, b.Close(t.Context()))
	require.Len(t, before.all(), 1)
	require.Len(t, after.all(), 1)
	require.Zero(t, b.Dropped(), "an event that nobody handles is not dropped")
}

func TestFireDropsAndCountsWhenTheQueueIsFull(t *testing.T) {
	release, running := make(chan struct{}), make(chan struct{}, 100)
	var log output.Buffer
	b := newBus(t, event.Config{QueueSize: 2, Workers: 1, Logger: slog.New(slog.NewTextHandler(&log, nil))},
		event.Handlers{"E": {handlerFunc(func(context.Context, event.Event) error {
			running <- struct{}{}
			<-release
			return nil
		})}})
	b.Fire(event.Event{Name: "E", APIID: "a"})
	<-running // one is handled, none waits
	for range 10 {
		b.Fire(event.Event{Name: "E", APIID: "a"})
	}
	require.Equal(t, uint64(8), b.Dropped())
	close(release)
	require.NoError(t, b.Close(t.Context()))
	require.Len(t, running, 2, "the two that had a place were handled")
	require.Equal(t, 1, strings.Count(log.String(), "events are dropped"), "the warning is rate-limited")
	require.Contains(t, log.String(), "api_id=a")

	b.Fire(event.Event{Name: "E", APIID: "a"})
	require.Equal(t, uint64(9), b.Dropped(), "a closed bus drops")
}

func TestFailingAndPanickingHandlersHarmNobody(t *testing.T) {
	var log output.Buffer
	var good recorder
	b := newBus(t, event.Config{Workers: 1, Logger: slog.New(slog.NewJSONHandler(&log, nil))}, event.Handlers{"E": {
		handlerFunc(func(context.Context, event.Event) error { panic("boom") }),
		handlerFunc(func(context.Context, event.Event) error { return errors.New("no luck") }),
		handlerFunc(func(_ context.Context, e event.Event) error { _, err := e.Payload("x"); return err }),
		&good,
	}})
	for range 3 {
		b.Fire(event.Event{Name: "E", APIID: "a", RequestID: "r1", MetaData: func() {}})
	}
	require.NoError(t, b.Close(t.Context()))
	require.Len(t, good.all(), 3)
	require.Equal(t, uint64(9), b.Failed())
	for _, want := range []string{"boom", "bus_test.go", "no luck", `"request_id":"r1"`, "unsupported type"} {
		require.Contains(t, log.String(), want)
	}
}

func TestHandlerGetsATimeLimit(t *testing.T) {
	got := make(chan error, 1)
	b := newBus(t, event.Config{HandlerTimeout: 20 * time.Millisecond}, event.Handlers{"E": {
		handlerFunc(func(ctx context.Context, _ event.Event) error {
			<-ctx.Done()
			got <- ctx.Err()
			return ctx.Err()
		}),
	}})
	b.Fire(event.Event{Name: "E", APIID: "a"})
	require.ErrorIs(t, <-got, context.DeadlineExceeded)
}

func TestCloseHandlesWhatWaits(t *testing.T) {
	var n atomic.Int64
	b := event.NewBus(event.Config{QueueSize: 100, Workers: 2})
	b.Configure(apiA(event.Handlers{"E": {handlerFunc(func(context.Context, event.Event) error {
		n.Add(1)
		return nil
	})}}))
	for range 100 {
		b.Fire(event.Event{Name: "E", APIID: "a"})
	}
	require.NoError(t, b.Close(t.Context()))
	require.Equal(t, int64(100), n.Load()+int64(b.Dropped()))
	require.NoError(t, b.Close(t.Context()), "a second Close is no error")
}

func TestCloseGivesUpWhenItsContextEnds(t *testing.T) {
	b := event.NewBus(event.Config{Workers: 1, HandlerTimeout: time.Hour})
	running := make(chan struct{}, 10)
	b.Configure(apiA(event.Handlers{"E": {handlerFunc(func(ctx context.Context, _ event.Event) error {
		running <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})}}))
	for range 3 {
		b.Fire(event.Event{Name: "E", APIID: "a"})
	}
	<-running
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := b.Close(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "2 waiting events were dropped")
	require.Equal(t, uint64(2), b.Dropped())
	require.Empty(t, running, "no further handler ran")
}

func TestCloseNamesAHandlerThatDoesNotReturn(t *testing.T) {
	b := event.NewBus(event.Config{Workers: 1})
	running, release := make(chan struct{}), make(chan struct{})
	b.Configure(apiA(event.Handlers{"E": {handlerFunc(func(context.Context, event.Event) error {
		close(running)
		<-release
		return nil
	})}}))
	b.Fire(event.Event{Name: "E", APIID: "a"})
	<-running
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, b.Close(ctx), "a handler does not return")
	close(release)
	require.NoError(t, b.Close(t.Context()))
}

func TestFireRacesConfigureAndClose(t *testing.T) {
	var n atomic.Int64
	handlers := apiA(event.Handlers{"E": {handlerFunc(func(context.Context, event.Event) error {
		n.Add(1)
		return nil
	})}})
	b := event.NewBus(event.Config{QueueSize: 16})
	b.Configure(handlers)
	const callers, each = 16, 200
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				b.Fire(event.Event{Name: "E", APIID: "a"})
				b.Configure(handlers)
			}
		})
	}
	require.Eventually(t, func() bool { return n.Load() > 0 }, patience, time.Millisecond)
	require.NoError(t, b.Close(t.Context()))
	wg.Wait()
	require.Equal(t, int64(callers*each), n.Load()+int64(b.Dropped()), "each event is handled or counted")
}

func BenchmarkFireWithoutHandlers(b *testing.B) {
	bus := event.NewBus(event.Config{})
	defer func() { require.NoError(b, bus.Close(context.Background())) }()
	b.ReportAllocs()
	for b.Loop() {
		bus.Fire(event.Event{Name: event.AuthFailure, APIID: "a"})
	}
}
