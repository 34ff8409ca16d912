package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/krait-gateway/krait/apidef"
)

// Read judges an answer of a provider as if it had come over the network.
func Read(ctx context.Context, p apidef.OAuthProvider, status int, contentType string, body []byte) (*Grant, error) {
	i := &introspection{config: p.Introspection, accept: apidef.AcceptJSON, now: time.Now}
	if p.Introspection.PhantomToken {
		i.accept = apidef.AcceptJWT
	}
	o, err := i.read(ctx, answer{status: status, media: mediaType(contentType), body: body})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return i.judge(o)
}

// ParseKeys returns how many keys of a JWKS are usable.
func ParseKeys(data []byte) (int, error) {
	keys, err := parseKeys(data)
	return len(keys), err
}

// OpenEntry reads a value of the store about token.
func OpenEntry(p apidef.OAuthProvider, token string, value []byte) error {
	c, err := newCache(&Config{}, p.Introspection, 0)
	if err != nil {
		return errors.Join(errors.New("no cache"), err)
	}
	_, err = c.open(c.key(token), token, value)
	return err
}
