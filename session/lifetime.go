package session

import (
	"errors"
	"math"
	"time"

	"github.com/krait-gateway/krait/coprocesspb"
)

// Errors of [Check].
var (
	// ErrInactive says that the session was switched off (is_inactive).
	ErrInactive = errors.New("session is inactive")
	// ErrExpired says that the session's time is over (expires).
	ErrExpired = errors.New("session has expired")
)

// Check says whether state may be used at the time now. expires is in Unix
// seconds; 0 and negative values mean never. A nil state is inactive.
func Check(state *coprocesspb.SessionState, now time.Time) error {
	if state == nil || state.GetIsInactive() {
		return ErrInactive
	}
	if expires := state.GetExpires(); expires > 0 && after(now, expires) {
		return ErrExpired
	}
	return nil
}

// after says whether now is later than the Unix time t. It compares integers:
// time.Unix overflows at the huge values by which a plugin may say "never".
func after(now time.Time, t int64) bool {
	return now.Unix() > t || now.Unix() == t && now.Nanosecond() > 0
}

// ExpiredRetention is how long a session is kept after it expired when it does
// not say so itself.
const ExpiredRetention = 24 * time.Hour

// Values of SessionState.post_expiry_action.
const (
	postExpiryDelete = "delete"
	postExpiryRetain = "retain"
)

// forever stands for no end within [Lifetime].
const forever = time.Duration(math.MaxInt64)

// Lifetimes are the settings that [Lifetime] weighs. A value of 0 or less is not
// set.
type Lifetimes struct {
	// API is session_lifetime of the API definition.
	API time.Duration
	// Global is global_session_lifetime of the gateway.
	Global time.Duration
	// ForceGlobal is force_global_session_lifetime: Global counts, whatever
	// sessions and APIs say, and when Global is not set, nothing bounds the
	// life time but expires.
	ForceGlobal bool
}

// Lifetime returns for how long state is to be kept in the store from now on; 0
// means without an end, as the ttl of [Store.Put].
//
// It is the first of these that is set: the global life time when it is forced,
// the session's own session_lifetime, the API's, the global one.
//
// A session that expires is not kept much longer, whatever the life time. Being
// expired and being deleted are two things: while an expired session is still
// there, its caller is told that the key has expired (and KeyExpired fires);
// after that the key is unknown. Both refuse the request. With
// post_expiry_action "delete" the session goes when it expires; with "retain" it
// goes post_expiry_grace_period seconds later, or by the life time alone when
// that is negative; otherwise [ExpiredRetention] later.
//
// A session whose time is already over is kept for a second, since 0 would mean
// for ever.
func Lifetime(state *coprocesspb.SessionState, set Lifetimes, now time.Time) time.Duration {
	d := min(configured(state, set), untilRemoval(state, now))
	switch {
	case d == forever:
		return 0
	case d < time.Second:
		return time.Second
	}
	return d
}

// configured returns the life time that the settings ask for.
func configured(state *coprocesspb.SessionState, set Lifetimes) time.Duration {
	candidates := []time.Duration{seconds(state.GetSessionLifetime()), set.API, set.Global}
	if set.ForceGlobal {
		candidates = []time.Duration{set.Global}
	}
	for _, d := range candidates {
		if d > 0 {
			return d
		}
	}
	return forever
}

// untilRemoval returns how long it is from now until an expired session goes; it
// is negative when that is over.
func untilRemoval(state *coprocesspb.SessionState, now time.Time) time.Duration {
	if state.GetExpires() <= 0 {
		return forever
	}
	var grace time.Duration
	switch state.GetPostExpiryAction() {
	case postExpiryDelete:
	case postExpiryRetain:
		if state.GetPostExpiryGracePeriod() < 0 {
			return forever
		}
		grace = seconds(state.GetPostExpiryGracePeriod())
	default:
		grace = ExpiredRetention
	}
	left := seconds(state.GetExpires() - now.Unix())
	if left > forever-grace {
		return forever
	}
	return left + grace
}

// seconds converts with saturation: a plugin may set any number.
func seconds(n int64) time.Duration {
	if n > int64(forever/time.Second) {
		return forever
	}
	return time.Duration(n) * time.Second
}
