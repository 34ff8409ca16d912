package policy_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/jsonfile"
	"github.com/krait-gateway/krait/policy"
)

type state = coprocesspb.SessionState

func set(t *testing.T, text string) *policy.Set {
	t.Helper()
	s, warnings, err := policy.Parse("policies.json", []byte(text))
	require.NoError(t, err)
	require.Empty(t, warnings)
	return s
}

// TestPolicyOfTheReference reads a policy with the members of Tyk's examples.
func TestPolicyOfTheReference(t *testing.T) {
	s := set(t, `{"default": {
		"_id": "5ead7120575961000181867e", "id": "default", "name": "Sample", "org_id": "acme", "last_updated": "1",
		"rate": 1000, "per": 60, "quota_max": 100, "quota_renewal_rate": 3600, "active": true, "is_inactive": false,
		"access_rights": {"a": {"allowed_urls": [{"url": "^/x", "methods": ["GET"]}], "api_id": "a", "api_name": "A",
			"versions": ["Default"], "disable_introspection": false, "limit": null, "allowance_scope": ""}},
		"tags": ["Startup Users"], "meta_data": {"tier": "gold", "level": 2}, "key_expires_in": 60,
		"partitions": {"acl": true, "complexity": false, "per_api": false, "quota": true, "rate_limit": true},
		"hmac_enabled": false, "enable_http_signature_validation": false, "max_query_depth": -1,
		"throttle_interval": -1, "throttle_retry_limit": -1, "graphql_access_rights": {}
	}}`)
	got := &state{
		ApplyPolicyId: "default", Rate: 1, Per: 1, QuotaMax: 7, Tags: []string{"own"}, Metadata: map[string]string{"tier": "none", "own": "x"},
		AccessRights: map[string]*coprocesspb.AccessDefinition{"b": {}},
	}
	scope, err := s.Apply(got, "acme", "a")
	require.NoError(t, err)
	require.Empty(t, scope)
	require.Equal(t, []float64{1000, 60}, []float64{got.GetRate(), got.GetPer()})
	require.Equal(t, []int64{100, 3600}, []int64{got.GetQuotaMax(), got.GetQuotaRenewalRate()})
	require.Equal(t, []string{"own", "Startup Users"}, got.GetTags())
	require.Equal(t, map[string]string{"tier": "gold", "own": "x", "level": "2"}, got.GetMetadata())
	require.Len(t, got.GetAccessRights(), 1)
	require.Equal(t, []string{"GET"}, got.GetAccessRights()["a"].GetAllowedUrls()[0].GetMethods())
	require.False(t, got.GetIsInactive())
	require.EqualValues(t, 1060, s.KeyExpiry(got, time.Unix(1000, 0)))

	// What is handed out is no part of the set.
	got.GetAccessRights()["a"].Versions[0] = "changed"
	again := &state{ApplyPolicies: []string{"default"}}
	_, err = s.Apply(again, "acme", "a")
	require.NoError(t, err)
	require.Equal(t, []string{"Default"}, again.GetAccessRights()["a"].GetVersions())
}

// tiers are policies that combine in every way.
const tiers = `{
	"bronze": {"rate": 10, "per": 1, "quota_max": 100, "quota_renewal_rate": 60, "access_rights": {"a": {}}},
	"silver": {"rate": 600, "per": 30, "quota_max": 50, "quota_renewal_rate": 3600, "access_rights": {"a": {}}, "meta_data": {"tier": "silver"}},
	"other": {"rate": 5, "per": 1, "quota_max": 7, "access_rights": {"b": {}}, "meta_data": {"tier": "other"}},
	"unlimited": {"rate": -1, "per": -1, "quota_max": -1, "access_rights": {"a": {}}},
	"silent": {"access_rights": {"a": {}}},
	"acl": {"rate": 1, "per": 1, "partitions": {"acl": true}, "access_rights": {"a": {"versions": ["v1"]}}},
	"acl-get": {"partitions": {"acl": true}, "access_rights": {"a": {"allowed_urls": [{"url": "/x", "methods": ["GET"]}]}}},
	"acl-post": {"partitions": {"acl": true}, "access_rights": {"a": {"allowed_urls": [{"url": "/x", "methods": ["POST", "GET"]}, {"url": "/y", "methods": ["GET"]}]}}},
	"rate": {"rate": 99, "per": 1, "quota_max": 1, "partitions": {"rate_limit": true}},
	"rate-a": {"rate": 77, "per": 1, "quota_max": 1, "partitions": {"rate_limit": true}, "access_rights": {"a": {}, "b": {}}},
	"quota": {"rate": 1, "per": 1, "quota_max": 33, "quota_renewal_rate": 9, "partitions": {"quota": true}},
	"master": {"rate": 4, "per": 1},
	"off": {"is_inactive": true, "access_rights": {"a": {}}},
	"inactive": {"active": false, "access_rights": {"a": {}}},
	"foreign": {"org_id": "other", "access_rights": {"a": {}}}
}`

