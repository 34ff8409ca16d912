package grpcdriver

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	coprocess "github.com/krait-gateway/krait"
)

// fault is the error of a call for the gateway; err is what gRPC made of it.
func (p *plugin) fault(caller context.Context, err error) error {
	if gone := caller.Err(); errors.Is(gone, context.Canceled) {
		return gone
	}
	server, s := p.driver.server, status.Convert(err)
	switch s.Code() {
	case codes.DeadlineExceeded:
		return fmt.Errorf("%w: plugin server %s did not answer within %v", coprocess.ErrTimeout, server, p.timeout)
	case codes.Unavailable:
		return fmt.Errorf("%w: plugin server %s: %s", coprocess.ErrNotReady, server, s.Message())
	case codes.Canceled:
		if p.driver.connection.GetState() == connectivity.Shutdown {
			return fmt.Errorf("%w: the connection to plugin server %s is closed", coprocess.ErrNotReady, server)
		}
	case codes.ResourceExhausted:
		return fmt.Errorf("%w: plugin server %s: ResourceExhausted: %s; if that is the size of a message, raise coprocess_options.grpc_recv_max_size, grpc_send_max_size or the limit of the server",
			coprocess.ErrHook, server, s.Message())
	default:
	}
	return fmt.Errorf("%w: plugin server %s: %s: %s", coprocess.ErrHook, server, s.Code(), s.Message())
}
