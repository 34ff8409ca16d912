package apidef

import (
	"net"
	"net/url"
)

// shortestSecret is the length from which on a secret for hmac is as long as the
// shortest hash, in bytes (RFC 7518 section 3.2).
const shortestSecret = 32

// externalOAuth warns of what weakens the check of tokens, and of what is not
// used.
func (w *warner) externalOAuth(api *API) {
	o := &api.ExternalOAuth
	if !o.Enabled || len(o.Providers) == 0 {
		return
	}
	at := func(rest string) string { return api.Form.Field("external_oauth.providers" + rest) }
	if len(o.Providers) > 1 {
		w.add(at(""), "lists more than one, but only the first is used")
	}
	if j := &o.Providers[0].JWT; j.Enabled {
		if key, problem, _ := j.key(); problem == "" {
			if key.Secret != nil && len(key.Secret) < shortestSecret {
				w.add(at("[0].jwt.source"), "is a secret of less than 32 bytes, which can be guessed from one token")
			}
			w.unencrypted(at("[0].jwt.source"), key.JWKS, "the keys that tokens are checked with can be changed on their way")
		}
		w.unverified(at("[0].jwt.tls.insecure_skip_verify"), j.TLS)
		return
	}
	i := &o.Providers[0].Introspection
	if u, err := url.Parse(i.URL); err == nil {
		w.unencrypted(at("[0].introspection.url"), u, "tokens and client_secret can be read on their way")
	}
	w.unverified(at("[0].introspection.tls.insecure_skip_verify"), i.TLS)
}

func (w *warner) unverified(field string, set OAuthTLS) {
	if set.InsecureSkipVerify {
		w.add(field, "is true, so that anybody on the way can decide which tokens are valid")
	}
}

// unencrypted warns of plain HTTP, unless it stays on this machine.
func (w *warner) unencrypted(field string, u *url.URL, so string) {
	if u == nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		w.add(field, "is not https, so that "+so)
	}
}