func TestPoliciesCombine(t *testing.T) {
	s := set(t, tiers)
	type want struct {
		rate, per      float64
		quota, renewal int64
		scope          string
	}
	for name, tc := range map[string]struct {
		policies []string
		api      string
		own      *state
		want     want
	}{
		"none leave the session alone":                             {nil, "a", &state{Rate: 3, Per: 2, QuotaMax: 1}, want{3, 2, 1, 0, ""}},
		"one replaces what the session says":                       {[]string{"bronze"}, "a", &state{Rate: 1000, Per: 1, QuotaMax: -1, QuotaRenewalRate: 99999}, want{10, 1, 100, 60, ""}},
		"the highest of each wins":                                 {[]string{"bronze", "silver"}, "a", nil, want{600, 30, 100, 3600, ""}},
		"in whatever order":                                        {[]string{"silver", "bronze"}, "a", nil, want{600, 30, 100, 3600, ""}},
		"one that is named twice counts once":                      {[]string{"bronze", "bronze"}, "a", nil, want{10, 1, 100, 60, ""}},
		"each API has the limits of its policies":                  {[]string{"bronze", "other"}, "a", nil, want{10, 1, 100, 60, "bronze"}},
		"and the other one too":                                    {[]string{"bronze", "other"}, "b", nil, want{5, 1, 7, 0, "other"}},
		"no API in particular: the highest":                        {[]string{"bronze", "other"}, "", nil, want{10, 1, 100, 60, ""}},
		"negative is unlimited and highest":                        {[]string{"bronze", "unlimited"}, "a", nil, want{-1, -1, -1, 60, ""}},
		"without limits it limits nothing":                         {[]string{"silent"}, "a", &state{Rate: 1, Per: 1, QuotaMax: 1}, want{0, 0, 0, 0, ""}},
		"partition acl leaves the limits alone":                    {[]string{"acl"}, "a", &state{Rate: 3, Per: 2, QuotaMax: 8}, want{3, 2, 8, 0, ""}},
		"partition rate_limit for all APIs":                        {[]string{"acl", "rate"}, "a", &state{Rate: 3, Per: 2, QuotaMax: 8}, want{99, 1, 8, 0, ""}},
		"partition rate_limit for an API":                          {[]string{"acl", "rate-a"}, "a", &state{QuotaMax: 8}, want{77, 1, 8, 0, ""}},
		"partition quota":                                          {[]string{"quota", "acl"}, "a", &state{Rate: 3, Per: 2, QuotaMax: 8}, want{3, 2, 33, 9, ""}},
		"a rate for an API goes before one for all":                {[]string{"rate-a", "acl", "rate"}, "a", nil, want{77, 1, 0, 0, ""}},
		"a limit for all APIs holds where a right comes with none": {[]string{"silent", "rate", "quota"}, "a", nil, want{99, 1, 33, 9, ""}},
		"policies without rights limit what has none":              {[]string{"master", "acl"}, "a", nil, want{4, 1, 0, 0, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			got := tc.own
			if got == nil {
				got = &state{}
			}
			got.ApplyPolicies = tc.policies
			scope, err := s.Apply(got, "", tc.api)
			require.NoError(t, err)
			require.Equal(t, tc.want, want{got.GetRate(), got.GetPer(), got.GetQuotaMax(), got.GetQuotaRenewalRate(), scope})
		})
	}
}

func TestQuotasOfPolicies(t *testing.T) {
	s := set(t, tiers)
	for name, tc := range map[string]struct {
		state *state
		want  []policy.Quota
	}{
		"the session's own without policies": {&state{QuotaMax: 5, QuotaRenewalRate: 6}, []policy.Quota{{Max: 5, Renewal: 6}}},
		"common to all APIs":                 {&state{ApplyPolicies: []string{"acl", "quota"}}, []policy.Quota{{Max: 33, Renewal: 9}}},
		"one for each policy that gives rights": {&state{ApplyPolicies: []string{"bronze", "other"}}, []policy.Quota{
			{Scope: "bronze", Max: 100, Renewal: 60}, {Scope: "other", Max: 7},
		}},
		"none when a policy is missing": {&state{ApplyPolicies: []string{"bronze", "gone"}, QuotaMax: 5}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			require.ElementsMatch(t, tc.want, s.Quotas(tc.state, ""))
		})
	}
}

