package main

import (
	"log/slog"

	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/jsonfile"
	"github.com/krait-gateway/krait/policy"
	"github.com/krait-gateway/krait/telemetry"
)

// loadPolicies reads the configured policies. What is wrong with them is logged:
// the gateway serves all the same, and refuses sessions that name a policy which
// cannot be used.
func loadPolicies(conf *config.Config, logger *slog.Logger) *policy.Set {
	file := conf.Policies.PolicyRecordName
	if file == "" {
		return nil
	}
	set, warnings, err := policy.Load(file)
	for _, warning := range warnings {
		logger.Warn("policy asks for something in vain", telemetry.KeyFile, file, telemetry.KeyError, warning)
	}
	for _, fault := range jsonfile.Faults(file, err) {
		logger.Error("policy is refused, requests of sessions that name it are answered with 403", telemetry.KeyFile, file, telemetry.KeyError, fault.String())
	}
	logger.Info("policies are read", telemetry.KeyFile, file, telemetry.KeyCount, len(set.IDs()))
	return set
}

// policies reports the policies that cannot be used.
func (r *report) policies(conf *config.Config) {
	file := conf.Policies.PolicyRecordName
	if file == "" {
		return
	}
	r.section("Policies in " + file)
	set, warnings, err := policy.Load(file)
	if err != nil {
		r.fault(err)
	}
	for _, id := range set.IDs() {
		r.line("%s: in order", id)
	}
	for _, warning := range warnings {
		r.warning(warning)
	}
}
