// Package storetest is the suite that every [store.Store] passes.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/store"
)

const (
	// shortTTL is a life time that a test waits for; well below a second, so
	// that a driver which rounds to seconds fails.
	shortTTL = 60 * time.Millisecond
	// patience is how long a condition may take to come true.
	patience = 5 * time.Second
)

// Option changes how [Run] runs.
type Option func(*suite)

// WithClock makes the suite call advance(d) in place of waiting for d to pass,
// for stores whose clock stands still by itself.
func WithClock(advance func(time.Duration)) Option {
	return func(s *suite) { s.advance = advance }
}

// Run checks that the stores newStore returns keep the promises of
// [store.Store]. Each case takes a new store, which need not be empty but must
// work, and closes it.
func Run(t *testing.T, newStore func(t *testing.T) store.Store, opts ...Option) {
	t.Helper()
	s := &suite{newStore: newStore}
	for _, o := range opts {
		o(s)
	}
	for _, c := range []struct {
		name string
		run  func(*suite, *testing.T)
	}{
		{"missing key is ErrNotFound", (*suite).missing},
		{"any bytes survive in keys and values", (*suite).binary},
		{"empty value is not a missing one", (*suite).empty},
		{"overwriting replaces the value", (*suite).overwrite},
		{"value expires after its life time", (*suite).expiry},
		{"life time below a millisecond expires", (*suite).tinyTTL},
		{"life time of 0 or less means no expiry", (*suite).noExpiry},
		{"very long life time is accepted", (*suite).longTTL},
		{"overwriting without a life time removes the old one", (*suite).overwriteTTL},
		{"overwriting with a life time sets it anew", (*suite).renewTTL},
		{"delete removes, and deleting a missing key is no error", (*suite).remove},
		{"large values survive", (*suite).large},
		{"values are copied in and out", (*suite).copies},
		{"ended context is refused", (*suite).cancelled},
		{"parallel use of many keys and of one", (*suite).parallel},
		{"closed store says so", (*suite).closed},
		{"errors do not contain keys or values", (*suite).secrecy},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(s, t) })
	}
}

type suite struct {
	newStore func(t *testing.T) store.Store
	advance  func(time.Duration)
}

// open returns a new store that is closed at the end of t, and a key prefix that
// no other case uses.
func (s *suite) open(t *testing.T) (st store.Store, prefix string) {
	t.Helper()
	st = s.newStore(t)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	require.NoError(t, st.Ping(t.Context()))
	return st, fmt.Sprintf("test:%x:", rand.Uint64())
}

// awaitGone lets d pass and requires that key is gone then.
func (s *suite) awaitGone(t *testing.T, st store.Store, key string, d time.Duration) {
	t.Helper()
	if s.advance != nil {
		s.advance(d)
		_, err := st.Get(t.Context(), key)
		require.ErrorIs(t, err, store.ErrNotFound)
		return
	}
	var err error
	require.Eventually(t, func() bool {
		_, err = st.Get(t.Context(), key)
		return err != nil
	}, patience, 5*time.Millisecond)
	require.ErrorIs(t, err, store.ErrNotFound)
}

// letPass lets shortTTL pass by awaiting a witness that expires with it.
func (s *suite) letPass(t *testing.T, st store.Store, witness string) {
	t.Helper()
	require.NoError(t, st.Set(t.Context(), witness, []byte("w"), shortTTL))
	s.awaitGone(t, st, witness, shortTTL+time.Millisecond)
}

func (s *suite) missing(t *testing.T) {
	st, p := s.open(t)
	_, err := st.Get(t.Context(), p+"nothing")
	require.ErrorIs(t, err, store.ErrNotFound)
}

func (s *suite) binary(t *testing.T) {
	st, p := s.open(t)
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	for _, b := range [][]byte{all, {0}, {0, 0}, []byte("a\x00b"), []byte("a\x00c"), []byte("\r\n"), {0xff, 0xfe}} {
		require.NoError(t, st.Set(t.Context(), p+string(b), b, 0))
	}
	for _, b := range [][]byte{all, {0}, {0, 0}, []byte("a\x00b"), []byte("a\x00c"), []byte("\r\n"), {0xff, 0xfe}} {
		got, err := st.Get(t.Context(), p+string(b))
		require.NoError(t, err)
		require.Equal(t, b, got)
	}
	_, err := st.Get(t.Context(), p+"a")
	require.ErrorIs(t, err, store.ErrNotFound, "a key must not end at NUL")
}

