package gateway_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/policy"
	"github.com/krait-gateway/krait/session"
)

func policies(t *testing.T, text string) *policy.Set {
	t.Helper()
	set, _, err := policy.Parse("policies.json", []byte(text))
	require.NoError(t, err)
	return set
}

const gold = `{"gold": {"org_id": "org", "rate": 2, "per": 3600, "quota_max": 9, "tags": ["t"], "meta_data": {"tier": "gold"}, "access_rights": {"a": {}}}}`

func TestPoliciesOfAuthCheckAreApplied(t *testing.T) {
	for name, names := range map[string]func(s *coprocesspb.SessionState){
		"apply_policies":  func(s *coprocesspb.SessionState) { s.ApplyPolicies = []string{"gold"} },
		"apply_policy_id": func(s *coprocesspb.SessionState) { s.ApplyPolicyId = "gold" },
	} {
		t.Run(name, func(t *testing.T) {
			var seen *coprocesspb.SessionState
			f, up := limited(t, func(s *coprocesspb.SessionState) { s.QuotaMax = 1; names(s) }, setup{
				policies: policies(t, gold),
				hooks: map[string]hookFunc{"PostKeyAuth": func(_ context.Context, obj *coprocesspb.Object) error {
					seen = obj.GetSession().CloneVT()
					return nil
				}},
			})
			require.Equal(t, 200, f.get("/a/x").code)
			require.Equal(t, "7", f.get("/a/x").header.Get("X-RateLimit-Remaining"))
			require.Equal(t, 429, f.get("/a/x").code)
			require.Equal(t, 2, up.count())
			require.Equal(t, "gold", seen.GetMetadata()["tier"])
			require.Equal(t, []string{"t"}, seen.GetTags())
			require.Contains(t, seen.GetAccessRights(), "a")

			stored, err := session.NewStore(f.store).Get(t.Context(), "tok")
			require.NoError(t, err)
			require.EqualValues(t, 1, stored.GetQuotaMax(), "the stored session keeps what it says itself")
			require.Empty(t, stored.GetAccessRights())
			require.Empty(t, stored.GetTags())
		})
	}
}

func TestChangedPoliciesHoldAtOnce(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{policies: policies(t, gold), apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, keyed())}})
	require.NoError(t, session.NewStore(f.store).Put(t.Context(), "k", &coprocesspb.SessionState{OrgId: "org", ApplyPolicies: []string{"gold"}}, 0))
	get := func() answer { return f.get("/a/", "Authorization", "k") }
	require.Equal(t, "9", get().header.Get("X-RateLimit-Limit"))
	f.SetPolicies(policies(t, `{"gold": {"org_id": "org", "quota_max": 5, "access_rights": {"a": {}}}}`))
	require.Equal(t, "5", get().header.Get("X-RateLimit-Limit"))
	for name, text := range map[string]string{
		"inactive":       `{"gold": {"org_id": "org", "is_inactive": true, "access_rights": {"a": {}}}}`,
		"other rights":   `{"gold": {"org_id": "org", "access_rights": {"b": {}}}}`,
		"another org":    `{"gold": {"org_id": "other", "access_rights": {"a": {}}}}`,
		"without rights": `{"gold": {"org_id": "org"}}`,
		"gone":           `{}`,
	} {
		t.Run(name, func(t *testing.T) {
			f.SetPolicies(policies(t, text))
			require.Equal(t, 403, get().code)
		})
	}
	f.SetPolicies(nil)
	require.Equal(t, 403, get().code)
	require.Equal(t, 2, up.count())
	f.SetPolicies(policies(t, gold))
	require.Equal(t, 200, get().code)
}

func TestPoliciesThatCannotBeAppliedRefuse(t *testing.T) {
	f, up := limited(t, func(s *coprocesspb.SessionState) {
		s.Metadata = map[string]string{"token": "secret-token"}
		s.ApplyPolicies = []string{"nobody-made-me"}
	}, setup{})
	for range 3 {
		got := f.get("/a/x")
		require.Equal(t, 403, got.code)
		require.JSONEq(t, `{"error": "Access to this API has been disallowed"}`, got.body)
	}
	require.Zero(t, up.count())
	require.Equal(t, []string{"AuthFailure", "AuthFailure", "AuthFailure"}, f.events.names())
	require.Contains(t, f.logs.String(), "nobody-made-me")
	require.NotContains(t, f.logs.String(), "secret-token")
}

func TestPoliciesOfTwoAPIsCountApart(t *testing.T) {
	up := newUpstream(t)
	f := start(t, setup{
		policies: policies(t, `{
			"one": {"org_id": "org", "quota_max": 1, "access_rights": {"a": {}}},
			"two": {"org_id": "org", "quota_max": 2, "access_rights": {"b": {}}}}`),
		apis: []apidef.Loaded{definition(t, "a", "/a/", up.URL, keyed()), definition(t, "b", "/b/", up.URL, keyed())},
	})
	require.NoError(t, session.NewStore(f.store).Put(t.Context(), "k", &coprocesspb.SessionState{OrgId: "org", ApplyPolicies: []string{"one", "two"}}, 0))
	for _, c := range []struct {
		path string
		want int
	}{{"/a/", 200}, {"/a/", 403}, {"/b/", 200}, {"/b/", 200}, {"/b/", 403}} {
		require.Equal(t, c.want, f.get(c.path, "Authorization", "k").code, c.path)
	}
}
