package session_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/jsonfile"
	"github.com/krait-gateway/krait/session"
)

func TestKeyFromJSON(t *testing.T) {
	got, err := session.FromJSON("body", []byte(`{
		"rate": 1000, "per": 60.5, "expires": -1, "quota_max": 10000, "quota_renewal_rate": 3600, "quota_remaining": 3,
		"allowance": 1000, "last_check": 7, "date_created": "2024-08-09T14:40:34.87614+03:00", "last_updated": "1723203634",
		"org_id": "acme", "alias": "portal-key", "tags": ["security", "edge"], "is_inactive": true,
		"apply_policy_id": "", "apply_policies": ["gold"], "session_lifetime": 60, "id_extractor_deadline": 5,
		"enable_detail_recording": true, "monitor": {"trigger_limits": [80]}, "oauth_keys": null,
		"meta_data": {"user": "ann", "level": 3, "deep": {"a": [true]}},
		"access_rights": {"orders": {"api_name": "Orders", "api_id": "orders", "versions": ["Default"],
			"allowed_urls": [{"url": "^/x", "methods": ["GET"]}], "limit": {"rate": 0, "quota_max": -1}, "restricted_types": []}},
		"throttle_interval": -1, "throttle_retry_limit": 0, "max_query_depth": -1, "certificate": "", "hmac_enabled": false,
		"basic_auth_data": {"password": "", "hash_type": ""}, "some_new_member": null
	}`))
	require.NoError(t, err)
	require.True(t, proto.Equal(&coprocesspb.SessionState{
		Rate: 1000, Per: 60.5, Expires: -1, QuotaMax: 10000, QuotaRenewalRate: 3600, QuotaRemaining: 3, Allowance: 1000,
		LastCheck: 7, LastUpdated: "1723203634", OrgId: "acme", Alias: "portal-key", Tags: []string{"security", "edge"},
		IsInactive: true, ApplyPolicies: []string{"gold"}, SessionLifetime: 60, IdExtractorDeadline: 5,
		Monitor:  &coprocesspb.Monitor{TriggerLimits: []float64{80}},
		Metadata: map[string]string{"user": "ann", "level": "3", "deep": `{"a":[true]}`},
		AccessRights: map[string]*coprocesspb.AccessDefinition{"orders": {
			ApiName: "Orders", ApiId: "orders", Versions: []string{"Default"},
			AllowedUrls: []*coprocesspb.AccessSpec{{Url: "^/x", Methods: []string{"GET"}}},
		}},
	}, got), "got %v", got)
}