// A key's JSON may name as many policies as fit into it.
func TestManyPoliciesTakeLittleTime(t *testing.T) {
	many := &state{}
	for i := range 100_000 {
		many.ApplyPolicies = append(many.ApplyPolicies, strconv.Itoa(i), "0")
	}
	began := time.Now()
	require.Len(t, policy.Named(many), 100_000)
	require.Less(t, time.Since(began), 5*time.Second, "comparing each with each takes half a minute")
	require.Len(t, many.GetApplyPolicies(), 200_000, "the session is not changed")
}

func TestAccessRightsOfPolicies(t *testing.T) {
	s := set(t, tiers)
	apply := func(policies ...string) *state {
		got := &state{ApplyPolicies: policies}
		_, err := s.Apply(got, "", "a")
		require.NoError(t, err)
		return got
	}
	t.Run("are those of all", func(t *testing.T) {
		require.Len(t, apply("bronze", "other").GetAccessRights(), 2)
	})
	t.Run("versions add up, none means Default", func(t *testing.T) {
		require.Equal(t, []string{"Default", "v1"}, apply("bronze", "acl").GetAccessRights()["a"].GetVersions())
	})
	t.Run("methods of a pattern add up", func(t *testing.T) {
		urls := apply("acl-get", "acl-post").GetAccessRights()["a"].GetAllowedUrls()
		require.Len(t, urls, 2)
		require.Equal(t, []string{"GET", "POST"}, urls[0].GetMethods())
		require.Equal(t, "/y", urls[1].GetUrl())
	})
	t.Run("patterns of one bound the right of another, as in the reference", func(t *testing.T) {
		require.Len(t, apply("bronze", "acl-get").GetAccessRights()["a"].GetAllowedUrls(), 1)
	})
	t.Run("rights of another partition open nothing", func(t *testing.T) {
		require.NotContains(t, apply("rate-a", "acl").GetAccessRights(), "b")
	})
	t.Run("metadata of the last one wins", func(t *testing.T) {
		require.Equal(t, "other", apply("silver", "other").GetMetadata()["tier"])
		require.Equal(t, "silver", apply("other", "silver").GetMetadata()["tier"])
	})
	for _, policies := range [][]string{{"off"}, {"inactive"}, {"bronze", "off"}, {"off", "bronze"}} {
		t.Run("inactive: "+strings.Join(policies, ", "), func(t *testing.T) {
			require.True(t, apply(policies...).GetIsInactive())
		})
	}
}

func TestPoliciesThatCannotBeApplied(t *testing.T) {
	s := set(t, tiers)
	broken, _, err := policy.Parse("policies.json", []byte(`[]`))
	require.Error(t, err)
	var none *policy.Set
	for name, tc := range map[string]struct {
		set      *policy.Set
		policies []string
		want     error
	}{
		"unknown":                        {s, []string{"gone"}, policy.ErrUnknown},
		"unknown beside a good one":      {s, []string{"bronze", "gone"}, policy.ErrUnknown},
		"empty name":                     {s, []string{""}, policy.ErrUnknown},
		"other letter case":              {s, []string{"Bronze"}, policy.ErrUnknown},
		"of another organisation":        {s, []string{"bronze", "foreign"}, policy.ErrForeign},
		"no policies configured":         {none, []string{"bronze"}, policy.ErrUnknown},
		"no policies at all":             {&policy.Set{}, []string{"bronze"}, policy.ErrUnknown},
		"file that cannot be used":       {broken, []string{"bronze"}, policy.ErrRefused},
		"no access rights":               {s, []string{"master"}, policy.ErrNoRights},
		"rights of other partitions":     {s, []string{"rate-a"}, policy.ErrNoRights},
		"the session's own do not count": {s, []string{"rate"}, policy.ErrNoRights},
	} {
		t.Run(name, func(t *testing.T) {
			got := &state{ApplyPolicies: tc.policies, AccessRights: map[string]*coprocesspb.AccessDefinition{"a": {}}, Rate: 5}
			before := got.CloneVT()
			_, err := tc.set.Apply(got, "", "a")
			require.ErrorIs(t, err, tc.want)
			require.True(t, before.EqualVT(got), "nothing changed")
		})
	}
	t.Run("all of it together", func(t *testing.T) {
		_, err := s.Apply(&state{ApplyPolicies: []string{"gone", "foreign"}}, "", "a")
		require.ErrorIs(t, err, policy.ErrUnknown)
		require.ErrorIs(t, err, policy.ErrForeign)
	})
	t.Run("sessions without policies do not care", func(t *testing.T) {
		for _, s := range []*policy.Set{s, broken, none} {
			_, err := s.Apply(&state{}, "", "a")
			require.NoError(t, err)
			require.Zero(t, s.KeyExpiry(&state{}, time.Now()))
		}
	})
}

