package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/internal/redisserver"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/store/memory"
	"github.com/krait-gateway/krait/store/redis"
)

func memoryStore(t *testing.T) store.Store {
	t.Helper()
	st, err := memory.New(memory.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

func redisStore(t *testing.T) store.Store {
	t.Helper()
	st, err := redis.New(redis.Options{Addrs: []string{redisserver.Start(t).Addr()}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// keyOf repeats the documented rule on its own.
func keyOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "session:" + hex.EncodeToString(sum[:])
}

func full() *coprocesspb.SessionState {
	return &coprocesspb.SessionState{
		Rate: 10.5, Per: 60, Expires: 4102444800, QuotaMax: 100, QuotaRemaining: 7, OrgId: "org",
		AccessRights: map[string]*coprocesspb.AccessDefinition{"a": {
			ApiId: "a", Versions: []string{"Default"},
			AllowedUrls: []*coprocesspb.AccessSpec{{Url: "/x/.*", Methods: []string{"GET"}}},
		}},
		IsInactive: true, Metadata: map[string]string{"token": "t", "k": "ä\u2028"}, Tags: []string{"x", "y"},
		Monitor: &coprocesspb.Monitor{TriggerLimits: []float64{80, 60}}, IdExtractorDeadline: 5,
	}
}

func TestSessionsComeBackAsTheyWere(t *testing.T) {
	for name, newStore := range map[string]func(*testing.T) store.Store{"memory": memoryStore, "redis": redisStore} {
		t.Run(name, func(t *testing.T) {
			under := newStore(t)
			s := session.NewStore(under)
			for id, want := range map[string]*coprocesspb.SessionState{"token": full(), "a\x00b": {}, "\xff": {OrgId: "o"}} {
				require.NoError(t, s.Put(t.Context(), id, want, time.Hour))
				got, err := s.Get(t.Context(), id)
				require.NoError(t, err)
				require.True(t, proto.Equal(want, got), "got %v", got)
				_, err = under.Get(t.Context(), keyOf(id))
				require.NoError(t, err, "the key is the documented one")
			}
			require.NoError(t, s.Delete(t.Context(), "token"))
			_, err := s.Get(t.Context(), "token")
			require.ErrorIs(t, err, store.ErrNotFound)
			require.NoError(t, s.Delete(t.Context(), "token"))
		})
	}
}

func TestSessionEndsWithItsLifeTime(t *testing.T) {
	s := session.NewStore(redisStore(t))
	require.NoError(t, s.Put(t.Context(), "id", full(), 50*time.Millisecond))
	require.Eventually(t, func() bool {
		_, err := s.Get(t.Context(), "id")
		return errors.Is(err, store.ErrNotFound)
	}, 5*time.Second, 5*time.Millisecond)
}

func TestGetReturnsAMessageOfItsOwn(t *testing.T) {
	s := session.NewStore(memoryStore(t))
	state := full()
	require.NoError(t, s.Put(t.Context(), "id", state, 0))
	state.Metadata["k"] = "changed"
	first, err := s.Get(t.Context(), "id")
	require.NoError(t, err)
	first.Metadata["k"] = "changed too"
	second, err := s.Get(t.Context(), "id")
	require.NoError(t, err)
	require.Equal(t, "ä\u2028", second.GetMetadata()["k"])
}

func TestEmptyIDAndMissingSessionAreRefused(t *testing.T) {
	s := session.NewStore(memoryStore(t))
	_, err := s.Get(t.Context(), "")
	require.ErrorIs(t, err, session.ErrNoID)
	require.ErrorIs(t, s.Put(t.Context(), "", full(), 0), session.ErrNoID)
	require.ErrorIs(t, s.Delete(t.Context(), ""), session.ErrNoID)
	require.ErrorContains(t, s.Put(t.Context(), "id", nil, 0), "no session given")
}

func TestCorruptValuesAreErrors(t *testing.T) {
	under := memoryStore(t)
	s := session.NewStore(under)
	require.NoError(t, s.Put(t.Context(), "id", full(), 0))
	good, err := under.Get(t.Context(), keyOf("id"))
	require.NoError(t, err)
	plain, err := full().MarshalVT()
	require.NoError(t, err)

	cases := map[string][]byte{
		"empty": {}, "no message": good[:4], "another format": append([]byte{2}, good[1:]...),
		"text": []byte(`{"org_id": "x"}`), "without a header": plain,
	}
	for name, value := range cases {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, under.Set(t.Context(), keyOf("id"), value, 0))
			state, err := s.Get(t.Context(), "id")
			require.ErrorIs(t, err, session.ErrCorrupt)
			require.Nil(t, state)
		})
	}
	t.Run("every single cut and every changed byte", func(t *testing.T) {
		for i := range good {
			flipped := append([]byte{}, good...)
			flipped[i] ^= 0x20
			for _, value := range [][]byte{good[:i], flipped} {
				require.NoError(t, under.Set(t.Context(), keyOf("id"), value, 0))
				_, err := s.Get(t.Context(), "id")
				require.ErrorIs(t, err, session.ErrCorrupt, "at %d", i)
			}
		}
	})
}

func TestErrorsDoNotContainTheID(t *testing.T) {
	s := session.NewStore(memoryStore(t))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, missing := s.Get(t.Context(), "s3cr3t")
	_, get := s.Get(ended, "s3cr3t")
	for _, err := range []error{missing, get, s.Put(ended, "s3cr3t", full(), 0), s.Delete(ended, "s3cr3t")} {
		require.Error(t, err)
		require.NotContains(t, err.Error(), "s3cr3t")
		require.Contains(t, err.Error(), session.Label("s3cr3t"))
	}
	require.True(t, strings.HasPrefix(keyOf("s3cr3t"), "session:"+session.Label("s3cr3t")))
}
