package main

import (
	"context"
	"log/slog"

	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/jsonfile"
	"github.com/krait-gateway/krait/policy"
	"github.com/krait-gateway/krait/telemetry"
)

// source reads what the gateway serves from where tyk.conf says. It implements
// gateway.Source.
type source struct {
	conf   *config.Config
	logger *slog.Logger
}

// Definitions reads app_path.
func (s source) Definitions(context.Context) ([]apidef.Loaded, error) {
	return apidef.LoadDir(s.conf.AppPath)
}

// Policies reads the configured policies. What is wrong with single ones is
// logged: sessions that name a policy which cannot be used are refused.
func (s source) Policies(context.Context) (*policy.Set, error) {
	file := s.conf.Policies.PolicyRecordName
	if file == "" {
		return nil, nil //nolint:nilnil // no policies
	}
	set, warnings, err := policy.Load(file)
	for _, warning := range warnings {
		s.logger.Warn("policy asks for something in vain", telemetry.KeyFile, file, telemetry.KeyError, warning)
	}
	if unread := set.Unread(); unread != nil {
		return set, unread
	}
	for _, fault := range jsonfile.Faults(file, err) {
		s.logger.Error("policy is refused, requests of sessions that name it are answered with 403", telemetry.KeyFile, file, telemetry.KeyError, fault.String())
	}
	s.logger.Info("policies are read", telemetry.KeyFile, file, telemetry.KeyCount, len(set.IDs()))
	return set, nil
}
