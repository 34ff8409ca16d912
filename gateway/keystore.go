package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/policy"
	"github.com/krait-gateway/krait/session"
	"github.com/krait-gateway/krait/store"
	"github.com/krait-gateway/krait/telemetry"
)

// replaceKey stores the new key s in place of one of the same organisation.
func (g *Gateway) replaceKey(r *http.Request, id string, s *coprocesspb.SessionState) *keyFault {
	old, err := g.sessions.Get(r.Context(), id)
	switch {
	case err == nil && old.GetOrgId() != s.GetOrgId():
		return &keyFault{code: http.StatusConflict, message: "org_id: a key of another organisation has this id; choose another id"}
	case err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, session.ErrCorrupt):
		return g.storeFault(err)
	}
	if expires := g.policies.Load().KeyExpiry(s, time.Now()); expires > 0 && err != nil {
		s.Expires = expires
	}
	return g.putKey(r, id, s, old)
}

// putKey stores s under id in place of old, which may be nil, and begins its
// counters anew unless suppress_reset is 1.
func (g *Gateway) putKey(r *http.Request, id string, s, old *coprocesspb.SessionState) *keyFault {
	s.KeyId = ""
	s.QuotaRemaining, s.QuotaRenews = 0, 0 // the counters know
	s.LastUpdated = strconv.FormatInt(time.Now().Unix(), 10)
	if suppressesReset(r) && old != nil {
		s.LastUpdated = old.GetLastUpdated()
	}
	if err := g.sessions.Put(r.Context(), id, s, session.Lifetime(s, g.keyLifetimes(s), time.Now())); err != nil {
		return g.storeFault(err)
	}
	g.log.Info("key was written", telemetry.KeyOrgID, s.GetOrgId(), telemetry.KeyTokenHash, telemetry.TokenHash(id))
	if suppressesReset(r) {
		return nil
	}
	return g.resetCounters(r.Context(), id, s, old)
}

func suppressesReset(r *http.Request) bool { return r.URL.Query().Get("suppress_reset") == "1" }

// keyLifetimes are the settings for how long s is stored: of the APIs that it
// opens, the longest counts, as in the reference.
func (g *Gateway) keyLifetimes(s *coprocesspb.SessionState) session.Lifetimes {
	lifetimes := session.Lifetimes{
		Global:      time.Duration(g.config.GlobalSessionLifetime) * time.Second,
		ForceGlobal: g.config.ForceGlobalSessionLifetime,
	}
	current := g.use()
	if current == nil {
		return lifetimes
	}
	defer current.release()
	applied := s.CloneVT()
	_, _ = g.policies.Load().Apply(applied, s.GetOrgId(), "") // readKey has looked
	for id := range applied.GetAccessRights() {
		if a := current.byID[id]; a != nil {
			if c := a.chain(); c != nil {
				lifetimes.API = max(lifetimes.API, c.lifetimes.API)
			}
		}
	}
	return lifetimes
}

// scopes are those that requests of any of states may be counted under.
func scopes(states ...*coprocesspb.SessionState) []string {
	all := []string{""}
	for _, s := range states {
		for _, id := range policy.Named(s) {
			if !slices.Contains(all, id) {
				all = append(all, id)
			}
		}
	}
	return all
}

// resetCounters begins all counters of the key anew. states are what it says
// and said.
func (g *Gateway) resetCounters(ctx context.Context, id string, states ...*coprocesspb.SessionState) *keyFault {
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	for _, scope := range scopes(states...) {
		if err := g.limits.Reset(ctx, limit.Key(states[0].GetOrgId(), id, scope)); err != nil {
			return g.storeFault(err)
		}
	}
	return nil
}

// showCounters applies s's policies and fills in what is left of its quota; of
// several counters the one with the least left. What cannot be applied or told
// stays as it is stored.
func (g *Gateway) showCounters(ctx context.Context, id string, s *coprocesspb.SessionState) {
	policies := g.policies.Load()
	quotas := policies.Quotas(s, s.GetOrgId())
	if _, err := policies.Apply(s, s.GetOrgId(), ""); err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, countTimeout)
	defer cancel()
	s.QuotaRemaining, s.QuotaRenews = 0, 0
	known := false
	for _, quota := range quotas {
		limits := limit.New(0, 0, quota.Max, quota.Renewal)
		if limits.None() {
			continue
		}
		result, err := g.limits.Peek(ctx, limit.Key(s.GetOrgId(), id, quota.Scope), limits)
		if err == nil && (!known || result.Remaining < s.GetQuotaRemaining()) {
			known = true
			s.QuotaRemaining, s.QuotaRenews = result.Remaining, unixSeconds(result.Renews)
		}
	}
}

func (g *Gateway) storeFault(err error) *keyFault {
	g.log.Error("key store does not answer", telemetry.KeyError, err.Error())
	return &keyFault{code: http.StatusServiceUnavailable, message: msgKeyStore}
}
