package session

import "github.com/krait-gateway/krait/coprocesspb"

// MergePreservingQuota gives next the quota counters of old, the session that the
// store holds under the same id (nil for none), so that logging in again does not
// refill a quota (contract section 3). The quota itself is next's: when it became
// smaller, no more than the new maximum remains.
//
// Without a quota (quota_max 0 or less) on either side there are no counters to
// keep, and next stays as it is.
func MergePreservingQuota(next, old *coprocesspb.SessionState) {
	if next == nil || next.GetQuotaMax() <= 0 || old.GetQuotaMax() <= 0 {
		return
	}
	next.QuotaRenews = old.GetQuotaRenews()
	next.QuotaRemaining = min(old.GetQuotaRemaining(), next.GetQuotaMax())
}
