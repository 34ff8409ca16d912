package oauth_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/oauth"
	"github.com/krait-gateway/krait/store"
)

// cached turns the cache on.
func cached(seconds int64) func(*apidef.OAuthIntrospection) {
	return func(i *apidef.OAuthIntrospection) { i.Cache = &apidef.OAuthCache{Enabled: true, Timeout: seconds} }
}

// spy is a store that shows what is in it, and can fail.
type spy struct {
	mu     sync.Mutex
	values map[string][]byte
	ttls   map[string]time.Duration
	fault  error
}

func newSpy() *spy { return &spy{values: map[string][]byte{}, ttls: map[string]time.Duration{}} }

func (s *spy) Get(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return nil, s.fault
	}
	value, ok := s.values[key]
	if !ok {
		return nil, store.ErrNotFound
	}
	return append([]byte{}, value...), nil
}

func (s *spy) Set(_ context.Context, key string, value []byte, ttl time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fault != nil {
		return s.fault
	}
	s.values[key], s.ttls[key] = append([]byte{}, value...), ttl
	return nil
}

func (s *spy) Delete(context.Context, string) error { return nil }
func (s *spy) Ping(context.Context) error           { return nil }
func (s *spy) Close() error                         { return nil }

// only returns the one entry of the store.
func (s *spy) only(t *testing.T) (key string, value []byte, ttl time.Duration) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Len(t, s.values, 1)
	for key = range s.values {
		return key, s.values[key], s.ttls[key]
	}
	return "", nil, 0
}

func TestOneIntrospectionServesAThousandRequests(t *testing.T) {
	for name, timeout := range map[string]int64{"until the token expires": 0, "for a minute": 60} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t, object(members{"active": true, "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}))
			f := newChecker(t, asking(p.URL, cached(timeout)), newStore(t))
			for range 1000 {
				require.Equal(t, "alice", f.who(opaque))
			}
			require.EqualValues(t, 1, p.hits.Load())
		})
	}
}

func TestOneIntrospectionServesAThousandFirstRequestsAtOnce(t *testing.T) {
	p := newIDP(t, object(members{"active": true, "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}))
	f := newChecker(t, asking(p.URL, cached(0)), newStore(t))
	begin, results := make(chan struct{}), make(chan error, 1000)
	for range 1000 {
		go func() {
			<-begin
			_, err := f.Check(context.Background(), opaque)
			results <- err
		}()
	}
	close(begin)
	for range 1000 {
		require.NoError(t, <-results)
	}
	require.EqualValues(t, 1, p.hits.Load())
}

func TestAfterExpiryThereIsExactlyOneMoreIntrospection(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after members
		want  error
	}{
		{"provider says that it is inactive", members{"active": false}, oauth.ErrInactive},
		{"provider forgets to", members{"active": true, "sub": "alice", "exp": time.Now().Add(time.Minute).Unix()}, oauth.ErrExpired},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newIDP(t, object(members{"active": true, "sub": "alice", "exp": time.Now().Add(time.Minute).Unix()}))
			f := newChecker(t, asking(p.URL, cached(3600)), newStore(t))
			require.Equal(t, "alice", f.who(opaque))
			f.clock.advance(58 * time.Second)
			require.Equal(t, "alice", f.who(opaque))
			require.EqualValues(t, 1, p.hits.Load())

			p.answer(object(tc.after))
			f.clock.advance(3 * time.Second)
			for range 100 {
				f.refused(opaque, tc.want)
			}
			require.EqualValues(t, 2, p.hits.Load())
		})
	}
}

func TestRevokedTokenIsRefusedWithinTheCacheTime(t *testing.T) {
	p := newIDP(t, object(members{"active": true, "sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}))
	f := newChecker(t, asking(p.URL, cached(10)), newStore(t))
	require.Equal(t, "alice", f.who(opaque))
	p.answer(object(members{"active": false}))
	f.clock.advance(9 * time.Second)
	require.Equal(t, "alice", f.who(opaque))
	f.clock.advance(2 * time.Second)
	f.refused(opaque, oauth.ErrInactive)
}

func TestInactiveIsKeptBriefly(t *testing.T) {
	p := newIDP(t, object(members{"active": false}))
	f := newChecker(t, asking(p.URL, cached(3600)), newStore(t))
	for range 100 {
		f.refused(opaque, oauth.ErrInactive)
	}
	require.EqualValues(t, 1, p.hits.Load())
	p.answer(object(members{"active": true, "sub": "alice"}))
	f.clock.advance(5 * time.Second)
	require.Equal(t, "alice", f.who(opaque))
}

func TestCacheTimes(t *testing.T) {
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for _, tc := range []struct {
		name    string
		timeout int64
		answer  members
		least   time.Duration
		most    time.Duration // 0: not kept
	}{
		{"until exp", 0, members{"active": true, "exp": in(time.Hour)}, 59 * time.Minute, time.Hour},
		{"timeout", 60, members{"active": true, "exp": in(time.Hour)}, time.Minute, time.Minute},
		{"never beyond exp", 3600, members{"active": true, "exp": in(time.Minute)}, 50 * time.Second, time.Minute},
		{"timeout without exp", 60, members{"active": true}, time.Minute, time.Minute},
		{"neither", 0, members{"active": true}, 0, 0},
		{"inactive", 0, members{"active": false}, 5 * time.Second, 5 * time.Second},
		{"inactive, shorter timeout", 2, members{"active": false}, 2 * time.Second, 2 * time.Second},
		{"absurd exp", 0, members{"active": true, "exp": 1e300}, 365 * 24 * time.Hour, 365 * 24 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			kept := newSpy()
			answer := maps.Clone(tc.answer)
			answer["sub"] = "alice"
			p := newIDP(t, object(answer))
			_, _ = newChecker(t, asking(p.URL, cached(tc.timeout)), kept).Check(t.Context(), opaque)
			if tc.most == 0 {
				require.Empty(t, kept.values)
				return
			}
			_, _, ttl := kept.only(t)
			require.GreaterOrEqual(t, ttl, tc.least)
			require.LessOrEqual(t, ttl, tc.most)
		})
	}
}

func TestWithoutCacheEveryRequestIsAsked(t *testing.T) {
	kept := newSpy()
	p := newIDP(t, object(members{"active": true, "sub": "alice"}))
	f := newChecker(t, asking(p.URL), kept)
	for range 3 {
		f.who(opaque)
	}
	require.EqualValues(t, 3, p.hits.Load())
	require.Empty(t, kept.values)
}

func TestPhantomTokensAreKeptUntilTheyExpire(t *testing.T) {
	token := sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "alice", "exp": time.Now().Add(time.Minute).Unix()}, nil)
	p := newIDP(t, text("application/jwt", token))
	f := newChecker(t, phantom(p.URL), newStore(t))
	for range 1000 {
		grant, err := f.Check(t.Context(), opaque)
		require.NoError(t, err)
		require.Equal(t, token, grant.JWT)
	}
	require.EqualValues(t, 1, p.hits.Load())
	f.clock.advance(time.Minute)
	f.refused(opaque, oauth.ErrExpired)
	require.EqualValues(t, 2, p.hits.Load())
}

