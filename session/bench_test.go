package session_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store/memory"
)

// BenchmarkGet is what a request of a known caller pays, without the way to a
// store elsewhere.
func BenchmarkGet(b *testing.B) {
	sessions := benchmarked(b)
	require.NoError(b, sessions.Put(b.Context(), "token", full(), time.Hour))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sessions.Get(b.Context(), "token"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPut is what follows each auth_check.
func BenchmarkPut(b *testing.B) {
	sessions, state := benchmarked(b), full()
	b.ReportAllocs()
	for b.Loop() {
		if err := sessions.Put(b.Context(), "token", state, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarked(b *testing.B) *session.Store {
	b.Helper()
	st, err := memory.New(memory.Options{})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, st.Close()) })
	return session.NewStore(st)
}
