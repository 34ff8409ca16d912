package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/apidef"
	"github.com/krait-gateway/krait/config"
	"github.com/krait-gateway/krait/gateway"
	"github.com/krait-gateway/krait/grpcdriver"
)

// startGRPC enters the plugin server in drivers. It does not wait for it: until
// the server answers, hooks that it has are answered with 503.
func startGRPC(conf *config.Config, logger *slog.Logger, drivers map[string]coprocess.Driver, parts *closers) (gateway.Check, error) {
	driver, err := openPluginServer(conf, logger)
	if err != nil {
		return gateway.Check{}, err
	}
	drivers[apidef.DriverGRPC] = driver
	parts.add(apidef.DriverGRPC, func(context.Context) error { return driver.Close() })
	return gateway.Check{Name: apidef.DriverGRPC, Func: driver.Check}, nil
}

func openPluginServer(conf *config.Config, logger *slog.Logger) (*grpcdriver.Driver, error) {
	o := conf.CoprocessOptions
	secure, err := clientTLS{
		section: "coprocess_options.grpc_tls", enabled: o.GRPCTLS.Enabled,
		caFile: o.GRPCTLS.CAFile, certFile: o.GRPCTLS.CertFile, keyFile: o.GRPCTLS.KeyFile,
		insecureSkipVerify: o.GRPCTLS.InsecureSkipVerify,
	}.config()
	if err != nil {
		return nil, err
	}
	driver, err := grpcdriver.New(grpcdriver.Options{
		Server:      o.GRPCServer,
		Authority:   o.GRPCAuthority,
		RecvMaxSize: o.GRPCRecvMaxSize,
		SendMaxSize: o.GRPCSendMaxSize,
		RoundRobin:  o.GRPCRoundRobinLoadBalancing,
		TLS:         secure,
		Timeout:     time.Duration(o.HookTimeout),
		MaxInFlight: o.MaxInFlight,
		Logger:      logger,
	})
	if err != nil {
		return nil, fmt.Errorf("coprocess_options.coprocess_grpc_server: %w", err)
	}
	return driver, nil
}

// pluginServer says whether the plugin server answers.
func (r *report) pluginServer(ctx context.Context, conf *config.Config) {
	r.section("Plugin server (gRPC) at " + conf.CoprocessOptions.GRPCServer)
	driver, err := openPluginServer(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		r.fault(err)
		return
	}
	defer driver.Close()
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	answer, err := driver.Check(ctx)
	if err != nil {
		r.fault(fmt.Errorf("%w; start the server, or correct coprocess_options.coprocess_grpc_server and grpc_tls", err))
		return
	}
	r.line("%s", answer)
}
