package gateway

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/idextract"
	"github.com/krait-gateway/krait/oauth"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/telemetry"
)

// Members of a session's metadata that tell hooks about the token's caller.
const (
	// identityMember is the identity.
	identityMember = "oauth_identity"
	// claimsMember is what the provider says of the token, a JSON object.
	claimsMember = "oauth_claims"
)

const (
	// msgTokenInvalid and msgTokenCheck are the reference's words.
	msgTokenInvalid = "access token is not valid"
	msgTokenCheck   = "error happened during the access token validation"

	headerChallenge = "Www-Authenticate"
)

// externalOAuth checks the tokens of one API (contract section 9).
type externalOAuth struct {
	checker *oauth.Checker
	// provider is about the provider and its answers, cache about what else
	// goes wrong.
	provider, cache sparing
}

// newExternalOAuth returns nil for an API that takes no tokens of an identity
// provider.
func (g *Gateway) newExternalOAuth(a *api, def *apidef.API) (*externalOAuth, error) {
	if def.Keyless || !def.ExternalOAuth.Enabled {
		return nil, nil
	}
	if len(def.ExternalOAuth.Providers) == 0 {
		return nil, errors.New("external_oauth.providers is empty; describe the identity provider")
	}
	o := &externalOAuth{}
	checker, err := oauth.New(oauth.Config{
		Provider: def.ExternalOAuth.Providers[0], Store: g.store,
		Trouble: func(err error) {
			if skipped, ok := o.cache.allow(); ok {
				a.log.Warn("check of tokens goes on, but not as it should", telemetry.KeyCount, skipped, telemetry.KeyError, err.Error())
			}
		},
	})
	if err != nil {
		return nil, err
	}
	o.checker = checker
	a.parts = append(a.parts, checker.Close)
	return o, nil
}

// authenticateByToken lets the identity provider, or its keys, say who calls.
func (x *exchange) authenticateByToken(c *chain) *reply {
	token := c.auth.credential(x.r)
	if token == "" {
		x.log.Info("request carries no token, it is refused")
		return challenge(errorReply(http.StatusBadRequest, msgFieldMissing), "")
	}
	grant, err := c.oauth.checker.Check(x.r.Context(), token)
	if err != nil {
		return x.tokenReply(c.oauth, token, err)
	}
	id := idextract.SessionID(x.api.orgID, grant.Identity)
	s, answer := x.sessionOfIdentity(id)
	if answer != nil {
		return answer
	}
	describeCaller(s, grant)
	x.session, x.token = s, id
	if grant.JWT != "" {
		c.auth.replace(x.r, grant.JWT)
	}
	return x.applyPolicies()
}

// tokenReply answers a request whose token is refused, or could not be checked.
func (x *exchange) tokenReply(o *externalOAuth, token string, err error) *reply {
	hash := telemetry.TokenHash(token)
	switch {
	case errors.Is(err, oauth.ErrInvalid):
		x.log.Info("token is refused", telemetry.KeyTokenHash, hash, telemetry.KeyError, err.Error())
		x.authFailed(token)
		return challenge(errorReply(http.StatusUnauthorized, msgTokenInvalid), challengeText(err))
	case x.clientGone():
		return &reply{dropped: true}
	}
	if skipped, ok := o.provider.allow(); ok {
		x.log.Error("token cannot be checked, the request is refused", telemetry.KeyCount, skipped,
			telemetry.KeyTokenHash, hash, telemetry.KeyError, err.Error())
	}
	return errorReply(http.StatusInternalServerError, msgTokenCheck)
}

// challengeText is error_description of RFC 6750 section 3. It is fixed text:
// nothing of the token comes back in a header.
func challengeText(err error) string {
	switch {
	case errors.Is(err, oauth.ErrExpired):
		return "The access token expired"
	case errors.Is(err, oauth.ErrNotYetValid):
		return "The access token is not valid yet"
	}
	return "The access token is not valid"
}

// challenge makes answer one that RFC 6750 section 3 asks for. description says
// what is wrong with the token, "" that there is none: then nothing else is said.
func challenge(answer *reply, description string) *reply {
	if answer.header == nil {
		answer.header = make(map[string]string, 1)
	}
	text := "Bearer"
	if description != "" {
		text += ` error="invalid_token", error_description="` + description + `"`
	}
	answer.header[headerChallenge] = text
	return answer
}

// sessionOfIdentity returns the session that is stored under id, where an
// operator puts it to set the identity's limits, or a fresh one for this API
// without limits. What is stored may limit or lock the caller, so
// that without an answer of the store the request is refused. A session that an
// auth_check made is no answer: its callers may have chosen the id.
func (x *exchange) sessionOfIdentity(id string) (*coprocesspb.SessionState, *reply) {
	s, err := x.gateway.sessions.Get(x.r.Context(), id)
	switch {
	case err == nil && s.GetOrgId() == x.api.orgID && !madeByHook(s):
		return s, nil
	case err == nil:
		x.log.Warn("session of the token's identity is of another organisation, or an auth_check made it; the request is refused",
			telemetry.KeyTokenHash, telemetry.TokenHash(id))
		x.authFailed(id)
		return nil, errorReply(http.StatusForbidden, msgAccessDenied)
	case errors.Is(err, store.ErrNotFound):
		return &coprocesspb.SessionState{
			OrgId:        x.api.orgID,
			AccessRights: map[string]*coprocesspb.AccessDefinition{x.api.id: {ApiName: x.api.name, ApiId: x.api.id, Versions: []string{defaultVersion}}},
		}, nil
	case x.clientGone():
		return nil, &reply{dropped: true}
	case errors.Is(err, session.ErrCorrupt):
		x.log.Error("stored session cannot be read, the request is refused",
			telemetry.KeyTokenHash, telemetry.TokenHash(id), telemetry.KeyError, err.Error())
		return nil, errorReply(http.StatusForbidden, msgAccessDenied)
	}
	if skipped, ok := x.api.trouble.allow(); ok {
		x.log.Error("cannot look up the session of the token's identity, requests are refused",
			telemetry.KeyCount, skipped, telemetry.KeyError, err.Error())
	}
	return nil, &reply{code: http.StatusServiceUnavailable, message: msgBusy, retryAfter: retryAfterBusy}
}

// describeCaller tells later hooks who calls. JSON escapes what could end a
// header's line.
func describeCaller(s *coprocesspb.SessionState, grant *oauth.Grant) {
	if s.Metadata == nil {
		s.Metadata = make(map[string]string, 2)
	}
	s.Metadata[identityMember] = grant.Identity
	if claims, err := json.Marshal(grant.Claims); err == nil {
		s.Metadata[claimsMember] = string(claims)
	}
}
