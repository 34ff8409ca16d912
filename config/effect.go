package config

// withoutEffect names settings that are understood, but that nothing in this
// version acts on.
func (c *Config) withoutEffect(file string) []string {
	o, s, h := c.CoprocessOptions, c.Storage, c.HTTPServerOptions
	var warnings []string
	for _, setting := range []struct {
		set       bool
		name, why string
	}{
		{c.Policies.PolicySource != "" && c.Policies.PolicyRecordName == "", "policies.policy_source", "there are no policies; name their file in policies.policy_record_name"},
		{c.HashKeys, "hash_keys", "sessions are always kept under a hash of their key"},
		{o.GRPCServer != "" && !o.EnableCoprocess, "coprocess_options.coprocess_grpc_server", "plugins are off; set coprocess_options.enable_coprocess"},
		{s.MaxIdle != 0, "storage.optimisation_max_idle", "the pool keeps what storage.optimisation_max_active allows"},
		{h.OverrideDefaults, "http_server_options.override_defaults", "each option has effect by itself"},
		{h.SkipURLCleaning, "http_server_options.skip_url_cleaning", "paths reach the upstream as they were sent"},
		{len(s.Addresses()) < len(s.listed()), "storage", "lists several servers that are neither a cluster nor Sentinels, and the first is used; set enable_cluster or master_name"},
	} {
		if setting.set {
			warnings = append(warnings, file+": "+setting.name+": "+setting.why)
		}
	}
	return warnings
}