func TestKeyFaults(t *testing.T) {
	const gone = "is not supported by this version of krait, which would leave out what it does"
	for name, tc := range map[string]struct{ body, field, problem string }{
		"no JSON":                      {`{"rate": `, "", "not valid JSON"},
		"nothing":                      {``, "", "empty"},
		"a list":                       {`[]`, "", "not a JSON object"},
		"twice":                        {`{"per": 1, "per": 2}`, "per", "is there twice"},
		"text for a number":            {`{"quota_max": "x"}`, "quota_max", "must be a number"},
		"fraction for a whole number":  {`{"quota_max": 1.5}`, "quota_max", "is not a whole number"},
		"number that does not fit":     {`{"expires": 9223372036854775808}`, "expires", "does not fit"},
		"object for a list":            {`{"tags": {}}`, "tags", "must be a list"},
		"null byte":                    {"{\"alias\": \"\x00\"}", "", "not valid JSON"},
		"not UTF-8":                    {"{\"alias\": \"\xff\"}", "", "not UTF-8"},
		"a typing error":               {`{"qouta_max": 5}`, "qouta_max", "is not known"},
		"unknown name with a dot":      {`{"a.b": 5}`, "a.b", "is not known"},
		"basic_auth_data":              {`{"basic_auth_data": {"password": "p"}}`, "basic_auth_data", gone},
		"jwt_data":                     {`{"jwt_data": {"secret": "s"}}`, "jwt_data", gone},
		"hmac_enabled":                 {`{"hmac_enabled": true}`, "hmac_enabled", gone},
		"HMAC in another case":         {`{"HMAC_Enabled": true}`, "HMAC_Enabled", gone},
		"certificate":                  {`{"certificate": "c"}`, "certificate", gone},
		"throttle":                     {`{"throttle_interval": 10}`, "throttle_interval", gone},
		"query depth":                  {`{"max_query_depth": 3}`, "max_query_depth", gone},
		"limit of one API":             {`{"access_rights": {"a": {"limit": {"rate": 5}}}}`, "access_rights.a.limit", gone},
		"unknown member of a right":    {`{"access_rights": {"a": {"endpoints": [{"path": "/"}]}}}`, "access_rights.a.endpoints", gone},
		"pattern that cannot be read":  {`{"access_rights": {"a": {"allowed_urls": [{"url": "("}]}}}`, "access_rights.a.allowed_urls[0].url", "is not a regular expression"},
		"access right that is a list":  {`{"access_rights": {"a": []}}`, "access_rights.a", "must be an object"},
		"rate without per":             {`{"rate": 5}`, "rate", "limits nothing without per"},
		"rate with a negative per":     {`{"rate": 5, "per": -1}`, "rate", "limits nothing without per"},
		"methods that are no list":     {`{"access_rights": {"a": {"allowed_urls": [{"url": "x", "methods": "GET"}]}}}`, "access_rights.a.allowed_urls[0].methods", "must be a list"},
		"policies that are no list":    {`{"apply_policies": "gold"}`, "apply_policies", "must be a list"},
		"metadata that is no object":   {`{"meta_data": "x"}`, "meta_data", "must be an object"},
		"something below the monitor":  {`{"monitor": {"trigger": 5}}`, "monitor.trigger", "is not known"},
		"data after the object":        {`{} {}`, "", "not valid JSON"},
		"true for a whole number":      {`{"expires": true}`, "expires", "must be a number"},
		"number for text":              {`{"org_id": 5}`, "org_id", "must be text"},
		"number as an inactive switch": {`{"is_inactive": 1}`, "is_inactive", "must be true or false"},
	} {
		t.Run(name, func(t *testing.T) {
			state, err := session.FromJSON("body", []byte(tc.body))
			require.Nil(t, state)
			faults := jsonfile.Faults("", err)
			require.Len(t, faults, 1, "%v", err)
			require.Equal(t, tc.field, faults[0].Field)
			require.Contains(t, faults[0].String(), tc.problem)
			require.Equal(t, "body", faults[0].File)
		})
	}
	t.Run("all together", func(t *testing.T) {
		_, err := session.FromJSON("body", []byte(`{"quota_max": "x", "hmac_enabled": true, "throttle_interval": 1}`))
		require.Len(t, jsonfile.Faults("", err), 3)
	})
}

func TestKeyToJSONAndBack(t *testing.T) {
	want := full()
	data, err := json.Marshal(session.DocumentOf(want))
	require.NoError(t, err)
	got, err := session.FromJSON("body", data)
	require.NoError(t, err)
	require.True(t, proto.Equal(want, got), "got %v", got)

	data, err = json.Marshal(session.DocumentOf(&coprocesspb.SessionState{
		Rate: math.Inf(1), Per: math.NaN(), Monitor: &coprocesspb.Monitor{TriggerLimits: []float64{math.Inf(-1)}},
	}))
	require.NoError(t, err, "whatever a plugin wrote")
	require.NotContains(t, string(data), "null")
	got, err = session.FromJSON("body", data)
	require.NoError(t, err)
	require.Zero(t, got.GetRate())
}

func FuzzKeyJSON(f *testing.F) {
	data, err := json.Marshal(session.DocumentOf(full()))
	require.NoError(f, err)
	for _, seed := range []string{string(data), `{}`, `{"meta_data": {"a": [1, null]}}`, `{"access_rights": {"a.b": {"limit": null}}}`, `{"rate": 1e400}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		state, err := session.FromJSON("body", data)
		if err != nil {
			require.Nil(t, state)
			require.NotEmpty(t, jsonfile.Faults("", err))
			return
		}
		data, err = json.Marshal(session.DocumentOf(state))
		require.NoError(t, err)
		again, err := session.FromJSON("body", data)
		require.NoError(t, err)
		require.True(t, proto.Equal(normal(state), normal(again)), "%v\n%v", state, again)
	})
}

// normal has no empty lists and maps in place of none.
func normal(s *coprocesspb.SessionState) *coprocesspb.SessionState {
	data, _ := proto.Marshal(s)
	out := &coprocesspb.SessionState{}
	_ = proto.Unmarshal(data, out)
	return out
}
