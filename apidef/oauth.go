package apidef

import (
	"fmt"
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

// ExternalOAuth says that tokens of an identity provider authenticate requests
// (contract section 9).
type ExternalOAuth struct {
	Enabled bool
	// Providers are as configured; only the first counts.
	Providers []OAuthProvider
}

// OAuthProvider says how tokens of one identity provider are checked: by JWT
// when that is enabled, otherwise by Introspection. The names are those of the
// classic form.
type OAuthProvider struct {
	JWT           OAuthJWT           `json:"jwt"`
	Introspection OAuthIntrospection `json:"introspection"`
}

// Signing methods of [OAuthJWT]. Each stands for a family of algorithms (RFC
// 7518 section 3.1).
const (
	SigningHMAC  = "hmac"  // HS256, HS384, HS512
	SigningRSA   = "rsa"   // RS256 to RS512, PS256 to PS512
	SigningECDSA = "ecdsa" // ES256, ES384, ES512
)

// OAuthJWT checks tokens that are JWTs by their signature.
type OAuthJWT struct {
	Enabled bool `json:"enabled"`
	// SigningMethod is one of the constants, in lower case.
	SigningMethod string `json:"signing_method"`
	// Source is the key or where it is published, see [OAuthJWT.Key].
	Source string `json:"source"`
	// IdentityBaseField is the claim that names the caller; "" means sub.
	IdentityBaseField string `json:"identity_base_field"`
	// Skews are by how many seconds the provider's clock may differ for exp,
	// nbf and iat.
	ExpiresAtSkew int64 `json:"expires_at_validation_skew"`
	NotBeforeSkew int64 `json:"not_before_validation_skew"`
	IssuedAtSkew  int64 `json:"issued_at_validation_skew"`

	// The rest is not known to other gateways.

	// Issuer, when set, is what iss has to be.
	Issuer string `json:"issuer"`
	// Audience, when not empty, lists values of which aud has to have one.
	Audience []string `json:"audience"`
	// RequestTimeout bounds fetching the keys, in seconds; 0 means the
	// default.
	RequestTimeout int64    `json:"request_timeout"`
	TLS            OAuthTLS `json:"tls"`
}

// Values of OAuthIntrospection.ClientAuth.
const (
	ClientAuthForm  = "form"
	ClientAuthBasic = "basic"
)

// Values of OAuthIntrospection.Accept.
const (
	AcceptJSON             = "application/json"
	AcceptJWT              = "application/jwt"
	AcceptIntrospectionJWT = "application/token-introspection+jwt" // RFC 9701
)

// OAuthIntrospection asks the provider about each token (RFC 7662).
type OAuthIntrospection struct {
	Enabled bool `json:"enabled"`
	// URL is the introspection endpoint.
	URL          string `json:"url"`
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	// IdentityBaseField is the member that names the caller; "" means sub.
	IdentityBaseField string `json:"identity_base_field"`
	// Cache is nil when the definition has none.
	Cache *OAuthCache `json:"cache"`

	// The rest is not known to other gateways.

	// ClientAuth is how the client authenticates: ClientAuthForm (also when
	// empty) or ClientAuthBasic.
	ClientAuth string `json:"client_auth"`
	// RequestTimeout bounds one request, in seconds; 0 means the default.
	RequestTimeout int64    `json:"request_timeout"`
	TLS            OAuthTLS `json:"tls"`
	// Accept is the kind of answer that is asked for, one of the constants.
	// "" means JSON, or [AcceptJWT] with PhantomToken.
	Accept string `json:"accept"`
	// PhantomToken sends the JWT of the answer to the upstream in place of
	// the token (contract section 10).
	PhantomToken bool `json:"phantom_token"`
	// JWKSURL is where the keys are that sign the provider's JWTs; "" trusts
	// the connection. Issuer, when set, is what iss of a JWT has to be.
	JWKSURL string `json:"jwks_url"`
	Issuer  string `json:"issuer"`
}

// OAuthCache says whether outcomes of introspection are kept.
type OAuthCache struct {
	Enabled bool `json:"enabled"`
	// Timeout is for how many seconds, but never longer than until the token
	// expires; 0 means until then.
	Timeout int64 `json:"timeout"`
}

// OAuthTLS says how the provider proves who it is.
type OAuthTLS struct {
	// CAFile is a PEM file with the certificates that are trusted in place of
	// the system's; "" for those.
	CAFile string `json:"ca_file"`
	// InsecureSkipVerify accepts any certificate.
	InsecureSkipVerify bool `json:"insecure_skip_verify"`
}

// JSONOnly says whether the provider is asked for a plain answer.
func (i *OAuthIntrospection) JSONOnly() bool {
	return !i.PhantomToken && (i.Accept == "" || i.Accept == AcceptJSON)
}

// Caching says whether outcomes are kept, and for how many seconds at most; 0
// means until the token expires. Phantom tokens are kept unless that is switched
// off (contract section 10).
func (i *OAuthIntrospection) Caching() (on bool, seconds int64) {
	if i.Cache == nil {
		return i.PhantomToken, 0
	}
	return i.Cache.Enabled, i.Cache.Timeout
}

// oauthMembers lists the members of a provider, at any depth, as the classic
// form has them. The OAS form differs in spelling only.
func oauthMembers() []string {
	return []string{
		"jwt", "introspection", "enabled", "signing_method", "source", "identity_base_field",
		"expires_at_validation_skew", "not_before_validation_skew", "issued_at_validation_skew",
		"issuer", "audience", "request_timeout", "tls", "ca_file", "insecure_skip_verify",
		"url", "client_id", "client_secret", "cache", "timeout", "client_auth", "accept", "phantom_token", "jwks_url",
	}
}

// oauthReader reads the list of providers in the spelling of either form:
// client_id, clientId and clientID are the same.
type oauthReader struct {
	file   string
	faults []jsonfile.Fault
	// names maps a spelling without underscores and letter case to the
	// classic one, written a classic path to the path in the file.
	names, written map[string]string
}

// readOAuthProviders returns the providers of list, which is at field in the
// file. enabled says whether they count: then what is wrong with them is a fault,
// and so are members of the first one that are not known, because they may be
// there to protect something.
func readOAuthProviders(file, field string, list []any, enabled bool) ([]OAuthProvider, []jsonfile.Fault) {
	r := oauthReader{file: file, names: make(map[string]string), written: make(map[string]string)}
	for _, name := range oauthMembers() {
		r.names[spelling(name)] = name
	}
	providers := make([]OAuthProvider, 0, len(list))
	for i, element := range list {
		at := fmt.Sprintf("%s[%d]", field, i)
		object, ok := element.(map[string]any)
		if !ok {
			r.add(at, "must be an object", `write {"jwt": {...}} or {"introspection": {...}}`)
			continue
		}
		classic := r.rename(object, at, at)
		var provider OAuthProvider
		unknown, err := jsonfile.Bind(file, classic, &provider)
		for _, fault := range jsonfile.Faults(file, err) {
			fault.Field = r.original(joinField(at, fault.Field))
			r.faults = append(r.faults, fault)
		}
		if enabled && i == 0 {
			r.refuseUnknown(classic, at, unknown)
		}
		provider.JWT.SigningMethod = strings.ToLower(provider.JWT.SigningMethod)
		providers = append(providers, provider)
	}
	if !enabled {
		return providers, nil
	}
	return providers, r.faults
}

func (r *oauthReader) add(field, problem, next string) {
	r.faults = append(r.faults, jsonfile.Fault{File: r.file, Field: field, Problem: problem, Next: next})
}

// rename returns a copy of object with the classic names. classic and written
// are its paths.
func (r *oauthReader) rename(object map[string]any, classic, written string) map[string]any {
	out := make(map[string]any, len(object))
	for _, key := range sortedKeys(object) {
		name, known := r.names[spelling(key)]
		if !known {
			name = key
		}
		to, from := joinField(classic, name), joinField(written, key)
		if first, twice := r.written[to]; twice {
			r.add(from, "is also there as "+first, "remove one of the two")
			continue
		}
		r.written[to] = from
		value := object[key]
		if inner, ok := value.(map[string]any); ok {
			value = r.rename(inner, to, from)
		}
		out[name] = value
	}
	return out
}

// original returns the path in the file of a classic path.
func (r *oauthReader) original(path string) string {
	rest := ""
	for at := path; at != ""; {
		if written, ok := r.written[at]; ok {
			return written + rest
		}
		cut := strings.LastIndexAny(at, ".[")
		if cut < 0 {
			break
		}
		at, rest = at[:cut], path[cut:]
	}
	return path
}

// refuseUnknown adds a fault for each unknown member that is set, unless it
// belongs to the way of checking that is not used.
func (r *oauthReader) refuseUnknown(provider map[string]any, at string, unknown []string) {
	jwt := jsonfile.Holds(provider, "jwt.enabled")
	for _, path := range unknown {
		top, _, _ := strings.Cut(path, ".")
		if top == "jwt" && !jwt || top == "introspection" && jwt {
			continue
		}
		found := jsonfile.Find(provider, path)
		if len(found) == 0 || slices.ContainsFunc(found, func(m jsonfile.Member) bool { return jsonfile.IsOn(m.Value) }) {
			r.add(r.original(joinField(at, path)), "is not known, and might be there to protect something",
				"remove it, or correct its name")
		}
	}
}

// spelling is what all spellings of a name have in common.
func spelling(name string) string {
	return strings.ToLower(strings.ReplaceAll(name, "_", ""))
}
