package limit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"time"
)

const (
	// maxRate bounds the number of requests that are remembered.
	maxRate = 100_000
	// maxQuota is the largest number that a Redis script counts to exactly.
	maxQuota = 1 << 53
	// maxWindow is long enough for any limit, and leaves room for sums of
	// microseconds in the numbers of a Redis script.
	maxWindow = 100 * 365 * 24 * time.Hour
)

// Verdict says what becomes of a request.
type Verdict int

// Verdicts.
const (
	// Allowed: the request passes and was counted.
	Allowed Verdict = iota
	// RateExceeded: too many requests within the window of the rate.
	RateExceeded
	// QuotaExceeded: the quota is used up.
	QuotaExceeded
)

// Limits are what one session is held to. The zero value limits nothing. Make
// one with [New].
type Limits struct {
	// Rate requests pass within any period of Per; 0: no such limit.
	Rate int64
	Per  time.Duration
	// Quota requests pass until it renews; 0: no such limit.
	Quota int64
	// Renewal is how long after its first request a quota begins anew; 0:
	// never.
	Renewal time.Duration
}

// New returns the limits that the members of a session mean. A rate or per of 0
// or less, and a quota of 0 or less (-1 by convention), limit nothing. A rate
// below one request is one request in a longer time; other fractions are cut. A
// rate above 100000 is held in shares of 100000 requests, each in its share of
// per, so that what is remembered stays bounded. A rate or per that is no number
// lets as little through as there is. A renewal of 0 or less never renews. per
// and renewal are in seconds.
func New(rate, per float64, quota, renewal int64) Limits {
	var l Limits
	if math.IsNaN(rate) || math.IsNaN(per) || math.IsInf(rate, 1) && math.IsInf(per, 1) {
		rate, per = 1, maxWindow.Seconds()
	}
	if rate > 0 && per > 0 {
		if rate < 1 {
			per, rate = per/rate, 1
		}
		if rate > maxRate {
			per, rate = per*(maxRate/rate), maxRate
		}
		l.Rate = int64(rate)
		l.Per = max(time.Microsecond, time.Duration(min(per, maxWindow.Seconds())*float64(time.Second)))
	}
	if quota > 0 {
		l.Quota = min(quota, maxQuota)
		l.Renewal = time.Duration(min(max(renewal, 0), int64(maxWindow/time.Second))) * time.Second
	}
	return l
}

// None reports whether l limits nothing.
func (l Limits) None() bool { return l.Rate == 0 && l.Quota == 0 }

// Result is the outcome of counting.
type Result struct {
	Verdict Verdict
	// Remaining is how many requests the quota has left; 0 without a quota.
	// After RateExceeded it is not known, and 0.
	Remaining int64
	// Renews is when the quota begins anew, on the clock of who counts; zero
	// when it never does, or has not begun.
	Renews time.Time
}

// Counter counts requests. Keys come from [Key]. An error means that nothing is
// known: the request must not pass as if it had been allowed.
type Counter interface {
	// Take counts one request of key, if l lets it pass.
	Take(ctx context.Context, key string, l Limits) (Result, error)
	// Peek returns what is left of the quota, and counts nothing.
	Peek(ctx context.Context, key string, l Limits) (Result, error)
	// Reset forgets what was counted of key: its rate and its quota begin
	// anew.
	Reset(ctx context.Context, key string) error
}

// Key names the session id of an organisation without holding it: an id is
// often a token. A session may have several counters, one for each scope; "" is
// the one of the session itself.
func Key(orgID, id, scope string) string {
	sum := sha256.Sum256([]byte(orgID + "\x00" + id))
	key := hex.EncodeToString(sum[:])
	if scope == "" {
		return key
	}
	return Key(key, scope, "")
}
