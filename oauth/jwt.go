package oauth

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/krait-gateway/krait/apidef"
)

// typeIntrospection is the typ of a signed introspection answer. One of those is
// no access token, although the same key signs both (RFC 9701 section 8.1).
const typeIntrospection = "token-introspection+jwt"

// jwtCheck checks tokens by their signature.
type jwtCheck struct {
	config   apidef.OAuthJWT
	verifier *verifier
	now      func() time.Time
}

func (c *Checker) useJWT(config *Config) error {
	j := config.Provider.JWT
	key, err := j.Key()
	if err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	if c.client, err = newClient(clientConfig{tls: j.TLS, seconds: j.RequestTimeout}); err != nil {
		return fmt.Errorf("jwt: %w", err)
	}
	var find keyFinder
	switch {
	case key.JWKS != nil:
		find = newKeySet(key.JWKS.String(), c, config).find
	case key.Secret != nil:
		find = fixedKey(key.Secret)
	default:
		find = fixedKey(key.Public)
	}
	check := &jwtCheck{config: j, verifier: newVerifier(algorithms(j.SigningMethod), find), now: config.Now}
	c.check = check.check
	return nil
}

func (j *jwtCheck) check(ctx context.Context, token string) (*Grant, error) {
	parsed, claims, err := j.verifier.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	if isType(parsed, typeIntrospection) {
		return nil, fmt.Errorf("%w: it is an answer about a token", ErrInvalid)
	}
	if err := j.times(claims); err != nil {
		return nil, err
	}
	if j.config.Issuer != "" && claims["iss"] != j.config.Issuer {
		return nil, fmt.Errorf("%w: it is of another issuer", ErrInvalid)
	}
	if len(j.config.Audience) > 0 && !meant(claims, j.config.Audience...) {
		return nil, fmt.Errorf("%w: it is for another audience", ErrInvalid)
	}
	who, err := identity(claims, j.config.IdentityBaseField)
	if err != nil {
		return nil, err
	}
	return &Grant{Identity: who, Claims: claims}, nil
}

// times applies exp, nbf and iat, each with its skew. As in the reference, a
// token without one of them is not limited by it.
func (j *jwtCheck) times(claims jwt.MapClaims) error {
	now := unixSeconds(j.now())
	for _, limit := range []struct {
		name   string
		passed func(at float64) bool
		err    error
	}{
		{"exp", func(at float64) bool { return now-float64(j.config.ExpiresAtSkew) >= at }, ErrExpired},
		{"nbf", func(at float64) bool { return now+float64(j.config.NotBeforeSkew) < at }, ErrNotYetValid},
		{"iat", func(at float64) bool { return now+float64(j.config.IssuedAtSkew) < at }, ErrNotYetValid},
	} {
		at, known, err := numericDate(claims, limit.name)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		if known && limit.passed(at) {
			return limit.err
		}
	}
	return nil
}

// meant says whether aud, a text or a list of texts, has one of names.
func meant(claims jwt.MapClaims, names ...string) bool {
	switch aud := claims["aud"].(type) {
	case string:
		return slices.Contains(names, aud)
	case []any:
		return slices.ContainsFunc(aud, func(one any) bool {
			name, ok := one.(string)
			return ok && slices.Contains(names, name)
		})
	}
	return false
}

// isType compares the typ of a token, which may be written with application/ in
// front (RFC 7515 section 4.1.9).
func isType(token *jwt.Token, want string) bool {
	typ, _ := token.Header["typ"].(string)
	return strings.TrimPrefix(strings.ToLower(typ), "application/") == want
}
