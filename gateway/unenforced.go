package gateway

import (
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/telemetry"
)

// warnUnenforced says once per API that its sessions name policies, which this
// version keeps but does not apply.
func (a *api) warnUnenforced(s *coprocesspb.SessionState) {
	if len(s.GetApplyPolicies()) == 0 && s.GetApplyPolicyId() == "" {
		return
	}
	if a.warned.Load() || a.warned.Swap(true) {
		return
	}
	a.log.Warn("sessions of this API name policies, which this version does not apply; set their limits in the session itself",
		telemetry.KeyField, "apply_policies")
}
