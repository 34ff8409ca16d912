package session

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

// narrowing are members of the JSON of keys and of policies that protect
// something and that this version does not act on: paths as for jsonfile.Find,
// and what to do instead.
func narrowing() [][2]string {
	const authentication = "authenticate with an auth_check hook instead, and remove it"
	return [][2]string{
		{"basic_auth_data", authentication},
		{"jwt_data", authentication},
		{"hmac_enabled", authentication},
		{"hmac_string", authentication},
		{"hmac_secret", authentication},
		{"enable_http_signature_validation", authentication},
		{"rsa_enabled", authentication},
		{"rsa_certificate_id", authentication},
		{"certificate", "check client certificates in front of the gateway, and remove it"},
		{"mtls_static_certificate_bindings", "check client certificates in front of the gateway, and remove it"},
		{"throttle_interval", "set it to 0; requests over the rate are refused at once"},
		{"throttle_retry_limit", "set it to 0; requests over the rate are refused at once"},
		{"smoothing", "remove it"},
		{"max_query_depth", "set it to 0; GraphQL is not supported"},
	}
}

// CheckProtections returns a fault for each member of tree, the object of a key
// or policy, that protects something and that this version does not act on, and
// for a rate that cannot limit anything.
func CheckProtections(file string, tree map[string]any) []jsonfile.Fault {
	var faults []jsonfile.Fault
	for _, rule := range narrowing() {
		for _, m := range jsonfile.Find(tree, rule[0]) {
			if Asks(m.Value) {
				faults = append(faults, unsupported(file, m.Field, rule[1]))
			}
		}
	}
	if holds(tree, "rate") && !holds(tree, "per") {
		faults = append(faults, jsonfile.Fault{
			File: file, Field: "rate", Problem: "limits nothing without per", Next: "set per to the number of seconds that rate is for",
		})
	}
	return faults
}

func holds(tree map[string]any, path string) bool {
	return slices.ContainsFunc(jsonfile.Find(tree, path), func(m jsonfile.Member) bool { return Asks(m.Value) })
}

// Protects says whether [CheckProtections] judges the member of that name.
func Protects(member string) bool {
	return slices.ContainsFunc(narrowing(), func(rule [2]string) bool { return strings.EqualFold(rule[0], member) })
}

func unsupported(file, field, next string) jsonfile.Fault {
	return jsonfile.Fault{
		File: file, Field: field, Next: next,
		Problem: "is not supported by this version of krait, which would leave out what it does",
	}
}

// Asks says whether value asks for anything: in keys and policies, negative
// numbers stand for "off" and "unlimited".
func Asks(value any) bool {
	switch v := value.(type) {
	case json.Number:
		n, err := v.Float64()
		return err != nil || n > 0
	case []any:
		return slices.ContainsFunc(v, Asks)
	case map[string]any:
		for _, member := range v {
			if Asks(member) {
				return true
			}
		}
		return false
	}
	return jsonfile.IsSet(value)
}
