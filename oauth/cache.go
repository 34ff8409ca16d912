package oauth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/store"
)

const (
	// cachePrefix begins the keys of outcomes in the store.
	cachePrefix = "oauth:"
	// inactiveTime is how long a refusal is kept at most: a token may become
	// valid.
	inactiveTime = 5 * time.Second
	// longestTime bounds the rest: some providers say "for ever" with absurd
	// numbers.
	longestTime = 365 * 24 * time.Hour
	// storeTimeout bounds one access to the store. Asking the provider takes
	// about as long.
	storeTimeout = 2 * time.Second
	// entryVersion begins each entry.
	entryVersion = 1
)

// cache keeps outcomes in a store. A nil cache keeps nothing.
type cache struct {
	store   store.Store
	trouble func(error)
	now     func() time.Time
	// provider tells the outcomes of this provider, asked in this way, from
	// others.
	provider [sha256.Size]byte
	secret   []byte
	timeout  time.Duration // 0: until the token expires
}

func newCache(config *Config, in apidef.OAuthIntrospection, timeout time.Duration) (*cache, error) {
	secret := []byte(in.ClientSecret)
	in.IdentityBaseField = ""         // changes nothing about what is kept
	provider, err := json.Marshal(in) //nolint:gosec // only its hash is used
	if err != nil {
		return nil, fmt.Errorf("name the provider in the cache: %w", err)
	}
	return &cache{
		store: config.Store, trouble: config.Trouble, now: config.Now,
		provider: sha256.Sum256(provider), secret: secret, timeout: timeout,
	}, nil
}

// get returns what is known about token. Trouble with the store, or with what it
// holds, means that nothing is.
func (c *cache) get(ctx context.Context, token string) (*outcome, bool) {
	if c == nil {
		return nil, false
	}
	key := c.key(token)
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	sealed, err := c.store.Get(ctx, key)
	if err != nil {
		if !errors.Is(err, store.ErrNotFound) && !errors.Is(err, context.Canceled) {
			c.trouble(fmt.Errorf("outcomes of token checks cannot be read from the store, the identity provider is asked each time: %w", err))
		}
		return nil, false
	}
	e, err := c.open(key, token, sealed)
	if err != nil {
		c.trouble(fmt.Errorf("an outcome of a token check in the store is damaged, it is not used: %w", err))
		return nil, false
	}
	if unixSeconds(c.now()) >= e.Until {
		return nil, false
	}
	return e.outcome(), true
}

// put keeps o for as long as it may be kept.
func (c *cache) put(ctx context.Context, token string, o *outcome) {
	if c == nil {
		return
	}
	now := c.now()
	ttl := c.lifetime(o, now)
	if ttl <= 0 {
		return
	}
	key := c.key(token)
	sealed, err := c.seal(key, token, newEntry(o, now.Add(ttl)))
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		err = c.store.Set(ctx, key, sealed, ttl)
	}
	if err != nil {
		c.trouble(fmt.Errorf("an outcome of a token check cannot be kept in the store: %w", err))
	}
}

// lifetime is contract section 9's rule: as configured, but never beyond the
// token's exp; refusals briefly.
func (c *cache) lifetime(o *outcome, now time.Time) time.Duration {
	left := o.expires - unixSeconds(now)
	var ttl time.Duration
	switch {
	case !o.active || left <= 0:
		ttl = inactiveTime
	case !math.IsInf(o.expires, 1):
		ttl = time.Duration(math.Min(left, longestTime.Seconds()) * float64(time.Second))
	default:
		return min(c.timeout, longestTime) // 0 without exp: not kept
	}
	if c.timeout > 0 {
		ttl = min(ttl, c.timeout)
	}
	return ttl
}

// key is the same for all gateways with the same settings.
func (c *cache) key(token string) string {
	sum := sha256.New()
	sum.Write(c.provider[:])
	sum.Write([]byte(token))
	return cachePrefix + hex.EncodeToString(sum.Sum(nil))
}

// cipher encrypts entries about token. Its key cannot be made without the client
// secret and the token, of which the store has neither.
func (c *cache) cipher(token string) (cipher.AEAD, error) {
	mac := hmac.New(sha256.New, c.secret)
	mac.Write([]byte("krait: outcomes of token checks\x00"))
	mac.Write(c.provider[:])
	mac.Write([]byte(token))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (c *cache) seal(key, token string, e *entry) ([]byte, error) {
	plain, err := json.Marshal(e) //nolint:gosec // it is encrypted below
	if err != nil {
		return nil, err
	}
	aead, err := c.cipher(token)
	if err != nil {
		return nil, err
	}
	return aead.Seal([]byte{entryVersion}, nil, plain, []byte(key)), nil //nolint:gosec // it makes a random nonce itself
}

func (c *cache) open(key, token string, sealed []byte) (*entry, error) {
	if len(sealed) == 0 || sealed[0] != entryVersion {
		return nil, errors.New("its format is not known")
	}
	aead, err := c.cipher(token)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed[1:], []byte(key))
	if err != nil {
		return nil, err
	}
	return decodeEntry(plain)
}
