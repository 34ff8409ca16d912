package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"golang.org/x/time/rate"
)

const (
	// keysFresh is how long fetched keys are used without asking again: a key
	// that the provider withdraws is trusted that long.
	keysFresh = 5 * time.Minute
	// keysUsable is how long they are used while the provider is away.
	keysUsable = 6 * time.Hour
	// fetchInterval and fetchBurst limit how often keys are fetched, whatever
	// keys tokens name.
	fetchInterval = 10 * time.Second
	fetchBurst    = 2

	minRSABits = 2048 // RFC 7518 section 3.3
	maxRSABits = 16384
)

// keySet is the JWKS of a provider (RFC 7517), fetched when it is needed.
type keySet struct {
	url     string
	client  *client
	work    *flights
	trouble func(error)
	now     func() time.Time
	limit   *rate.Limiter

	mu      sync.Mutex
	keys    []publicKey
	fetched time.Time // when keys were; zero: never
	fault   error     // of the last attempt
}

// publicKey is one key of a JWKS. alg is "" when it is for any algorithm of its
// kind.
type publicKey struct {
	id, alg string
	key     crypto.PublicKey
}

func newKeySet(url string, c *Checker, config *Config) *keySet {
	return &keySet{
		url: url, client: c.client, work: c.work, trouble: config.Trouble, now: config.Now,
		limit: rate.NewLimiter(rate.Every(fetchInterval), fetchBurst),
	}
}

// find returns the key with that id for tokens of the algorithm alg. id is "" for
// a token that names none: then there has to be just one.
func (s *keySet) find(ctx context.Context, id, alg string) (crypto.PublicKey, error) {
	key, age := s.known(id, alg)
	if key != nil && age < keysUsable {
		if age >= keysFresh {
			// Nobody waits for this.
			s.work.start(ctx, flightKeys, func(ctx context.Context) (any, error) { return s.refresh(ctx) })
		}
		return key, nil
	}
	if _, err := share(ctx, s.work, flightKeys, s.refresh); err != nil {
		return nil, err
	}
	if key, age = s.known(id, alg); key == nil || age >= keysUsable {
		return nil, fmt.Errorf("%w: the identity provider has no such key", ErrInvalid)
	}
	return key, nil
}

// known looks the key up in what was fetched, and says how long ago that was.
func (s *keySet) known(id, alg string) (key crypto.PublicKey, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if (id != "" && k.id != id) || (k.alg != "" && k.alg != alg) || !fits(k.key, alg) {
			continue
		}
		if key != nil {
			return nil, 0 // which one is meant would be left to chance
		}
		key = k.key
	}
	return key, s.now().Sub(s.fetched)
}

// refresh fetches the keys, unless that was done just now. The error is that of
// the last attempt.
func (s *keySet) refresh(ctx context.Context) (done struct{}, err error) {
	if !s.limit.AllowN(s.now(), 1) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return done, s.fault
	}
	keys, err := s.fetch(ctx)
	s.mu.Lock()
	s.fault = err
	if err == nil {
		s.keys, s.fetched = keys, s.now()
	}
	inUse := len(s.keys) > 0
	s.mu.Unlock()
	if err != nil && inUse {
		s.trouble(fmt.Errorf("the keys that were fetched before stay in use, for %s at most: %w", keysUsable, err))
	}
	return done, err
}

func (s *keySet) fetch(ctx context.Context) ([]publicKey, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	got, err := s.client.do(r)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		return nil, unavailable(r, fmt.Errorf("status %d for its keys", got.status))
	}
	keys, err := parseKeys(got.body)
	if err != nil {
		return nil, unavailable(r, err)
	}
	return keys, nil
}

// parseKeys returns the keys of a JWKS that can verify signatures here. Others
// are left out (RFC 7517 section 5); a set without any is an error.
func parseKeys(data []byte) ([]publicKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(data, &set) != nil {
		return nil, errors.New("its keys are no JWKS")
	}
	var keys []publicKey
	for _, raw := range set.Keys {
		// Without Private, secret parts are ignored and secrets refused.
		jwk, err := jwkset.NewJWKFromRawJSON(raw, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue
		}
		m := jwk.Marshal()
		signs := (m.USE == "" || m.USE == jwkset.UseSig) &&
			(len(m.KEYOPS) == 0 || slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify))
		if signs && sound(jwk.Key()) {
			keys = append(keys, publicKey{m.KID, m.ALG.String(), jwk.Key()})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("its JWKS has no key for RSA or ECDSA signatures")
	}
	return keys, nil
}

// sound leaves out RSA keys that are too short to be safe, or so long that
// checking a signature takes long.
func sound(key crypto.PublicKey) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSABits && k.N.BitLen() <= maxRSABits
	case *ecdsa.PublicKey:
		return true
	}
	return false
}
