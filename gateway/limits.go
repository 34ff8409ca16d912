package gateway

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/krait-gateway/krait/limit"
	"github.com/krait-gateway/krait/telemetry"
)

// Headers that tell a client about its quota, with the reference's names.
const (
	headerQuotaLimit     = "X-RateLimit-Limit"
	headerQuotaRemaining = "X-RateLimit-Remaining"
	headerQuotaReset     = "X-RateLimit-Reset"
)

// countTimeout bounds one access to what requests are counted in.
const countTimeout = 3 * time.Second

// countedLimits is what a request was counted against. One that hooks route to
// several APIs counts once for its session.
type countedLimits struct {
	key    string
	limits limit.Limits
}

// quotaState is what a client is told about its quota.
type quotaState struct {
	max, remaining int64
	reset          int64 // Unix seconds, 0: never
}

func (q *quotaState) fields() map[string]string {
	return map[string]string{
		headerQuotaLimit:     strconv.FormatInt(q.max, 10),
		headerQuotaRemaining: strconv.FormatInt(q.remaining, 10),
		headerQuotaReset:     strconv.FormatInt(q.reset, 10),
	}
}

func (q *quotaState) writeTo(h http.Header) {
	for name, value := range q.fields() {
		h.Set(name, value)
	}
}

// counterKey names what x's session is counted under.
func (x *exchange) counterKey() string { return limit.Key(x.api.orgID, x.token, x.scope) }

// limits returns what x's session is held to at the API of c.
func (x *exchange) limits(c *chain) limit.Limits {
	s := x.session
	rate, quota := s.GetRate(), s.GetQuotaMax()
	if c.noRate {
		rate = 0
	}
	if c.noQuota {
		quota = 0
	}
	return limit.New(rate, s.GetPer(), quota, s.GetQuotaRenewalRate())
}

// checkLimits counts x against the rate and the quota of its session. What
// cannot be counted is refused: a limit protects the upstream, or what is sold.
func (x *exchange) checkLimits(c *chain) *reply {
	limits := x.limits(c)
	if limits.None() {
		x.quota = nil
		return nil
	}
	counted := countedLimits{x.counterKey(), limits}
	if slices.Contains(x.counted, counted) {
		return nil
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), countTimeout)
	defer cancel()
	result, err := x.gateway.limits.Take(ctx, counted.key, limits)
	if err != nil {
		if x.clientGone() {
			return &reply{dropped: true}
		}
		if skipped, ok := x.api.uncounted.allow(); ok {
			x.log.Error("cannot count requests, those of sessions with a rate or quota are refused",
				telemetry.KeyCount, skipped, telemetry.KeyError, err.Error())
		}
		return &reply{code: http.StatusServiceUnavailable, message: msgBusy, retryAfter: retryAfterBusy}
	}
	x.counted = append(x.counted, counted)
	if result.Verdict == limit.RateExceeded {
		x.log.Info("session exceeds its rate, the request is refused", telemetry.KeyTokenHash, telemetry.TokenHash(x.token))
		x.rateExceeded()
		return errorReply(http.StatusTooManyRequests, msgRateExceeded)
	}
	x.noteQuota(limits, result)
	if result.Verdict == limit.QuotaExceeded {
		x.log.Info("session exceeds its quota, the request is refused", telemetry.KeyTokenHash, telemetry.TokenHash(x.token))
		x.quotaExceeded()
		return &reply{code: http.StatusForbidden, message: msgQuotaExceeded, header: x.quota.fields()}
	}
	x.watchQuota(limits, result)
	return nil
}

// watchQuota fires an event for each of the session's trigger limits, in per
// cent of its quota, that this request has reached.
func (x *exchange) watchQuota(limits limit.Limits, result limit.Result) {
	used := limits.Quota - result.Remaining
	share := func(n int64) float64 { return 100 * float64(n) / float64(limits.Quota) }
	for _, percent := range x.session.GetMonitor().GetTriggerLimits() {
		if limits.Quota > 0 && share(used) >= percent && share(used-1) < percent {
			x.triggerExceeded(percent, share(used))
		}
	}
}

// showQuota fills in the session's quota counters for the hooks before
// checkLimits. Without an answer they stay as stored: checkLimits refuses.
func (x *exchange) showQuota(c *chain) {
	limits := x.limits(c)
	if limits.Quota == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(x.r.Context(), countTimeout)
	defer cancel()
	if result, err := x.gateway.limits.Peek(ctx, x.counterKey(), limits); err == nil {
		x.noteQuota(limits, result)
	}
}

// noteQuota shows what is left of the quota to hooks and to the client. The
// counts themselves are not kept in the stored session: writing it back would
// undo changes made meanwhile, and bring back a key that was deleted.
func (x *exchange) noteQuota(limits limit.Limits, result limit.Result) {
	if limits.Quota == 0 {
		x.quota = nil
		return
	}
	x.quota = &quotaState{max: limits.Quota, remaining: result.Remaining, reset: unixSeconds(result.Renews)}
	x.session.QuotaRemaining, x.session.QuotaRenews = x.quota.remaining, x.quota.reset
}

// unixSeconds rounds up, so that a client that waits does not come too early.
func unixSeconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Add(time.Second - time.Nanosecond).Unix()
}
