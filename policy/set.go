package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/krait-gateway/krait/coprocesspb"
)

// Errors of [Set.Apply], wrapped with the policy's id. Each of them refuses the
// request.
var (
	// ErrUnknown says that there is no policy of that id.
	ErrUnknown = errors.New("policy is not known")
	// ErrRefused says that the policy, or the whole file, cannot be used.
	ErrRefused = errors.New("policy is refused")
	// ErrForeign says that the policy belongs to another organisation.
	ErrForeign = errors.New("policy belongs to another organisation")
	// ErrNoRights says that no policy of the session gives access rights.
	ErrNoRights = errors.New("policies give no access rights")
)

// Policy is one policy. It must not be changed.
type Policy struct {
	ID, OrgID string
	// Rate requests pass in Per seconds; 0: it says nothing about it,
	// negative: unlimited.
	Rate, Per float64
	// QuotaMax requests pass in QuotaRenewalRate seconds; 0: it says nothing
	// about it, negative: unlimited.
	QuotaMax, QuotaRenewalRate int64
	AccessRights               map[string]*coprocesspb.AccessDefinition
	// Inactive sessions are refused.
	Inactive bool
	Tags     []string
	Metadata map[string]string
	// KeyExpiresIn is the life time of keys that are created with the policy;
	// 0: no end.
	KeyExpiresIn time.Duration

	// What it sets of a session.
	setsRights, setsRate, setsQuota bool
}

// Set is all policies of a file. The zero value and nil have none.
type Set struct {
	policies map[string]*Policy
	refused  map[string]error
	// broken is why the whole file cannot be used.
	broken error
}

// IDs returns the ids of the policies that can be used, sorted.
func (s *Set) IDs() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.policies))
}

// Unread returns why the whole file could not be read, nil when it could. Every
// policy is refused then.
func (s *Set) Unread() error {
	if s == nil {
		return nil
	}
	return s.broken
}

// Get returns the policy with that id, or why there is none: an error that is
// [ErrUnknown] or [ErrRefused].
func (s *Set) Get(id string) (*Policy, error) {
	switch {
	case s == nil:
	case s.broken != nil:
		return nil, fmt.Errorf("policy %q: %w: %w", id, ErrRefused, s.broken)
	case s.policies[id] != nil:
		return s.policies[id], nil
	case s.refused[id] != nil:
		return nil, fmt.Errorf("policy %q: %w: %w", id, ErrRefused, s.refused[id])
	}
	return nil, fmt.Errorf("policy %q: %w", id, ErrUnknown)
}

// Named returns the ids of the policies that state names, each once:
// apply_policies, or without any of those apply_policy_id.
func Named(state *coprocesspb.SessionState) []string {
	ids := state.GetApplyPolicies()
	switch {
	case len(ids) > 1:
		seen := make(map[string]bool, len(ids)) // the list may be as long as a key's JSON
		return slices.DeleteFunc(slices.Clone(ids), func(id string) bool {
			twice := seen[id]
			seen[id] = true
			return twice
		})
	case len(ids) == 0 && state.GetApplyPolicyId() != "":
		return []string{state.GetApplyPolicyId()}
	}
	return ids
}

// KeyExpiry returns when a key expires that is created at now with the policies
// that state names, in Unix seconds; 0: they say nothing about it. Of several
// the earliest counts.
func (s *Set) KeyExpiry(state *coprocesspb.SessionState, now time.Time) int64 {
	var expires int64
	for _, id := range Named(state) {
		p, err := s.Get(id)
		if err != nil || p.KeyExpiresIn <= 0 {
			continue
		}
		if at := now.Add(p.KeyExpiresIn).Unix(); expires == 0 || at < expires {
			expires = at
		}
	}
	return expires
}
