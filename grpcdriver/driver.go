package grpcdriver

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	vtgrpc "github.com/planetscale/vtprotobuf/codec/grpc"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/telemetry"
)

type codec = vtgrpc.Codec

// Driver makes the hooks of one plugin server callable. It implements
// [coprocess.Driver].
type Driver struct {
	server  string
	timeout time.Duration
	most    int
	log     *slog.Logger

	connection *grpc.ClientConn
	dispatcher coprocesspb.DispatcherClient
	health     grpc_health_v1.HealthClient
	call       []grpc.CallOption
	places     *semaphore.Weighted

	stopWatching context.CancelFunc
	watching     sync.WaitGroup
	closeOnce    sync.Once
	closeErr     error // of Close; set by closeOnce
}

var _ coprocess.Driver = (*Driver)(nil)

// New returns a Driver that connects in the background; it does not wait for
// the server. It returns what [Options.Validate] finds. The Driver has to be
// closed.
func New(o Options) (*Driver, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	target, err := o.target()
	if err != nil {
		return nil, err
	}
	connection, err := grpc.NewClient(target, o.dial()...)
	if err != nil {
		return nil, fmt.Errorf("plugin server %q: %w", o.Server, err)
	}
	d := &Driver{
		server:     o.Server,
		timeout:    cmp.Or(o.Timeout, DefaultTimeout),
		most:       cmp.Or(o.MaxInFlight, DefaultMaxInFlight),
		log:        cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		connection: connection,
		dispatcher: coprocesspb.NewDispatcherClient(connection),
		health:     grpc_health_v1.NewHealthClient(connection),
		call:       o.call(),
	}
	d.places = semaphore.NewWeighted(int64(d.most))
	ctx, cancel := context.WithCancel(context.Background())
	d.stopWatching = cancel
	connection.Connect()
	d.watching.Go(func() { d.watch(ctx) })
	return d, nil
}

// Close ends the connection. Calls in flight fail with
// [coprocess.ErrNotReady], and so do those that come later.
func (d *Driver) Close() error {
	d.closeOnce.Do(func() {
		d.stopWatching()
		d.closeErr = d.connection.Close()
		d.watching.Wait()
	})
	return d.closeErr
}

// watch logs when the server comes and goes.
func (d *Driver) watch(ctx context.Context) {
	away := false
	for {
		state := d.connection.GetState()
		switch state {
		case connectivity.Ready:
			d.log.Info("plugin server is connected", telemetry.KeyAddress, d.server)
			away = false
		case connectivity.TransientFailure:
			if !away {
				d.log.Warn("plugin server cannot be reached, hooks answer 503 until it can be", telemetry.KeyAddress, d.server)
			}
			away = true
		case connectivity.Idle:
			// The server went away in order, and gRPC would wait for the next
			// call. The pause is for one that does so all the time.
			select {
			case <-ctx.Done():
				return
			case <-time.After(firstWait):
				d.connection.Connect()
			}
		case connectivity.Connecting, connectivity.Shutdown:
		}
		if !d.connection.WaitForStateChange(ctx, state) {
			return
		}
	}
}

// Check asks how the server is, until ctx ends: with grpc.health.v1 when it
// offers that, else whether it answers. The text is for people. An error means
// that hooks fail now.
func (d *Driver) Check(ctx context.Context) (string, error) {
	reply, err := d.health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	switch status.Code(err) {
	case codes.OK:
		if s := reply.GetStatus(); s != grpc_health_v1.HealthCheckResponse_SERVING {
			return "", fmt.Errorf("%w: plugin server %s says that it is %s", coprocess.ErrNotReady, d.server, s)
		}
		return "plugin server " + d.server + " is serving", nil
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return "", fmt.Errorf("%w: plugin server %s: %s", coprocess.ErrNotReady, d.server, status.Convert(err).Message())
	default:
		// It answers, but not to this.
		return "plugin server " + d.server + " answers, it has no health service", nil
	}
}

// Load returns the plugin that code describes, without a call: of code it
// takes Name, Timeout and Serial. Whether the server knows code.Hooks and
// code.Events cannot be asked in advance.
func (d *Driver) Load(_ context.Context, code coprocess.Code) (coprocess.Plugin, error) {
	p := &plugin{driver: d, name: code.Name, timeout: code.Timeout}
	if p.timeout <= 0 {
		p.timeout = d.timeout
	}
	if code.Serial {
		p.turn = semaphore.NewWeighted(1)
	}
	return p, nil
}
