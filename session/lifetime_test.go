package session_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/session"
)

func TestCheck(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, tc := range map[string]struct {
		state *coprocesspb.SessionState
		want  error
	}{
		"expires 0 never expires":              {&coprocesspb.SessionState{}, nil},
		"expires -1 never expires":             {&coprocesspb.SessionState{Expires: -1}, nil},
		"future expiry is fine":                {&coprocesspb.SessionState{Expires: now.Unix() + 1}, nil},
		"expiry right now is still fine":       {&coprocesspb.SessionState{Expires: now.Unix()}, nil},
		"past expiry is refused":               {&coprocesspb.SessionState{Expires: now.Unix() - 1}, session.ErrExpired},
		"tiny positive expiry is long past":    {&coprocesspb.SessionState{Expires: 1}, session.ErrExpired},
		"far expiry does not overflow":         {&coprocesspb.SessionState{Expires: math.MaxInt64 / 2}, nil},
		"largest expiry does not overflow":     {&coprocesspb.SessionState{Expires: math.MaxInt64}, nil},
		"inactive is refused":                  {&coprocesspb.SessionState{IsInactive: true}, session.ErrInactive},
		"inactive goes before expired":         {&coprocesspb.SessionState{IsInactive: true, Expires: 1}, session.ErrInactive},
		"no session is refused":                {nil, session.ErrInactive},
		"quota and rate are checked elsewhere": {&coprocesspb.SessionState{QuotaMax: 1, Rate: 1}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, session.Check(tc.state, now), tc.want)
		})
	}
}

func TestLifetime(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	in := func(d time.Duration) int64 { return now.Add(d).Unix() }
	all := session.Lifetimes{API: 200 * time.Second, Global: 300 * time.Second}
	forced := session.Lifetimes{API: 200 * time.Second, Global: 300 * time.Second, ForceGlobal: true}
	type state = coprocesspb.SessionState
	for name, tc := range map[string]struct {
		state *state
		set   session.Lifetimes
		want  time.Duration
	}{
		"nothing set means no end":                            {&state{}, session.Lifetimes{}, 0},
		"session's own goes first":                            {&state{SessionLifetime: 100}, all, 100 * time.Second},
		"API's goes before the global one":                    {&state{}, all, 200 * time.Second},
		"global one is the last resort":                       {&state{}, session.Lifetimes{Global: 300 * time.Second}, 300 * time.Second},
		"negative values are not set":                         {&state{SessionLifetime: -1}, session.Lifetimes{API: -1, Global: -1}, 0},
		"forced global overrides session and API":             {&state{SessionLifetime: 100}, forced, 300 * time.Second},
		"forced global that is not set means no end":          {&state{SessionLifetime: 100}, session.Lifetimes{API: 1, ForceGlobal: true}, 0},
		"life time shorter than expires counts":               {&state{SessionLifetime: 100, Expires: in(time.Hour)}, all, 100 * time.Second},
		"expires bounds a session without a life time":        {&state{Expires: in(time.Hour)}, session.Lifetimes{}, time.Hour + session.ExpiredRetention},
		"expires bounds a longer life time":                   {&state{SessionLifetime: 30 * 86400, Expires: in(time.Hour)}, all, time.Hour + session.ExpiredRetention},
		"expires bounds the forced global one":                {&state{Expires: in(time.Minute), PostExpiryAction: "delete"}, forced, time.Minute},
		"delete goes when it expires":                         {&state{Expires: in(time.Hour), PostExpiryAction: "delete", PostExpiryGracePeriod: 60}, session.Lifetimes{}, time.Hour},
		"retain goes after its grace period":                  {&state{Expires: in(time.Hour), PostExpiryAction: "retain", PostExpiryGracePeriod: 60}, session.Lifetimes{}, time.Hour + time.Minute},
		"retain without an end":                               {&state{Expires: in(time.Hour), PostExpiryAction: "retain", PostExpiryGracePeriod: -1}, session.Lifetimes{}, 0},
		"retain without an end is bounded by the life time":   {&state{Expires: in(time.Hour), PostExpiryAction: "retain", PostExpiryGracePeriod: -1}, all, 200 * time.Second},
		"session that is over is kept for a second, not ever": {&state{Expires: in(-time.Hour), PostExpiryAction: "delete"}, session.Lifetimes{}, time.Second},
		"session over since long is kept for a second":        {&state{Expires: 1}, all, time.Second},
		"huge life time does not overflow":                    {&state{SessionLifetime: math.MaxInt64}, all, 0},
		"huge expires does not overflow":                      {&state{Expires: math.MaxInt64}, session.Lifetimes{}, 0},
		"huge grace period does not overflow":                 {&state{Expires: in(time.Hour), PostExpiryAction: "retain", PostExpiryGracePeriod: math.MaxInt64}, session.Lifetimes{}, 0},
		"expires -1 bounds nothing":                           {&state{Expires: -1}, session.Lifetimes{}, 0},
		"no session takes the settings":                       {nil, all, 200 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, session.Lifetime(tc.state, tc.set, now))
		})
	}
}

func TestMergePreservingQuota(t *testing.T) {
	type state = coprocesspb.SessionState
	for name, tc := range map[string]struct {
		next, old        *state
		remaining, renew int64
	}{
		"counters of the existing session stay": {
			&state{QuotaMax: 100, QuotaRemaining: 100, QuotaRenews: 9}, &state{QuotaMax: 100, QuotaRemaining: 3, QuotaRenews: 5}, 3, 5,
		},
		"used-up quota stays used up": {
			&state{QuotaMax: 100, QuotaRemaining: 100}, &state{QuotaMax: 100, QuotaRemaining: 0, QuotaRenews: 5}, 0, 5,
		},
		"smaller quota bounds what remains": {
			&state{QuotaMax: 10, QuotaRemaining: 10}, &state{QuotaMax: 100, QuotaRemaining: 50, QuotaRenews: 5}, 10, 5,
		},
		"no existing session":                     {&state{QuotaMax: 100, QuotaRemaining: 100, QuotaRenews: 9}, nil, 100, 9},
		"existing session was unlimited":          {&state{QuotaMax: 100, QuotaRemaining: 100, QuotaRenews: 9}, &state{QuotaMax: -1}, 100, 9},
		"new session is unlimited":                {&state{QuotaMax: -1, QuotaRenews: 9}, &state{QuotaMax: 100, QuotaRemaining: 3, QuotaRenews: 5}, 0, 9},
		"nothing else of the old session returns": {&state{QuotaMax: 1, OrgId: "new"}, &state{QuotaMax: 1, OrgId: "old", Rate: 5}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			session.MergePreservingQuota(tc.next, tc.old)
			require.Equal(t, tc.remaining, tc.next.GetQuotaRemaining())
			require.Equal(t, tc.renew, tc.next.GetQuotaRenews())
			require.NotEqual(t, "old", tc.next.GetOrgId())
			require.Zero(t, tc.next.GetRate())
		})
	}
	session.MergePreservingQuota(nil, &state{QuotaMax: 1})
}
