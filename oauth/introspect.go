package oauth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/krait-gateway/krait/apidef"
)

// nbfLeeway is by how many seconds a token may be too early although its provider
// says that it is active: their clocks differ.
const nbfLeeway = 5

// introspection asks a provider about tokens (RFC 7662).
type introspection struct {
	config apidef.OAuthIntrospection
	accept string
	client *client
	work   *flights
	signed *verifier // of answers; nil: they are not verified
	cache  *cache    // nil: none
	now    func() time.Time
}

// outcome is what the provider said about a token. It is not changed.
type outcome struct {
	active bool
	claims map[string]any
	// jwt is the answer when it was a JWT.
	jwt string
	// expires and begins bound the time in which the outcome counts, in Unix
	// seconds; infinite when nothing is said.
	expires, begins float64
}

func (c *Checker) useIntrospection(config *Config) error {
	in := config.Provider.Introspection
	var err error
	if c.client, err = newClient(clientConfig{tls: in.TLS, seconds: in.RequestTimeout}); err != nil {
		return fmt.Errorf("introspection: %w", err)
	}
	i := &introspection{config: in, accept: in.Accept, client: c.client, work: c.work, now: config.Now}
	switch {
	case in.JSONOnly():
		i.accept = apidef.AcceptJSON
	case in.Accept == "":
		i.accept = apidef.AcceptJWT
	}
	if in.JWKSURL != "" {
		methods := append(algorithms(apidef.SigningRSA), algorithms(apidef.SigningECDSA)...)
		i.signed = newVerifier(methods, newKeySet(in.JWKSURL, c, config).find)
	}
	if on, seconds := in.Caching(); on && config.Store != nil {
		if i.cache, err = newCache(config, in, time.Duration(seconds)*time.Second); err != nil {
			return fmt.Errorf("introspection: %w", err)
		}
	}
	c.check = i.check
	return nil
}

func (i *introspection) check(ctx context.Context, token string) (*Grant, error) {
	known, ok := i.cache.get(ctx, token)
	if !ok {
		var err error
		known, err = share(ctx, i.work, flightToken+token, func(ctx context.Context) (*outcome, error) {
			// Somebody may have asked since get.
			if known, ok := i.cache.get(ctx, token); ok {
				return known, nil
			}
			fresh, err := i.ask(ctx, token)
			if err == nil {
				i.cache.put(ctx, token, fresh)
			}
			return fresh, err
		})
		if err != nil {
			return nil, err
		}
	}
	return i.judge(known)
}

// judge decides with the time as it is now.
func (i *introspection) judge(o *outcome) (*Grant, error) {
	now := unixSeconds(i.now())
	switch {
	case !o.active:
		return nil, ErrInactive
	case now >= o.expires:
		return nil, ErrExpired
	case now+nbfLeeway < o.begins:
		return nil, ErrNotYetValid
	}
	who, err := identity(o.claims, i.config.IdentityBaseField)
	if err != nil {
		return nil, err
	}
	grant := &Grant{Identity: who, Claims: o.claims}
	if i.config.PhantomToken {
		grant.JWT = o.jwt
	}
	return grant, nil
}

// ask introspects token.
func (i *introspection) ask(ctx context.Context, token string) (*outcome, error) {
	form := url.Values{"token": {token}}
	if i.config.ClientAuth != apidef.ClientAuthBasic {
		form.Set("client_id", i.config.ClientID)
		if i.config.ClientSecret != "" {
			form.Set("client_secret", i.config.ClientSecret)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.config.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", i.accept)
	if i.config.ClientAuth == apidef.ClientAuthBasic {
		// RFC 6749 section 2.3.1: both are form-encoded first.
		r.SetBasicAuth(url.QueryEscape(i.config.ClientID), url.QueryEscape(i.config.ClientSecret))
	}
	got, err := i.client.do(r)
	if err != nil {
		return nil, err
	}
	o, err := i.read(ctx, got)
	if err != nil && !errors.Is(err, ErrUnavailable) { // those say where
		return nil, unavailable(r, err)
	}
	return o, err
}

// bounds sets from when until when the outcome counts by claims.
func (o *outcome) bounds(claims map[string]any) error {
	expires, known, err := numericDate(claims, "exp")
	if err != nil {
		return err
	}
	if known {
		o.expires = math.Min(o.expires, expires)
	}
	begins, known, err := numericDate(claims, "nbf")
	if err != nil {
		return err
	}
	if known {
		o.begins = math.Max(o.begins, begins)
	}
	return nil
}