func (s *suite) empty(t *testing.T) {
	st, p := s.open(t)
	for i, v := range [][]byte{{}, nil} {
		key := fmt.Sprintf("%s%d", p, i)
		require.NoError(t, st.Set(t.Context(), key, v, 0))
		got, err := st.Get(t.Context(), key)
		require.NoError(t, err)
		require.NotNil(t, got)
		require.Empty(t, got)
	}
}

func (s *suite) overwrite(t *testing.T) {
	st, p := s.open(t)
	for _, v := range []string{"first", "", "a longer third one", "4"} {
		require.NoError(t, st.Set(t.Context(), p+"k", []byte(v), 0))
		got, err := st.Get(t.Context(), p+"k")
		require.NoError(t, err)
		require.Equal(t, v, string(got))
	}
}

func (s *suite) expiry(t *testing.T) {
	st, p := s.open(t)
	require.NoError(t, st.Set(t.Context(), p+"long", []byte("v"), time.Hour))
	require.NoError(t, st.Set(t.Context(), p+"short", []byte("v"), shortTTL))
	s.awaitGone(t, st, p+"short", shortTTL+time.Millisecond)
	_, err := st.Get(t.Context(), p+"long")
	require.NoError(t, err)
}

func (s *suite) tinyTTL(t *testing.T) {
	st, p := s.open(t)
	require.NoError(t, st.Set(t.Context(), p+"k", []byte("v"), time.Nanosecond))
	s.awaitGone(t, st, p+"k", 2*time.Millisecond)
}

func (s *suite) noExpiry(t *testing.T) {
	st, p := s.open(t)
	for i, ttl := range []time.Duration{0, -1, -2, -time.Hour} {
		require.NoError(t, st.Set(t.Context(), fmt.Sprintf("%s%d", p, i), []byte("v"), ttl))
	}
	// A negative ttl must not mean "keep the one there is" either.
	require.NoError(t, st.Set(t.Context(), p+"kept", []byte("v"), shortTTL))
	require.NoError(t, st.Set(t.Context(), p+"kept", []byte("v"), -1))
	s.letPass(t, st, p+"witness")
	for _, key := range []string{"0", "1", "2", "3", "kept"} {
		_, err := st.Get(t.Context(), p+key)
		require.NoError(t, err)
	}
}

func (s *suite) longTTL(t *testing.T) {
	st, p := s.open(t)
	for i, ttl := range []time.Duration{100 * 365 * 24 * time.Hour, 1<<63 - 1, 1500*time.Millisecond + time.Hour} {
		key := fmt.Sprintf("%s%d", p, i)
		require.NoError(t, st.Set(t.Context(), key, []byte("v"), ttl))
		_, err := st.Get(t.Context(), key)
		require.NoError(t, err)
	}
}

func (s *suite) overwriteTTL(t *testing.T) {
	st, p := s.open(t)
	require.NoError(t, st.Set(t.Context(), p+"k", []byte("1"), shortTTL))
	require.NoError(t, st.Set(t.Context(), p+"k", []byte("2"), 0))
	s.letPass(t, st, p+"witness")
	got, err := st.Get(t.Context(), p+"k")
	require.NoError(t, err)
	require.Equal(t, "2", string(got))
}

func (s *suite) renewTTL(t *testing.T) {
	st, p := s.open(t)
	require.NoError(t, st.Set(t.Context(), p+"longer", []byte("1"), shortTTL))
	require.NoError(t, st.Set(t.Context(), p+"longer", []byte("2"), time.Hour))
	require.NoError(t, st.Set(t.Context(), p+"shorter", []byte("1"), time.Hour))
	require.NoError(t, st.Set(t.Context(), p+"shorter", []byte("2"), shortTTL))
	s.awaitGone(t, st, p+"shorter", shortTTL+time.Millisecond)
	_, err := st.Get(t.Context(), p+"longer")
	require.NoError(t, err)
}

func (s *suite) remove(t *testing.T) {
	st, p := s.open(t)
	require.NoError(t, st.Delete(t.Context(), p+"k"))
	require.NoError(t, st.Set(t.Context(), p+"k", []byte("v"), time.Hour))
	require.NoError(t, st.Delete(t.Context(), p+"k"))
	_, err := st.Get(t.Context(), p+"k")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, st.Delete(t.Context(), p+"k"))
}

