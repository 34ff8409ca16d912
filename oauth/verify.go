package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/krait-gateway/krait/apidef"
)

// keyFinder returns the key for a token's id and algorithm.
type keyFinder func(ctx context.Context, id, alg string) (crypto.PublicKey, error)

// verifier checks signatures of JWTs. Times are not its business.
type verifier struct {
	parser *jwt.Parser
	find   keyFinder
}

func newVerifier(algorithms []string, find keyFinder) *verifier {
	return &verifier{
		parser: jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithoutClaimsValidation(),
			jwt.WithJSONNumber(), jwt.WithStrictDecoding()),
		find: find,
	}
}

// fixedKey finds one key for all tokens, whatever key they name.
func fixedKey(key any) keyFinder {
	return func(_ context.Context, _, alg string) (crypto.PublicKey, error) {
		if !fits(key, alg) {
			return nil, fmt.Errorf("%w: its algorithm is not one of the configured key", ErrInvalid)
		}
		return key, nil
	}
}

// algorithms returns what tokens of a signing method may be signed with.
func algorithms(method string) []string {
	switch method {
	case apidef.SigningHMAC:
		return []string{"HS256", "HS384", "HS512"}
	case apidef.SigningRSA:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case apidef.SigningECDSA:
		return []string{"ES256", "ES384", "ES512"}
	}
	return []string{}
}

// fits says whether key is of the kind that alg needs. It is what keeps a public
// key from ever being used as a secret.
func fits(key crypto.PublicKey, alg string) bool {
	switch k := key.(type) {
	case []byte:
		return strings.HasPrefix(alg, "HS")
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return k.Curve.Params().BitSize == curveBits(alg)
	}
	return false
}

// curveBits returns the size of the curve that alg needs, 0 for others.
func curveBits(alg string) int {
	switch alg {
	case "ES256":
		return 256
	case "ES384":
		return 384
	case "ES512":
		return 521
	}
	return 0
}

// verify returns the claims of token when its signature is right. The errors are
// ErrInvalid, ErrUnavailable or that of ctx, without anything of the token.
func (v *verifier) verify(ctx context.Context, token string) (*jwt.Token, jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	parsed, err := v.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		// RFC 7515 section 4.1.11: what is critical has to be understood.
		if _, ok := t.Header["crit"]; ok {
			return nil, fmt.Errorf("%w: its header has critical parameters that are not known", ErrInvalid)
		}
		id, ok := t.Header["kid"].(string)
		if !ok && t.Header["kid"] != nil {
			return nil, fmt.Errorf("%w: its key id is no text", ErrInvalid)
		}
		return v.find(ctx, id, t.Method.Alg())
	})
	switch {
	case err == nil:
		return parsed, claims, nil
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrUnavailable), errors.Is(err, ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return nil, nil, err
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, nil, fmt.Errorf("%w: it is no JWT", ErrInvalid)
	}
	return nil, nil, fmt.Errorf("%w: its signature is wrong, or its algorithm is not the configured one", ErrInvalid)
}
