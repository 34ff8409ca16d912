package main

import (
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/policy"
)

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