func TestStoreLearnsNothing(t *testing.T) {
	kept := newSpy()
	phantomToken := sign(jwt.SigningMethodRS256, rsaOne(), members{"sub": "alice@example.com", "exp": time.Now().Add(time.Hour).Unix()}, nil)
	p := newIDP(t, text("application/jwt", phantomToken))
	newChecker(t, phantom(p.URL), kept).who(opaque)
	key, value, _ := kept.only(t)
	require.Regexp(t, `^oauth:[0-9a-f]{64}$`, key)
	for _, hidden := range []string{opaque, "alice", "hunter2", phantomToken, "active"} {
		require.NotContains(t, key+string(value), hidden)
	}
}

func TestGatewaysWithTheSameProviderShareOutcomes(t *testing.T) {
	shared := newStore(t)
	p := newIDP(t, object(members{"active": true, "sub": "alice", "email": "a@example.com"}))
	first, second := newChecker(t, asking(p.URL, cached(60)), shared), newChecker(t, asking(p.URL, cached(60)), shared)
	require.Equal(t, "alice", first.who(opaque))
	require.Equal(t, "alice", second.who(opaque))
	require.EqualValues(t, 1, p.hits.Load())
	for name, change := range map[string]func(*apidef.OAuthIntrospection){
		"other client":        func(i *apidef.OAuthIntrospection) { i.ClientID = "other" },
		"shorter cache":       cached(1),
		"other secret":        func(i *apidef.OAuthIntrospection) { i.ClientSecret = "other" },
		"other endpoint":      func(i *apidef.OAuthIntrospection) { i.URL += "/other" },
		"verified connection": func(i *apidef.OAuthIntrospection) { i.TLS.InsecureSkipVerify = true },
	} {
		t.Run(name, func(t *testing.T) {
			before := p.hits.Load()
			newChecker(t, asking(p.URL, cached(60), change), shared).who(opaque)
			require.Equal(t, before+1, p.hits.Load())
		})
	}
}

func TestDamagedAndForgedEntriesAreNotUsed(t *testing.T) {
	active := object(members{"active": true, "sub": "mallory", "exp": time.Now().Add(time.Hour).Unix()})
	p := newIDP(t, active)
	kept := newSpy()
	newChecker(t, asking(p.URL, cached(60)), kept).who(opaque)
	key, good, _ := kept.only(t)

	// What Mallory's own token earned, under the key of another one.
	other := newSpy()
	newChecker(t, asking(p.URL, cached(60)), other).who("mallorys-own-token")
	_, foreign, _ := other.only(t)

	p.answer(object(members{"active": false}))
	flipped := append([]byte{}, good...)
	flipped[len(flipped)/2] ^= 1
	for name, value := range map[string][]byte{
		"flipped bit": flipped, "cut off": good[:len(good)-1], "empty": {}, "version only": {1}, "other version": append([]byte{9}, good[1:]...),
		"plain JSON": []byte(`{"active":true,"claims":{"sub":"mallory"}}`), "of another token": foreign,
	} {
		t.Run(name, func(t *testing.T) {
			forged := newSpy()
			forged.values[key] = value
			f := newChecker(t, asking(p.URL, cached(60)), forged)
			f.refused(opaque, oauth.ErrInactive)
			require.Len(t, f.trouble(), 2, "it is said, not passed over")
			require.Contains(t, f.trouble()[0], "damaged")
			require.NotContains(t, strings.Join(f.trouble(), " "), opaque)
			f.refused(opaque, oauth.ErrInactive)
			require.Len(t, f.trouble(), 2, "the entry was replaced")
		})
	}
}

func TestStoreThatIsDownCostsTheCacheOnly(t *testing.T) {
	kept := newSpy()
	kept.fault = errors.New("connection refused")
	p := newIDP(t, object(members{"active": true, "sub": "alice"}))
	f := newChecker(t, asking(p.URL, cached(60)), kept)
	for range 3 {
		require.Equal(t, "alice", f.who(opaque))
	}
	require.EqualValues(t, 3, p.hits.Load())
	require.Contains(t, f.trouble()[0], "connection refused")
}
