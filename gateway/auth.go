package gateway

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/telemetry"
)

const (
	// tokenMember is the member of metadata that identifies the session.
	tokenMember  = "token"
	bearerPrefix = "Bearer "
)

// authenticate establishes x.session and x.token.
func (c *chain) authenticate(x *exchange) *reply {
	if c.auth.ambiguous(x.r) {
		x.log.Info("request carries its key's header more than once, it is refused", telemetry.KeyField, c.auth.HeaderName)
		return errorReply(http.StatusBadRequest, msgAmbiguous)
	}
	switch {
	case c.extractor != nil:
		return x.authenticateByIdentity(c)
	case c.authCheck != nil:
		return x.authenticateByHook(c)
	case c.oauth != nil:
		return x.authenticateByToken(c)
	}
	return x.authenticateByKey(c)
}

// authenticateByHook runs auth_check and stores the session under its token.
func (x *exchange) authenticateByHook(c *chain) *reply {
	if answer := x.runAuthCheck(c); answer != nil {
		return answer
	}
	x.storeSession(c, makerMember)
	return x.applyPolicies()
}

// runAuthCheck runs auth_check and takes over the session that it returns
// (contract section 3, "auth_check success").
func (x *exchange) runAuthCheck(c *chain) *reply {
	out, err := c.authCheck.Request(x.r.Context(), x.r, x.body, nil)
	if err != nil {
		return x.hookReply(&hookFailure{hook: c.authCheck, err: err})
	}
	if x.clientGone() {
		return &reply{dropped: true}
	}
	if out.Override != nil {
		return x.overrideReply(out)
	}
	s := out.Session
	if s == nil { // a hook that only names the caller leaves none
		s = &coprocesspb.SessionState{}
	}
	if len(out.Metadata) > 0 {
		if s.Metadata == nil {
			s.Metadata = make(map[string]string, len(out.Metadata))
		}
		maps.Copy(s.Metadata, out.Metadata)
	}
	token := s.GetMetadata()[tokenMember]
	if token == "" {
		x.log.Info("auth_check returned no session token, the request is refused",
			telemetry.KeyBundle, c.authCheck.Bundle, telemetry.KeyHook, c.authCheck.Name)
		x.authFailed(c.auth.credential(x.r))
		return errorReply(http.StatusForbidden, msgNotAuthorised)
	}
	s.OrgId = x.api.orgID
	x.session, x.token = s, token
	return nil
}

// storeSession keeps x.session under x.token. maker is one of makerMembers. When
// the store is away the request goes on: the hook has established who calls, and
// it does so again for the next request. What the store alone protects, the quota
// counters, is then left as it is. Requests of sessions with limits are refused
// all the same, by checkLimits.
func (x *exchange) storeSession(c *chain, maker string) {
	// The session is worth keeping also when the client hangs up now.
	ctx := context.WithoutCancel(x.r.Context())
	sessions := x.gateway.sessions
	old, err := sessions.Get(ctx, x.token)
	switch {
	case err == nil && old.GetOrgId() != x.session.GetOrgId():
		return // a key of another organisation is not this hook's to replace
	case err == nil:
		session.MergePreservingQuota(x.session, old)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, session.ErrCorrupt):
		// Nothing to preserve.
	default:
		if skipped, ok := x.api.trouble.allow(); ok {
			x.log.Warn("cannot read the stored session, the new one is not stored", telemetry.KeyCount, skipped,
				telemetry.KeyTokenHash, telemetry.TokenHash(x.token), telemetry.KeyError, err.Error())
		}
		return
	}
	ttl := session.Lifetime(x.session, c.lifetimes, time.Now())
	hideMakers(x.session)
	x.session.Metadata[maker] = x.api.id
	err = sessions.Put(ctx, x.token, x.session, ttl)
	hideMakers(x.session)
	if err == nil {
		return
	}
	if skipped, ok := x.api.trouble.allow(); ok {
		x.log.Warn("cannot store the session", telemetry.KeyCount, skipped,
			telemetry.KeyTokenHash, telemetry.TokenHash(x.token), telemetry.KeyError, err.Error())
	}
}

