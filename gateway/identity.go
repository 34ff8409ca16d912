package gateway

import (
	"errors"
	"net/http"
	"time"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/idextract"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/telemetry"
)

// authenticateByIdentity lets a caller in whom auth_check has seen before, until
// the id_extractor_deadline that it set, and asks auth_check otherwise (contract
// section 6).
func (x *exchange) authenticateByIdentity(c *chain) *reply {
	id, answer := x.extractID(c)
	if answer != nil {
		return answer
	}
	known, err := x.recall(id)
	if known != nil {
		x.session, x.token = known, id
		return x.applyPolicies()
	}
	x.bufferBody(c)
	if answer := x.takeTurns(c); answer != nil {
		return answer
	}
	if answer := x.runAuthCheck(c); answer != nil {
		return answer
	}
	x.token = id
	if err == nil { // else each request would wait for the store twice
		x.storeSession(c, extractorMember)
	}
	return x.applyPolicies()
}

// extractID returns the session id of the request, or the answer to a request
// that has none.
func (x *exchange) extractID(c *chain) (string, *reply) {
	var body []byte
	if c.extractor.ReadsBody(x.r) {
		x.bufferBody(c)
		var err error
		if body, err = x.body.Load(x.r); err != nil {
			return "", x.hookReply(&hookFailure{hook: c.authCheck, err: err})
		}
	}
	value, err := c.extractor.Value(x.r, body)
	switch {
	case err == nil:
		return idextract.SessionID(x.api.orgID, value), nil
	case x.clientGone():
		return "", &reply{dropped: true}
	}
	x.log.Info("request does not say who calls in the way that id_extractor asks for, it is refused", telemetry.KeyError, err.Error())
	switch {
	case errors.Is(err, idextract.ErrAmbiguous):
		return "", errorReply(http.StatusBadRequest, msgAmbiguous)
	case errors.Is(err, idextract.ErrTooLarge):
		return "", errorReply(http.StatusRequestEntityTooLarge, msgBodyTooLarge)
	}
	x.authFailed(c.auth.credential(x.r))
	return "", errorReply(http.StatusBadRequest, msgFieldMissing)
}

// recall returns the session that is stored under id, nil when auth_check has to
// run. The error says that the store gave no answer.
func (x *exchange) recall(id string) (*coprocesspb.SessionState, error) {
	s, err := x.gateway.sessions.Get(x.r.Context(), id)
	switch {
	case err == nil:
		if !identifies(s, x.api, time.Now()) {
			return nil, nil
		}
		hideMakers(s)
		return s, nil
	case errors.Is(err, store.ErrNotFound), errors.Is(err, session.ErrCorrupt):
		return nil, nil
	}
	if x.clientGone() {
		return nil, err
	}
	if skipped, ok := x.api.trouble.allow(); ok {
		x.log.Warn("cannot look up who has called before, auth_check runs for every request", telemetry.KeyCount, skipped,
			telemetry.KeyTokenHash, telemetry.TokenHash(id), telemetry.KeyError, err.Error())
	}
	return nil, err
}
