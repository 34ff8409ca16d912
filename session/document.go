package session

import (
	"encoding/json"
	"math"
	"strings"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/jsonfile"
)

// Document is a session as JSON, with the member names of Tyk's key endpoints.
// Times are in Unix seconds, durations in seconds. Make one with [DocumentOf].
type Document struct {
	LastCheck        int64                  `json:"last_check"`
	Allowance        float64                `json:"allowance"`
	Rate             float64                `json:"rate"`
	Per              float64                `json:"per"`
	Expires          int64                  `json:"expires"`
	QuotaMax         int64                  `json:"quota_max"`
	QuotaRenews      int64                  `json:"quota_renews"`
	QuotaRemaining   int64                  `json:"quota_remaining"`
	QuotaRenewalRate int64                  `json:"quota_renewal_rate"`
	AccessRights     map[string]AccessRight `json:"access_rights"`
	OrgID            string                 `json:"org_id"`
	OAuthClientID    string                 `json:"oauth_client_id"`
	OAuthKeys        map[string]string      `json:"oauth_keys"`
	IsInactive       bool                   `json:"is_inactive"`
	ApplyPolicyID    string                 `json:"apply_policy_id"`
	ApplyPolicies    []string               `json:"apply_policies"`
	DataExpires      int64                  `json:"data_expires"`
	Monitor          struct {
		TriggerLimits []float64 `json:"trigger_limits"`
	} `json:"monitor"`
	EnableDetailedRecording bool `json:"enable_detailed_recording"`
	// MetaData holds text; on the way in, other values become their JSON text.
	MetaData              map[string]any `json:"meta_data"`
	Tags                  []string       `json:"tags"`
	Alias                 string         `json:"alias"`
	LastUpdated           string         `json:"last_updated"`
	IDExtractorDeadline   int64          `json:"id_extractor_deadline"`
	SessionLifetime       int64          `json:"session_lifetime"`
	KeyID                 string         `json:"key_id"`
	PostExpiryAction      string         `json:"post_expiry_action,omitempty"`
	PostExpiryGracePeriod int64          `json:"post_expiry_grace_period,omitempty"`
}

// FromJSON reads a session from data, a [Document]. Nothing is left out in
// silence: members that are not known, and those that protect something and are
// not supported, are faults when they ask for anything. name stands for data in
// messages.
//
// The error is a [*jsonfile.Error] with every fault.
func FromJSON(name string, data []byte) (*coprocesspb.SessionState, error) {
	tree, err := jsonfile.Parse(name, data)
	if tree == nil {
		return nil, err
	}
	faults := jsonfile.Faults(name, err)
	var d Document
	unknown, err := jsonfile.Bind(name, tree, &d)
	faults = append(faults, jsonfile.Faults(name, err)...)
	faults = append(faults, CheckProtections(name, tree)...)
	faults = append(faults, CheckRights(name, tree)...)
	faults = append(faults, checkUnknown(name, tree, unknown)...)
	if err := jsonfile.NewError(faults); err != nil {
		return nil, err
	}
	return d.state(), nil
}

// checkUnknown refuses what nothing here knows: it could be meant to protect.
func checkUnknown(name string, tree map[string]any, unknown []string) []jsonfile.Fault {
	var faults []jsonfile.Fault
	for _, field := range unknown {
		top, _, _ := strings.Cut(strings.ToLower(field), ".")
		switch {
		case Protects(top), top == "access_rights": // judged
			continue
		case top == "date_created", top == "enable_detail_recording": // of no consequence
			continue
		}
		if value, found := jsonfile.Unbound(tree, field); !found || Asks(value) {
			faults = append(faults, jsonfile.Fault{File: name, Field: field, Problem: "is not known", Next: "correct its name, or remove it"})
		}
	}
	return faults
}