// authenticateByKey looks the request's key up. Without an answer of the store
// nobody is known, so the request is refused.
func (x *exchange) authenticateByKey(c *chain) *reply {
	key := c.auth.credential(x.r)
	if key == "" {
		x.log.Info("request carries no key, it is refused")
		return errorReply(http.StatusUnauthorized, msgFieldMissing)
	}
	s, id, err := x.storedKey(x.r.Context(), key)
	switch {
	case err == nil:
		hideMakers(s)
		x.session, x.token = s, id
		return x.applyPolicies()
	case errors.Is(err, store.ErrNotFound):
		x.log.Info("request carries an unknown key, it is refused", telemetry.KeyTokenHash, telemetry.TokenHash(key))
		x.authFailed(key)
		return errorReply(http.StatusForbidden, msgAccessDenied)
	case x.clientGone():
		return &reply{dropped: true}
	case errors.Is(err, session.ErrCorrupt):
		x.log.Error("stored session cannot be read, the request is refused",
			telemetry.KeyTokenHash, telemetry.TokenHash(key), telemetry.KeyError, err.Error())
		return errorReply(http.StatusForbidden, msgAccessDenied)
	}
	if skipped, ok := x.api.trouble.allow(); ok {
		x.log.Error("cannot look up the key, requests are refused",
			telemetry.KeyCount, skipped, telemetry.KeyError, err.Error())
	}
	return &reply{code: http.StatusServiceUnavailable, message: msgBusy, retryAfter: retryAfterBusy}
}

// storedKey returns the session that the credential key opens x's API with, and
// its id: key itself, or with the organisation before it, as keys that
// operators name are stored.
func (x *exchange) storedKey(ctx context.Context, key string) (s *coprocesspb.SessionState, id string, err error) {
	for _, id = range keyIDs(x.api.orgID, key) {
		s, err = x.gateway.sessions.Get(ctx, id)
		if err == nil && !opens(s, x.api) {
			err = store.ErrNotFound // a key of others
		}
		if !errors.Is(err, store.ErrNotFound) {
			break
		}
	}
	return s, id, err
}

// checkSession is contract section 1, step 4. The order of the checks is part
// of the contract.
func (x *exchange) checkSession(c *chain) *reply {
	if err := session.Check(x.session, time.Now()); err != nil {
		answer := errorReply(http.StatusForbidden, msgKeyInactive)
		if errors.Is(err, session.ErrExpired) {
			answer = errorReply(http.StatusUnauthorized, msgKeyExpired)
			if c.oauth != nil {
				challenge(answer, "The session has expired")
			}
		}
		x.log.Info("session is not usable, the request is refused",
			telemetry.KeyTokenHash, telemetry.TokenHash(x.token), telemetry.KeyError, err.Error())
		x.keyExpired(answer.message)
		return answer
	}
	if message := x.denied(); message != "" {
		x.log.Info("session has no rights for this request, it is refused",
			telemetry.KeyTokenHash, telemetry.TokenHash(x.token), telemetry.KeyPath, x.r.URL.Path)
		return errorReply(http.StatusForbidden, message)
	}
	return x.checkLimits(c)
}

// authSource says where a request carries its key.
type authSource struct{ apidef.Auth }

// ambiguous reports whether r has several values of the key's header: one that
// counts here, or that a hook is shown, and others that the upstream may take.
func (a authSource) ambiguous(r *http.Request) bool {
	return a.HeaderName != "" && len(r.Header.Values(a.HeaderName)) > 1
}

// credential returns the key of r without "Bearer ", or "".
func (a authSource) credential(r *http.Request) string {
	key := ""
	if a.HeaderName != "" {
		key = r.Header.Get(a.HeaderName)
	}
	if key == "" && a.UseParam {
		key = r.URL.Query().Get(a.ParamName)
	}
	if key == "" && a.UseCookie {
		if c, err := r.Cookie(a.CookieName); err == nil {
			key = c.Value
		}
	}
	if len(key) >= len(bearerPrefix) && strings.EqualFold(key[:len(bearerPrefix)], bearerPrefix) {
		key = key[len(bearerPrefix):]
	}
	return strings.TrimSpace(key)
}
