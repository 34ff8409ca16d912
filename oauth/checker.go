package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/store"
)

// maxToken is the longest token that is looked at, in bytes. The usual limits on
// whole request headers are of that order.
const maxToken = 32 << 10

// Config is what a [Checker] needs.
type Config struct {
	// Provider is the provider as it is configured. It has passed
	// [apidef.API.Validate].
	Provider apidef.OAuthProvider
	// Store keeps outcomes of introspection.
	Store store.Store
	// Trouble, when not nil, is told what goes wrong without a request failing
	// for it. It must be safe for concurrent use and must not block.
	Trouble func(error)
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Grant is what is known about the caller of a token that is valid.
type Grant struct {
	// Identity says who calls. It is not empty and has no control characters.
	Identity string
	// Claims are the claims of the JWT, or the members of the introspection
	// answer, with numbers as json.Number. They are shared: do not change them.
	Claims map[string]any
	// JWT is what the upstream gets in place of the token; "" means that it
	// gets the token itself. It has no characters but those of a JWT.
	JWT string
}

// Checker checks tokens of one provider. Make one with [New].
type Checker struct {
	check  func(ctx context.Context, token string) (*Grant, error)
	client *client
	work   *flights
}

// New returns a Checker for c.Provider. It sends nothing: keys are fetched when
// the first token needs them. The errors name the setting at fault.
func New(c Config) (*Checker, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Trouble == nil {
		c.Trouble = func(error) {}
	}
	checker := &Checker{work: newFlights()}
	var err error
	switch p := &c.Provider; {
	case p.JWT.Enabled:
		err = checker.useJWT(&c)
	case p.Introspection.Enabled:
		err = checker.useIntrospection(&c)
	default:
		err = errors.New("providers[0] enables neither jwt nor introspection")
	}
	if err != nil {
		return nil, fmt.Errorf("external_oauth: %w", err)
	}
	return checker, nil
}

// Check says whose the token is. The errors are those of this package, or that
// of ctx when it ended first.
func (c *Checker) Check(ctx context.Context, token string) (*Grant, error) {
	if err := wellFormed(token); err != nil {
		return nil, err
	}
	return c.check(ctx, token)
}

// Close ends what runs in the background and waits for it. A second Close does
// nothing.
func (c *Checker) Close() {
	c.work.close()
	c.client.close()
}

// wellFormed refuses what cannot be a token (RFC 6750 section 2.1): it would be
// sent to the provider, and perhaps be put into a header.
func wellFormed(token string) error {
	if token == "" {
		return fmt.Errorf("%w: it is empty", ErrInvalid)
	}
	if len(token) > maxToken {
		return fmt.Errorf("%w: it is longer than %d bytes", ErrInvalid, maxToken)
	}
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return fmt.Errorf("%w: it has characters that no token has", ErrInvalid)
		}
	}
	return nil
}