func (d *Document) state() *coprocesspb.SessionState {
	s := &coprocesspb.SessionState{
		LastCheck: d.LastCheck, Allowance: d.Allowance, Rate: d.Rate, Per: d.Per, Expires: d.Expires,
		QuotaMax: d.QuotaMax, QuotaRenews: d.QuotaRenews, QuotaRemaining: d.QuotaRemaining, QuotaRenewalRate: d.QuotaRenewalRate,
		AccessRights: Rights(d.AccessRights), OrgId: d.OrgID, OauthClientId: d.OAuthClientID, OauthKeys: d.OAuthKeys,
		IsInactive: d.IsInactive, ApplyPolicyId: d.ApplyPolicyID, ApplyPolicies: d.ApplyPolicies, DataExpires: d.DataExpires,
		EnableDetailedRecording: d.EnableDetailedRecording, Metadata: Metadata(d.MetaData), Tags: d.Tags, Alias: d.Alias,
		LastUpdated: d.LastUpdated, IdExtractorDeadline: d.IDExtractorDeadline, SessionLifetime: d.SessionLifetime, KeyId: d.KeyID,
		PostExpiryAction: d.PostExpiryAction, PostExpiryGracePeriod: d.PostExpiryGracePeriod,
	}
	if len(d.Monitor.TriggerLimits) > 0 {
		s.Monitor = &coprocesspb.Monitor{TriggerLimits: d.Monitor.TriggerLimits}
	}
	return s
}

// Metadata returns what meta_data of a key or policy means for plugins, which
// see text only: text as it is, other values as JSON, as in the reference.
func Metadata(values map[string]any) map[string]string {
	if len(values) == 0 {
		return nil
	}
	out := make(map[string]string, len(values))
	for name, value := range values {
		if text, ok := value.(string); ok {
			out[name] = text
		} else if data, err := json.Marshal(value); err == nil {
			out[name] = string(data)
		}
	}
	return out
}

// DocumentOf returns state as JSON shows it. It always marshals.
func DocumentOf(state *coprocesspb.SessionState) Document {
	d := Document{
		LastCheck: state.GetLastCheck(), Allowance: finite(state.GetAllowance()), Rate: finite(state.GetRate()), Per: finite(state.GetPer()),
		Expires: state.GetExpires(), QuotaMax: state.GetQuotaMax(), QuotaRenews: state.GetQuotaRenews(),
		QuotaRemaining: state.GetQuotaRemaining(), QuotaRenewalRate: state.GetQuotaRenewalRate(),
		AccessRights: rightsOf(state.GetAccessRights()), OrgID: state.GetOrgId(), OAuthClientID: state.GetOauthClientId(),
		OAuthKeys: state.GetOauthKeys(), IsInactive: state.GetIsInactive(), ApplyPolicyID: state.GetApplyPolicyId(),
		ApplyPolicies: list(state.GetApplyPolicies()), DataExpires: state.GetDataExpires(),
		EnableDetailedRecording: state.GetEnableDetailedRecording(), MetaData: map[string]any{}, Tags: list(state.GetTags()),
		Alias: state.GetAlias(), LastUpdated: state.GetLastUpdated(), IDExtractorDeadline: state.GetIdExtractorDeadline(),
		SessionLifetime: state.GetSessionLifetime(), KeyID: state.GetKeyId(),
		PostExpiryAction: state.GetPostExpiryAction(), PostExpiryGracePeriod: state.GetPostExpiryGracePeriod(),
	}
	if d.OAuthKeys == nil {
		d.OAuthKeys = map[string]string{}
	}
	d.Monitor.TriggerLimits = []float64{}
	for _, limit := range state.GetMonitor().GetTriggerLimits() {
		d.Monitor.TriggerLimits = append(d.Monitor.TriggerLimits, finite(limit))
	}
	for name, value := range state.GetMetadata() {
		d.MetaData[name] = value
	}
	return d
}

// finite replaces what JSON has no number for; plugins may set anything.
func finite(n float64) float64 {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return 0
	}
	return n
}
