package apidef

import (
	"net/url"
	"strings"
	"unicode"
)

const (
	// longestRequest is the longest time limit for a request to a provider,
	// in seconds. Callers wait for it.
	longestRequest = 60
	// longestSkew is the greatest difference of clocks, in seconds; more is a
	// mistake of units. It is a day.
	longestSkew = 24 * 60 * 60
	// longestCache is the longest cache time, in seconds: a year.
	longestCache = 365 * 24 * 60 * 60
)

func (v *validator) externalOAuth(o *ExternalOAuth) {
	const field = "external_oauth.providers"
	if len(o.Providers) == 0 {
		v.add(field, "is empty, so that no token could be checked", "describe the identity provider, or set "+v.form.Field("external_oauth.enabled")+" to false")
		return
	}
	switch p := &o.Providers[0]; {
	case p.JWT.Enabled:
		v.oauthJWT(field+"[0].jwt.", &p.JWT)
	case p.Introspection.Enabled:
		v.oauthIntrospection(field+"[0].introspection.", &p.Introspection)
	default:
		v.add(field+"[0]", "enables neither jwt nor introspection, so that no token could be checked",
			"set enabled of one of them to true, or "+v.form.Field("external_oauth.enabled")+" to false")
	}
}

func (v *validator) oauthJWT(at string, j *OAuthJWT) {
	switch j.SigningMethod {
	case SigningHMAC, SigningRSA, SigningECDSA:
		if _, problem, next := j.key(); problem != "" {
			v.add(at+"source", problem, next)
		}
	case "":
		v.add(at+"signing_method", "is missing", "write hmac, rsa or ecdsa")
	default:
		v.add(at+"signing_method", "is not known", "write hmac, rsa or ecdsa")
	}
	for _, skew := range []struct {
		name    string
		seconds int64
	}{
		{"expires_at_validation_skew", j.ExpiresAtSkew},
		{"not_before_validation_skew", j.NotBeforeSkew},
		{"issued_at_validation_skew", j.IssuedAtSkew},
	} {
		v.between(at+skew.name, skew.seconds, longestSkew)
	}
	v.between(at+"request_timeout", j.RequestTimeout, longestRequest)
}

func (v *validator) oauthIntrospection(at string, i *OAuthIntrospection) {
	v.providerURL(at+"url", i.URL)
	if i.JWKSURL != "" {
		v.providerURL(at+"jwks_url", i.JWKSURL)
	}
	if i.ClientID == "" {
		v.add(at+"client_id", "is missing", "write the id of the client that the provider lets introspect tokens")
	}
	switch i.ClientAuth {
	case "", ClientAuthForm, ClientAuthBasic:
	default:
		v.add(at+"client_auth", "is not known", "write form or basic")
	}
	switch i.Accept {
	case "", AcceptJWT, AcceptIntrospectionJWT:
	case AcceptJSON:
		if i.PhantomToken {
			v.add(at+"accept", "asks for JSON, but a phantom token is a JWT", "write "+AcceptJWT+" or "+AcceptIntrospectionJWT)
		}
	default:
		v.add(at+"accept", "is not known", "write "+AcceptJSON+", "+AcceptJWT+" or "+AcceptIntrospectionJWT)
	}
	if i.JSONOnly() && (i.JWKSURL != "" || i.Issuer != "") {
		name := "jwks_url"
		if i.JWKSURL == "" {
			name = "issuer"
		}
		v.add(at+name, "has no effect on answers in JSON, which are not signed", "set accept to "+AcceptIntrospectionJWT+", or remove it")
	}
	if i.Cache != nil {
		v.between(at+"cache.timeout", i.Cache.Timeout, longestCache)
	}
	v.between(at+"request_timeout", i.RequestTimeout, longestRequest)
}

// between checks a number of seconds from 0 to most.
func (v *validator) between(field string, seconds, most int64) {
	switch {
	case seconds < 0:
		v.add(field, "is negative", "write a number of seconds, 0 for the default")
	case seconds > most:
		v.add(field, "is too large", "write a smaller number of seconds")
	}
}

func (v *validator) providerURL(field, text string) {
	const next = "write an absolute URL such as https://idp.example.com/introspect"
	// The errors of url.Parse repeat the URL, which may hold a password.
	switch u, err := url.Parse(text); {
	case text == "":
		v.add(field, "is missing", next)
	case err != nil || strings.ContainsFunc(text, unicode.IsSpace):
		v.add(field, "is not a URL", next)
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		v.add(field, "is not an absolute http or https URL", next)
	case u.User != nil:
		v.add(field, "has credentials in it", "write them into client_id and client_secret")
	case u.Fragment != "":
		v.add(field, "has a fragment, which is never sent", "remove what follows #")
	}
}
