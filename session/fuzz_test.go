package session_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store/memory"
)

func FuzzStoredValue(f *testing.F) {
	st, err := memory.New(memory.Options{})
	require.NoError(f, err)
	defer func() { require.NoError(f, st.Close()) }()
	s := session.NewStore(st)
	require.NoError(f, s.Put(f.Context(), "seed", full(), 0))
	seed, err := st.Get(f.Context(), keyOf("seed"))
	require.NoError(f, err)
	for _, v := range [][]byte{seed, seed[:5], {}, {1, 0, 0, 0, 0}, {2}} {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		require.NoError(t, st.Set(t.Context(), keyOf("id"), value, 0))
		state, err := s.Get(t.Context(), "id")
		if err != nil {
			require.ErrorIs(t, err, session.ErrCorrupt)
			require.Nil(t, state)
			return
		}
		require.NoError(t, s.Put(t.Context(), "id", state, 0))
	})
}
