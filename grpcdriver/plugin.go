package grpcdriver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/metadata"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
)

// metadataRequestID carries the id of the HTTP request.
const metadataRequestID = "x-request-id"

// plugin is the hooks of one bundle or API. It implements [coprocess.Plugin].
type plugin struct {
	driver  *Driver
	name    string
	timeout time.Duration
	// turn is not nil when calls have to come one after the other.
	turn *semaphore.Weighted
}

// Dispatch calls the hook obj.HookName.
//
// Errors: coprocess.ErrTimeout, ErrBusy, ErrNotReady when the server cannot be
// reached, ErrHook for every other status, and ctx's error when the caller has
// gone.
func (p *plugin) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	var result *coprocesspb.Object
	err := p.run(ctx, func(ctx context.Context) (err error) {
		result, err = p.driver.dispatcher.Dispatch(ctx, obj, p.driver.call...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// DispatchEvent passes event to the server. Errors are those of Dispatch.
func (p *plugin) DispatchEvent(ctx context.Context, event []byte) error {
	return p.run(ctx, func(ctx context.Context) error {
		_, err := p.driver.dispatcher.DispatchEvent(ctx, &coprocesspb.Event{Payload: string(event)}, p.driver.call...)
		return err
	})
}

// Close has nothing to do: the connection is the driver's.
func (p *plugin) Close() error { return nil }

// run makes one call within the time limit.
func (p *plugin) run(caller context.Context, call func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(caller, p.timeout)
	defer cancel()
	waiting, waited := coprocess.WhileWaiting(ctx)
	defer waited()
	if p.turn != nil {
		if err := p.turn.Acquire(waiting, 1); err != nil {
			return busy(err, "it runs one call at a time (krait.serial)")
		}
		defer p.turn.Release(1)
	}
	if err := p.driver.places.Acquire(waiting, 1); err != nil {
		return busy(err, fmt.Sprintf("%d calls are in flight (coprocess_options.max_in_flight)", p.driver.most))
	}
	defer p.driver.places.Release(1)
	if id := coprocess.RequestID(ctx); id != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, metadataRequestID, id)
	}
	if err := call(ctx); err != nil {
		return p.fault(caller, err)
	}
	return nil
}

// busy explains why there was no place; err is that of a context.
func busy(err error, why string) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %s", coprocess.ErrBusy, why)
	}
	return err
}
