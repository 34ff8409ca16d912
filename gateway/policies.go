package gateway

import (
	"net/http"

	"github.com/krait-gateway/krait/policy"
	"github.com/krait-gateway/krait/telemetry"
)

// SetPolicies replaces the policies; nil is none. It holds for all sessions
// from their next request on.
func (g *Gateway) SetPolicies(p *policy.Set) { g.policies.Store(p) }

// applyPolicies applies the policies that x's session names (contract section
// 3). It comes after the session is stored, so that the stored one keeps what it
// says itself. A session whose policies cannot be applied is refused: they
// bound what it may do.
func (x *exchange) applyPolicies() *reply {
	scope, err := x.gateway.policies.Load().Apply(x.session, x.api.orgID, x.api.id)
	x.scope = scope
	if err == nil {
		return nil
	}
	if skipped, ok := x.api.unapplied.allow(); ok {
		x.log.Error("policies of a session cannot be applied, its requests are refused",
			telemetry.KeyCount, skipped, telemetry.KeyTokenHash, telemetry.TokenHash(x.token), telemetry.KeyError, err.Error())
	}
	x.authFailed(x.token)
	return errorReply(http.StatusForbidden, msgAccessDenied)
}
