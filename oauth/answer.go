package oauth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/krait-gateway/krait/apidef"
)

// read makes an outcome of the provider's answer. The error says why it is not
// usable, without anything of the answer.
func (i *introspection) read(ctx context.Context, got answer) (*outcome, error) {
	switch got.status {
	case http.StatusOK:
	case http.StatusNoContent:
		// With a JWT for an answer there is nothing to sign about a token that
		// is not active; some providers say so.
		if i.accept != apidef.AcceptJSON {
			return &outcome{}, nil
		}
		return nil, errors.New("it answers without content")
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("status %d: it refuses client_id, client_secret or client_auth", got.status)
	default:
		return nil, fmt.Errorf("status %d", got.status)
	}
	switch {
	case got.media == apidef.AcceptJSON, strings.HasSuffix(got.media, "+json"):
		return i.readJSON(got.body)
	case got.media != apidef.AcceptJWT && got.media != apidef.AcceptIntrospectionJWT:
		return nil, errors.New("its answer is neither JSON nor a JWT")
	case i.accept == apidef.AcceptJSON:
		return nil, errors.New("it answers with a JWT, for which accept does not ask")
	}
	return i.readJWT(ctx, string(got.body))
}

func (i *introspection) readJSON(body []byte) (*outcome, error) {
	claims, err := decodeObject(body)
	if err != nil {
		return nil, fmt.Errorf("its answer cannot be read: %w", err)
	}
	o, err := newOutcome(claims)
	if err != nil || !o.active {
		return o, err
	}
	if i.config.PhantomToken || i.signed != nil {
		return nil, errors.New("it answers with JSON where a JWT is needed")
	}
	return o, nil
}

// readJWT reads an answer of RFC 9701, which tells about the token in the claim
// token_introspection, or one whose claims are those of the token itself.
func (i *introspection) readJWT(ctx context.Context, text string) (*outcome, error) {
	text = strings.TrimSpace(text)
	outer, err := i.claimsOf(ctx, text)
	if err != nil {
		return nil, err
	}
	if i.config.Issuer != "" && outer["iss"] != i.config.Issuer {
		return nil, errors.New("its JWT is of another issuer")
	}
	claims := map[string]any(outer)
	switch inner := outer["token_introspection"].(type) {
	case map[string]any:
		// Who asks is whom the answer is for (RFC 9701 section 5). Without keys
		// the connection says so.
		if i.signed != nil && !meant(outer, i.config.ClientID) {
			return nil, errors.New("its JWT is for another client")
		}
		claims = inner
	case nil:
		if _, ok := claims["active"]; !ok && i.accept == apidef.AcceptJWT {
			// The JWT is the token's other form, there is none for an inactive
			// one.
			claims["active"] = true
		}
	default:
		return nil, errors.New("its JWT has a malformed token_introspection")
	}
	o, err := newOutcome(claims)
	if err != nil || !o.active {
		return o, err
	}
	o.jwt = text
	return o, o.bounds(outer)
}

// claimsOf returns the claims of a JWT of the provider, verified when its keys
// are known.
func (i *introspection) claimsOf(ctx context.Context, text string) (jwt.MapClaims, error) {
	if len(text) > maxToken {
		return nil, fmt.Errorf("its JWT is longer than %d bytes", maxToken)
	}
	if i.signed != nil {
		_, claims, err := i.signed.verify(ctx, text)
		if errors.Is(err, ErrInvalid) {
			return nil, errors.New("the signature of its JWT cannot be verified")
		}
		return claims, err
	}
	claims := jwt.MapClaims{}
	parser := jwt.NewParser(jwt.WithJSONNumber(), jwt.WithStrictDecoding())
	parsed, _, err := parser.ParseUnverified(text, claims)
	if err != nil {
		return nil, errors.New("its JWT cannot be read")
	}
	if parsed.Method.Alg() == jwt.SigningMethodNone.Alg() || len(parsed.Signature) == 0 {
		return nil, errors.New("its JWT is not signed")
	}
	return claims, nil
}

// newOutcome reads the members of RFC 7662 section 2.2.
func newOutcome(claims map[string]any) (*outcome, error) {
	active, ok := claims["active"].(bool)
	if !ok {
		return nil, errors.New("its answer does not say true or false for active")
	}
	if !active {
		return &outcome{}, nil
	}
	o := &outcome{active: true, claims: claims, expires: math.Inf(1), begins: math.Inf(-1)}
	return o, o.bounds(claims)
}