func TestPoliciesAreRefusedByName(t *testing.T) {
	for name, tc := range map[string]struct{ text, field, problem string }{
		"per_api":                     {`{"partitions": {"per_api": true}}`, "bad.partitions.per_api", "is not supported"},
		"limit of one API":            {`{"access_rights": {"a": {"limit": {"rate": 5, "per": 1}}}}`, "bad.access_rights.a.limit", "is not supported"},
		"allowed_types":               {`{"access_rights": {"a": {"allowed_types": [{"name": "Q"}]}}}`, "bad.access_rights.a.allowed_types", "is not supported"},
		"introspection":               {`{"access_rights": {"a": {"disable_introspection": true}}}`, "bad.access_rights.a.disable_introspection", "is not supported"},
		"throttling":                  {`{"throttle_interval": 10}`, "bad.throttle_interval", "is not supported"},
		"complexity":                  {`{"max_query_depth": 5}`, "bad.max_query_depth", "is not supported"},
		"hmac":                        {`{"hmac_enabled": true}`, "bad.hmac_enabled", "is not supported"},
		"pattern that cannot be read": {`{"access_rights": {"a": {"allowed_urls": [{"url": "["}]}}}`, "bad.access_rights.a.allowed_urls[0].url", "is not a regular expression"},
		"wrong type":                  {`{"quota_max": "x"}`, "bad.quota_max", "must be a number"},
		"no object":                   {`5`, "bad", "is no policy"},
		"null":                        {`null`, "bad", "is no policy"},
		"rate without per":            {`{"rate": 5}`, "bad.rate", "limits nothing without per"},
		"member that is there twice":  {`{"per": 1, "per": 2}`, "bad.per", "is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, err := policy.Parse("policies.json", []byte(`{"bad": `+tc.text+`, "good": {"access_rights": {"a": {}}}}`))
			faults := jsonfile.Faults("", err)
			require.Len(t, faults, 1, "%v", err)
			require.Equal(t, tc.field, faults[0].Field)
			require.Contains(t, faults[0].String(), tc.problem)
			require.Equal(t, []string{"good"}, s.IDs())
			_, err = s.Apply(&state{ApplyPolicies: []string{"bad"}}, "", "a")
			require.ErrorIs(t, err, policy.ErrRefused)
			require.ErrorContains(t, err, tc.problem)
			_, err = s.Apply(&state{ApplyPolicies: []string{"good"}}, "", "a")
			require.NoError(t, err, "others are not affected")
		})
	}
	t.Run("policy that is there twice", func(t *testing.T) {
		s, _, err := policy.Parse("p", []byte(`{"a": {"access_rights": {"x": {}}}, "a": {}}`))
		require.Error(t, err)
		require.Empty(t, s.IDs())
	})
	t.Run("policy without a name", func(t *testing.T) {
		s, _, err := policy.Parse("p", []byte(`{"": {"access_rights": {"x": {}}}}`))
		require.ErrorContains(t, err, "without an id")
		require.Empty(t, s.IDs())
	})
}

func TestPolicyWarnings(t *testing.T) {
	s, warnings, err := policy.Parse("p.json", []byte(`{"a": {"id": "b", "post_expiry_action": "delete", "nothing": 0, "access_rights": {"x": {}}}}`))
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, s.IDs())
	require.Equal(t, []string{
		`p.json: a.id: is "b", but the policy's name in the file counts`,
		"p.json: a.post_expiry_action: is not known or not supported, and without effect",
	}, warnings)
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.json")
	require.NoError(t, os.WriteFile(good, []byte("\ufeff"+`{"a": {"access_rights": {"x": {}}}}`), 0o600))
	s, _, err := policy.Load(good)
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, s.IDs())
	for name, path := range map[string]string{"missing": filepath.Join(dir, "none.json"), "a directory": dir, "a device": os.DevNull} {
		t.Run(name, func(t *testing.T) {
			s, _, err := policy.Load(path)
			require.ErrorContains(t, err, path)
			require.ErrorContains(t, err, "policies.policy_record_name")
			_, err = s.Apply(&state{ApplyPolicies: []string{"a"}}, "", "x")
			require.ErrorIs(t, err, policy.ErrRefused)
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{tiers, `{}`, `{"a": null}`, `{"a": {"access_rights": {"x": {"limit": {}}}}, "a.b": {}}`, `{"a": {"partitions": []}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, _, err := policy.Parse("policies.json", data)
		require.NotNil(t, s)
		if err != nil {
			require.NotEmpty(t, jsonfile.Faults("", err))
		}
		for _, id := range s.IDs() {
			p, err := s.Get(id)
			require.NoError(t, err)
			got := &state{ApplyPolicies: []string{id}}
			if _, err := s.Apply(got, p.OrgID, "a"); err == nil {
				require.NotEmpty(t, got.GetAccessRights())
			}
		}
	})
}
