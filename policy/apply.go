package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/krait-gateway/krait/coprocesspb"
)

// defaultVersion is what a right without versions opens.
const defaultVersion = "Default"

// Apply applies the policies that state names, for use at the API apiID of the
// organisation orgID (contract section 3). Afterwards state has the access
// rights of all its policies, and the rate and quota that hold at that API; ""
// is for no API in particular. Without policies nothing changes.
//
// Requests are to be counted apart for each scope; "" is the session's own
// counter.
//
// The error is [ErrUnknown], [ErrRefused], [ErrForeign] or [ErrNoRights]; state
// is then as it was, and must not be used.
func (s *Set) Apply(state *coprocesspb.SessionState, orgID, apiID string) (scope string, err error) {
	names := Named(state)
	if len(names) == 0 {
		return "", nil
	}
	policies, err := s.pick(names, orgID)
	if err != nil {
		return "", err
	}
	c := combine(state, policies)
	rights := c.accessRights()
	if len(rights) == 0 {
		return "", fmt.Errorf("policies %q: %w", names, ErrNoRights)
	}
	state.AccessRights = rights
	for _, p := range policies {
		state.IsInactive = state.GetIsInactive() || p.Inactive
		for _, tag := range p.Tags {
			if !slices.Contains(state.GetTags(), tag) {
				state.Tags = append(state.Tags, tag)
			}
		}
		if len(p.Metadata) > 0 && state.Metadata == nil {
			state.Metadata = make(map[string]string, len(p.Metadata))
		}
		maps.Copy(state.Metadata, p.Metadata)
	}
	held, scope := c.at(apiID)
	state.Rate, state.Per = held.rate, held.per
	state.QuotaMax, state.QuotaRenewalRate = held.quota, held.renewal
	return scope, nil
}

// Quota is a quota that requests are counted against; see [Policy] for the
// numbers.
type Quota struct {
	// Scope is that of [Set.Apply].
	Scope        string
	Max, Renewal int64
}

// Quotas returns every quota that requests of state, a session of the
// organisation orgID, are counted against at one of the APIs that its policies
// open; without policies it is the session's own. There are none when the
// policies cannot be applied. The order is random.
func (s *Set) Quotas(state *coprocesspb.SessionState, orgID string) []Quota {
	names := Named(state)
	if len(names) == 0 {
		return []Quota{{Max: state.GetQuotaMax(), Renewal: state.GetQuotaRenewalRate()}}
	}
	policies, err := s.pick(names, orgID)
	if err != nil {
		return nil
	}
	c := combine(state, policies)
	quotas := make(map[Quota]struct{})
	for id, g := range c.grants {
		if g.hasRight {
			held, scope := c.at(id)
			quotas[Quota{scope, held.quota, held.renewal}] = struct{}{}
		}
	}
	return slices.Collect(maps.Keys(quotas))
}