func (s *suite) large(t *testing.T) {
	st, p := s.open(t)
	for _, n := range []int{1 << 20, 5<<20 + 1} {
		v := bytes.Repeat([]byte{0, 1, 2, 0xff}, n/4+1)[:n]
		require.NoError(t, st.Set(t.Context(), p+"k", v, time.Minute))
		got, err := st.Get(t.Context(), p+"k")
		require.NoError(t, err)
		require.True(t, bytes.Equal(v, got), "the value of %d bytes has changed", n)
	}
}

func (s *suite) copies(t *testing.T) {
	st, p := s.open(t)
	v := []byte("value")
	require.NoError(t, st.Set(t.Context(), p+"k", v, 0))
	copy(v, "XXXXX")
	got, err := st.Get(t.Context(), p+"k")
	require.NoError(t, err)
	require.Equal(t, "value", string(got))
	copy(got, "YYYYY")
	got, err = st.Get(t.Context(), p+"k")
	require.NoError(t, err)
	require.Equal(t, "value", string(got))
}

func (s *suite) cancelled(t *testing.T) {
	st, p := s.open(t)
	require.NoError(t, st.Set(t.Context(), p+"k", []byte("v"), 0))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancelLate := context.WithDeadline(t.Context(), time.Unix(1, 0))
	defer cancelLate()
	for _, c := range []struct {
		ctx  context.Context
		want error
	}{{ended, context.Canceled}, {late, context.DeadlineExceeded}} {
		_, err := st.Get(c.ctx, p+"k")
		require.ErrorIs(t, err, c.want)
		require.ErrorIs(t, st.Set(c.ctx, p+"k", []byte("2"), 0), c.want)
		require.ErrorIs(t, st.Delete(c.ctx, p+"k"), c.want)
		require.ErrorIs(t, st.Ping(c.ctx), c.want)
	}
	got, err := st.Get(t.Context(), p+"k")
	require.NoError(t, err)
	require.Equal(t, "v", string(got), "a refused call must change nothing")
}

func (s *suite) parallel(t *testing.T) {
	st, p := s.open(t)
	const callers, rounds = 32, 25
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() { errs[c] = exercise(t.Context(), st, p, c, rounds) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// exercise writes and reads a key of its own and one that all callers share, of
// which each value read must be whole.
func exercise(ctx context.Context, st store.Store, prefix string, caller, rounds int) error {
	own, shared := fmt.Sprintf("%sown-%d", prefix, caller), prefix+"shared"
	for r := range rounds {
		want := fmt.Appendf(nil, "%d/%d", caller, r)
		if err := st.Set(ctx, own, want, time.Minute); err != nil {
			return err
		}
		if err := st.Set(ctx, shared, bytes.Repeat([]byte{byte(caller)}, 64), time.Minute); err != nil {
			return err
		}
		got, err := st.Get(ctx, own)
		if err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("own key: got %q, want %q", got, want)
		}
		got, err = st.Get(ctx, shared)
		if err != nil {
			return err
		}
		if len(got) != 64 || !bytes.Equal(got, bytes.Repeat(got[:1], 64)) {
			return fmt.Errorf("shared key: torn value %x", got)
		}
	}
	return st.Delete(ctx, own)
}

func (s *suite) closed(t *testing.T) {
	st := s.newStore(t)
	require.NoError(t, st.Set(t.Context(), "test:closed", []byte("v"), time.Minute))
	require.NoError(t, st.Close())
	_, err := st.Get(t.Context(), "test:closed")
	require.ErrorIs(t, err, store.ErrClosed)
	require.ErrorIs(t, st.Set(t.Context(), "test:closed", []byte("v"), 0), store.ErrClosed)
	require.ErrorIs(t, st.Delete(t.Context(), "test:closed"), store.ErrClosed)
	require.ErrorIs(t, st.Ping(t.Context()), store.ErrClosed)
	require.NoError(t, st.Close(), "a second Close does nothing")
}

func (s *suite) secrecy(t *testing.T) {
	st, _ := s.open(t)
	const secret = "t0ken-that-must-not-leak"
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, missing := st.Get(t.Context(), "session:"+secret)
	_, get := st.Get(ended, "session:"+secret)
	set := st.Set(ended, "session:"+secret, []byte(secret), 0)
	for _, err := range []error{missing, get, set, st.Delete(ended, "session:"+secret)} {
		require.Error(t, err)
		require.NotContains(t, err.Error(), secret)
		require.Contains(t, err.Error(), "session:", "the prefix says what the key is for")
	}
}
