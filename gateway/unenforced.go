package gateway

import (
	"strings"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/telemetry"
)

// warnUnenforced says once per API that its sessions ask for limits that this
// version keeps but does not enforce.
func (a *api) warnUnenforced(s *coprocesspb.SessionState) {
	if a.warned.Load() {
		return
	}
	limits := unenforced(s)
	if len(limits) == 0 || a.warned.Swap(true) {
		return
	}
	a.log.Warn("sessions of this API ask for limits that this version does not enforce; enforce them upstream",
		telemetry.KeyField, strings.Join(limits, ", "))
}

// unenforced names the limits of s that nothing here enforces.
func unenforced(s *coprocesspb.SessionState) []string {
	var limits []string
	for _, l := range []struct {
		name string
		set  bool
	}{
		{"rate", s.GetRate() > 0 && s.GetPer() > 0},
		{"quota_max", s.GetQuotaMax() > 0},
		{"apply_policies", len(s.GetApplyPolicies()) > 0 || s.GetApplyPolicyId() != ""},
		{"access_rights", restricts(s.GetAccessRights())},
	} {
		if l.set {
			limits = append(limits, l.name)
		}
	}
	return limits
}

// restricts says whether rights allow only some URLs or methods of an API.
func restricts(rights map[string]*coprocesspb.AccessDefinition) bool {
	for _, right := range rights {
		if len(right.GetAllowedUrls()) > 0 {
			return true
		}
	}
	return false
}