// pick returns the policies of names, or why they cannot be applied, all of it
// together.
func (s *Set) pick(names []string, orgID string) ([]*Policy, error) {
	var policies []*Policy
	var faults []error
	for _, name := range names {
		p, err := s.Get(name)
		if err == nil && p.OrgID != orgID {
			err = fmt.Errorf("policy %q: %w: its org_id is %q, not %q", name, ErrForeign, p.OrgID, orgID)
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		policies = append(policies, p)
	}
	return policies, errors.Join(faults...)
}

// limits are a rate and a quota, as [Policy] has them.
type limits struct {
	rate, per      float64
	quota, renewal int64
}

// raiseRate takes the rate of p when it lets more through. One without a rate
// or without a period says nothing.
func (l *limits) raiseRate(p *Policy) {
	if p.Rate == 0 || p.Per == 0 {
		return
	}
	if l.rate == 0 || l.per == 0 || interval(p.Rate, p.Per) < interval(l.rate, l.per) {
		l.rate, l.per = p.Rate, p.Per
	}
}

// interval is the time from one request to the next, in seconds; 0: unlimited.
func interval(rate, per float64) float64 {
	if rate < 0 || per < 0 {
		return 0
	}
	return per / rate
}

func (l *limits) raiseQuota(p *Policy) {
	if l.quota >= 0 && (p.QuotaMax < 0 || p.QuotaMax > l.quota) {
		l.quota = p.QuotaMax
	}
	l.renewal = max(l.renewal, p.QuotaRenewalRate)
}

// grant is what policies say about one API.
type grant struct {
	limits
	right                       *coprocesspb.AccessDefinition
	hasRight, hasRate, hasQuota bool
	// by is the last policy that gave the right.
	by string
}

// combination is several policies taken together.
type combination struct {
	// session is what holds where policies say nothing about an API.
	session limits
	grants  map[string]*grant
	// apart: rights come from several policies, each of which counts for itself.
	apart bool
}

// combine begins with what state says itself, without the parts that one of
// policies sets, and adds what the policies say.
func combine(state *coprocesspb.SessionState, policies []*Policy) *combination {
	c := &combination{grants: make(map[string]*grant), session: limits{
		rate: state.GetRate(), per: state.GetPer(), quota: state.GetQuotaMax(), renewal: state.GetQuotaRenewalRate(),
	}}
	for _, p := range policies {
		if p.setsRate {
			c.session.rate, c.session.per = 0, 0
		}
		if p.setsQuota {
			c.session.quota, c.session.renewal = 0, 0
		}
	}
	for _, p := range policies {
		c.add(p)
	}
	by := ""
	for _, g := range c.grants {
		if !g.hasRight {
			continue
		}
		if by == "" {
			by = g.by
		}
		c.apart = c.apart || g.by != by
	}
	return c
}

func (c *combination) add(p *Policy) {
	if p.setsRate {
		c.session.raiseRate(p)
	}
	if p.setsQuota {
		c.session.raiseQuota(p)
	}
	for id, right := range p.AccessRights {
		g := c.grants[id]
		if g == nil {
			g = &grant{}
			c.grants[id] = g
		}
		if p.setsRights {
			g.right = merged(g.right, right)
			g.hasRight, g.by = true, p.ID
		}
		if p.setsRate {
			g.raiseRate(p)
			g.hasRate = g.hasRate || p.Rate != 0 && p.Per != 0
		}
		if p.setsQuota {
			g.raiseQuota(p)
			g.hasQuota = g.hasQuota || p.QuotaMax != 0
		}
	}
}

func (c *combination) accessRights() map[string]*coprocesspb.AccessDefinition {
	rights := make(map[string]*coprocesspb.AccessDefinition, len(c.grants))
	for id, g := range c.grants {
		if g.hasRight {
			rights[id] = g.right
		}
	}
	return rights
}

// at returns what holds at the API id, and the scope of its counters.
func (c *combination) at(id string) (limits, string) {
	g := c.grants[id]
	if g == nil || !g.hasRight {
		return c.session, ""
	}
	held := g.limits
	if !g.hasRate {
		held.rate, held.per = c.session.rate, c.session.per
	}
	if !g.hasQuota {
		held.quota, held.renewal = c.session.quota, c.session.renewal
	}
	if c.apart {
		return held, g.by
	}
	return held, ""
}

// merged returns a right that opens what a and b open; a may be nil.
func merged(a, b *coprocesspb.AccessDefinition) *coprocesspb.AccessDefinition {
	if a == nil {
		return b.CloneVT()
	}
	a.Versions = union(versions(a), versions(b))
	for _, allowed := range b.GetAllowedUrls() {
		at := slices.IndexFunc(a.GetAllowedUrls(), func(s *coprocesspb.AccessSpec) bool { return s.GetUrl() == allowed.GetUrl() })
		if at < 0 {
			a.AllowedUrls = append(a.AllowedUrls, allowed.CloneVT())
			continue
		}
		a.AllowedUrls[at].Methods = union(a.AllowedUrls[at].GetMethods(), allowed.GetMethods())
	}
	return a
}

func versions(right *coprocesspb.AccessDefinition) []string {
	if len(right.GetVersions()) == 0 {
		return []string{defaultVersion}
	}
	return right.GetVersions()
}

func union(a, b []string) []string {
	for _, item := range b {
		if !slices.Contains(a, item) {
			a = append(a, item)
		}
	}
	return a
}
