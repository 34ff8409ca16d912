package tests_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// introspectionsOf returns how many introspections work causes.
func (s *identityServer) introspectionsOf(work func()) int {
	before := s.introspections()
	work()
	return s.introspections() - before
}

// testCaching proves that the API at path asks the identity server about a token
// once and keeps the outcome until the token's exp, and the API at brief for a
// second.
func (s *identityServer) testCaching(t *testing.T, g *gateway, path, brief string) {
	t.Helper()
	t.Run("many requests with one token cost one introspection", func(t *testing.T) {
		token := s.token("app", "")
		require.Equal(t, 1, s.introspectionsOf(func() {
			for range manyRequests {
				require.Equal(t, http.StatusOK, g.get(path, bearer(token)...).status)
			}
		}))
	})
	t.Run("many first requests at once cost one introspection", func(t *testing.T) {
		token := s.token("app", "")
		require.Equal(t, 1, s.introspectionsOf(func() {
			require.Equal(t, map[int]int{http.StatusOK: manyRequests}, g.atOnce(path, token))
		}))
	})
	t.Run("when a token expires it is asked for once more and refused", func(t *testing.T) {
		token := s.token("short", "")
		issued := time.Now()
		require.Equal(t, 2, s.introspectionsOf(func() {
			require.Equal(t, http.StatusOK, g.get(path, bearer(token)...).status)
			g.awaitStatus(http.StatusUnauthorized, path, token)
			// The server counts whole seconds.
			require.Greater(t, time.Since(issued), shortLife-1100*time.Millisecond)
			require.Equal(t, http.StatusUnauthorized, g.get(path, bearer(token)...).status)
		}))
	})
	t.Run("a revoked token is refused when the cache time is over", func(t *testing.T) {
		token := s.token("app", "")
		require.Equal(t, 2, s.introspectionsOf(func() {
			require.Equal(t, http.StatusOK, g.get(brief, bearer(token)...).status)
			s.revoke("app", token)
			revoked := time.Now()
			g.awaitStatus(http.StatusUnauthorized, brief, token)
			require.Less(t, time.Since(revoked), 5*time.Second)
		}))
	})
}
