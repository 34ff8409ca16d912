package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/store"
)

// RunSignals checks that the stores newStores returns keep the promises of
// [store.Signals]. Each case takes two new stores that share what they hold;
// they may be one.
func RunSignals(t *testing.T, newStores func(t *testing.T) (one, other SignalStore)) {
	t.Helper()
	for name, run := range map[string]func(t *testing.T, one, other SignalStore){
		"every subscriber is woken":                   wakesAll,
		"each signal after the last element is heard": wakesEachTime,
		"signals that nobody took share an element":   wakesOnce,
		"other topics are not heard":                  keepsTopicsApart,
		"signals before the subscription are past":    forgetsThePast,
		"a cancelled subscription hears nothing":      wakesNobody,
		"errors of a closed store":                    signalsNotWhenClosed,
	} {
		t.Run(name, func(t *testing.T) {
			one, other := newStores(t)
			run(t, one, other)
		})
	}
}

// SignalStore is a store with signals.
type SignalStore interface {
	store.Store
	store.Signals
}

func subscribe(t *testing.T, st store.Signals, topic string) <-chan struct{} {
	t.Helper()
	signals, cancel := st.Subscribe(t.Context(), topic)
	t.Cleanup(cancel)
	return signals
}

func heard(t *testing.T, signals <-chan struct{}) {
	t.Helper()
	select {
	case <-signals:
	case <-time.After(4 * patience):
		require.Fail(t, "no signal came")
	}
}

// silent requires that nothing comes, up to a signal that must come.
func silent(t *testing.T, st store.Signals, signals <-chan struct{}) {
	t.Helper()
	witness := subscribe(t, st, "witness")
	require.NoError(t, st.Signal(t.Context(), "witness"))
	heard(t, witness)
	require.Empty(t, signals)
}

func wakesAll(t *testing.T, one, other SignalStore) {
	all := []<-chan struct{}{subscribe(t, one, "topic"), subscribe(t, other, "topic"), subscribe(t, other, "topic")}
	require.NoError(t, one.Signal(t.Context(), "topic"))
	for _, signals := range all {
		heard(t, signals)
	}
}

func wakesEachTime(t *testing.T, one, other SignalStore) {
	signals := subscribe(t, one, "topic")
	for range 10 {
		require.NoError(t, other.Signal(t.Context(), "topic"))
		heard(t, signals)
	}
}

func wakesOnce(t *testing.T, one, other SignalStore) {
	signals := subscribe(t, one, "topic")
	for range 10 {
		require.NoError(t, other.Signal(t.Context(), "topic"))
	}
	heard(t, signals)
	require.LessOrEqual(t, len(signals), 1)
}

func keepsTopicsApart(t *testing.T, one, other SignalStore) {
	signals := subscribe(t, one, "topic")
	require.NoError(t, other.Signal(t.Context(), "other"))
	silent(t, one, signals)
}

func forgetsThePast(t *testing.T, one, other SignalStore) {
	require.NoError(t, other.Signal(t.Context(), "topic"))
	silent(t, one, subscribe(t, one, "topic"))
}

func wakesNobody(t *testing.T, one, other SignalStore) {
	signals, cancel := one.Subscribe(t.Context(), "topic")
	cancel()
	require.NoError(t, other.Signal(t.Context(), "topic"))
	silent(t, one, signals)
}

func signalsNotWhenClosed(t *testing.T, one, _ SignalStore) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, one.Signal(ended, "topic"), context.Canceled)
	_ = subscribe(t, one, "topic") // ends with the store
	require.NoError(t, one.Close())
	require.ErrorIs(t, one.Signal(t.Context(), "topic"), store.ErrClosed)
}
