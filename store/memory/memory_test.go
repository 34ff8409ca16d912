package memory_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/store/memory"
	"github.com/krait-gateway/krait/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, opts memory.Options) *memory.Store {
	t.Helper()
	st, err := memory.New(opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func TestStoreKeepsItsPromises(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, memory.Options{}) })
}

func TestStoreKeepsItsPromisesByAnInjectedClock(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	storetest.Run(t,
		func(t *testing.T) store.Store {
			return open(t, memory.Options{Now: func() time.Time { return time.Unix(0, now.Load()) }})
		},
		storetest.WithClock(func(d time.Duration) { now.Add(int64(d)) }))
}

func TestSignalsKeepTheirPromises(t *testing.T) {
	storetest.RunSignals(t, func(t *testing.T) (one, other storetest.SignalStore) {
		st := open(t, memory.Options{})
		return st, st
	})
}

func TestExpiryIsExact(t *testing.T) {
	var now atomic.Int64
	now.Store(1e18)
	st := open(t, memory.Options{Now: func() time.Time { return time.Unix(0, now.Load()) }})
	require.NoError(t, st.Set(t.Context(), "test:k", []byte("v"), 1500*time.Millisecond))
	now.Add(int64(1499 * time.Millisecond))
	_, err := st.Get(t.Context(), "test:k")
	require.NoError(t, err)
	now.Add(int64(2 * time.Millisecond))
	_, err = st.Get(t.Context(), "test:k")
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestWeightStaysWithinTheBound(t *testing.T) {
	var log bytes.Buffer
	st := open(t, memory.Options{MaxBytes: 1 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	value := bytes.Repeat([]byte{'v'}, 10_000)
	const writes = 500
	present := func() (n int) {
		for i := range writes {
			if _, err := st.Get(t.Context(), fmt.Sprintf("test:%d", i)); err == nil {
				n++
			}
		}
		return n
	}
	for i := range writes {
		require.NoError(t, st.Set(t.Context(), fmt.Sprintf("test:%d", i), value, 0))
	}
	require.Eventually(t, func() bool { return present()*len(value) <= 1<<20 }, 5*time.Second, 5*time.Millisecond)
	require.Positive(t, present(), "eviction must not empty the store")
	require.GreaterOrEqual(t, st.Evicted(), uint64(writes-present()))

	require.Eventually(t, func() bool {
		require.NoError(t, st.Set(t.Context(), "test:again", value, 0))
		return strings.Contains(log.String(), "memory store is full")
	}, 5*time.Second, 5*time.Millisecond)
	require.Equal(t, 1, strings.Count(log.String(), "memory store is full"), "the warning is rate-limited")
	require.NotContains(t, log.String(), "test:")
}

func TestValueBeyondTheBoundIsRefused(t *testing.T) {
	st := open(t, memory.Options{MaxBytes: 4096})
	require.NoError(t, st.Set(t.Context(), "test:k", []byte("old"), 0))
	err := st.Set(t.Context(), "test:k", make([]byte, 4096), 0)
	require.ErrorIs(t, err, store.ErrTooLarge)
	got, err := st.Get(t.Context(), "test:k")
	require.NoError(t, err)
	require.Equal(t, "old", string(got))
}

func TestNegativeBoundIsRefused(t *testing.T) {
	_, err := memory.New(memory.Options{MaxBytes: -1})
	require.ErrorContains(t, err, "-1 bytes")
}

func BenchmarkGet(b *testing.B) {
	st, err := memory.New(memory.Options{})
	require.NoError(b, err)
	defer func() { require.NoError(b, st.Close()) }()
	require.NoError(b, st.Set(b.Context(), "test:k", make([]byte, 512), time.Hour))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := st.Get(b.Context(), "test:k"); err != nil {
			b.Fatal(err)
		}
	}
}
