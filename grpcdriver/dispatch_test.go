package grpcdriver_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/grpcdriver"
)

func TestDispatch(t *testing.T) {
	server := &pluginServer{}
	p := plugin(t, grpcdriver.Options{Server: server.local(t)})
	t.Run("the server's changes come back, the message stays", func(t *testing.T) {
		sent := message("A")
		got, err := p.Dispatch(t.Context(), sent)
		require.NoError(t, err)
		require.Equal(t, map[string]string{"X-Hook": "A"}, got.GetRequest().GetSetHeaders())
		require.Equal(t, []byte{0xff, 0}, got.GetRequest().GetRawBody())
		require.True(t, proto.Equal(message("A"), sent))
	})
	t.Run("the request's id is metadata", func(t *testing.T) {
		ctx := coprocess.WithRequestID(t.Context(), "id-1")
		_, err := p.Dispatch(ctx, message("A"))
		require.NoError(t, err)
		require.NoError(t, p.DispatchEvent(ctx, []byte(`{"handler_name": "H"}`)))
		server.mu.Lock()
		defer server.mu.Unlock()
		require.Equal(t, []string{"id-1", "id-1"}, server.ids)
		require.Equal(t, []string{`{"handler_name": "H"}`}, server.events)
	})
	t.Run("close leaves the connection to the others", func(t *testing.T) {
		require.NoError(t, p.Close())
		_, err := p.Dispatch(t.Context(), message("A"))
		require.NoError(t, err)
	})
	t.Run("many at a time", func(t *testing.T) {
		var calls sync.WaitGroup
		errs := make([]error, 200)
		for i := range errs {
			calls.Go(func() {
				name := fmt.Sprint("hook-", i)
				got, err := p.Dispatch(t.Context(), message(name))
				if err == nil && got.GetRequest().GetSetHeaders()["X-Hook"] != name {
					err = fmt.Errorf("%s got the answer of another call", name)
				}
				errs[i] = err
			})
		}
		calls.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
	})
}

func TestDispatchErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		code  codes.Code
		want  error
		texts []string
	}{
		{"a hook that raised", codes.Unknown, coprocess.ErrHook, []string{"Unknown: because"}},
		{"a hook that is not there", codes.Unimplemented, coprocess.ErrHook, []string{"Unimplemented: because"}},
		{"a server's own cancel", codes.Canceled, coprocess.ErrHook, []string{"Canceled: because"}},
		{"a server that has no room", codes.ResourceExhausted, coprocess.ErrHook, []string{"ResourceExhausted: because", "grpc_recv_max_size"}},
		{"a server that is not ready", codes.Unavailable, coprocess.ErrNotReady, []string{"because"}},
		{"a server's own deadline", codes.DeadlineExceeded, coprocess.ErrTimeout, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := &pluginServer{dispatch: func(context.Context, *coprocesspb.Object) (*coprocesspb.Object, error) {
				return nil, status.Error(test.code, "because")
			}}
			address := server.local(t)
			got, err := plugin(t, grpcdriver.Options{Server: address}).Dispatch(t.Context(), message("A"))
			require.Nil(t, got)
			require.ErrorIs(t, err, test.want)
			require.ErrorContains(t, err, address)
			for _, text := range test.texts {
				require.ErrorContains(t, err, text)
			}
		})
	}
}

// blocking answers when released is closed, or the client has gone.
func blocking(entered chan<- struct{}, released <-chan struct{}) *pluginServer {
	return &pluginServer{dispatch: func(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
		entered <- struct{}{}
		select {
		case <-released:
			return obj, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
}

func TestDeadline(t *testing.T) {
	entered := make(chan struct{}, 10)
	server := blocking(entered, nil)
	driver := open(t, grpcdriver.Options{Server: server.local(t), Timeout: 300 * time.Millisecond})
	t.Run("the driver's", func(t *testing.T) {
		_, err := load(t, driver, coprocess.Code{}).Dispatch(t.Context(), message("A"))
		require.ErrorIs(t, err, coprocess.ErrTimeout)
		require.ErrorContains(t, err, "300ms")
	})
	t.Run("the bundle's wins", func(t *testing.T) {
		began := time.Now()
		_, err := load(t, driver, coprocess.Code{Timeout: 30 * time.Millisecond}).Dispatch(t.Context(), message("A"))
		require.ErrorIs(t, err, coprocess.ErrTimeout)
		require.Less(t, time.Since(began), 300*time.Millisecond)
	})
	t.Run("the caller goes away", func(t *testing.T) {
		for len(entered) > 0 {
			<-entered
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-entered
			cancel()
		}()
		_, err := load(t, driver, coprocess.Code{Timeout: patience}).Dispatch(ctx, message("A"))
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, coprocess.ErrHook)
	})
}

func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		name   string
		most   int
		serial bool
		want   string
	}{
		{"all places taken", 1, false, "1 calls are in flight (coprocess_options.max_in_flight)"},
		{"a serial bundle's turn taken", 5, true, "krait.serial"},
	} {
		t.Run(test.name, func(t *testing.T) {
			entered, released := make(chan struct{}, 1), make(chan struct{})
			server := blocking(entered, released)
			driver := open(t, grpcdriver.Options{Server: server.local(t), MaxInFlight: test.most})
			slow := load(t, driver, coprocess.Code{Serial: test.serial, Timeout: patience})
			first := make(chan error, 1)
			go func() {
				_, err := slow.Dispatch(context.Background(), message("A"))
				first <- err
			}()
			<-entered
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := slow.Dispatch(ctx, message("A"))
			require.ErrorIs(t, err, coprocess.ErrBusy)
			require.ErrorContains(t, err, test.want)
			gone, leave := context.WithCancel(t.Context())
			leave()
			_, err = slow.Dispatch(gone, message("A"))
			require.ErrorIs(t, err, context.Canceled)
			close(released)
			require.NoError(t, <-first)
			_, err = slow.Dispatch(t.Context(), message("A"))
			require.NoError(t, err)
		})
	}
}

func TestMessageSizes(t *testing.T) {
	large := func() *coprocesspb.Object {
		m := message("A")
		m.Request.RawBody = make([]byte, 5<<20)
		return m
	}
	grow := &pluginServer{dispatch: func(context.Context, *coprocesspb.Object) (*coprocesspb.Object, error) {
		return large(), nil
	}}
	t.Run("an answer over gRPC's default", func(t *testing.T) {
		_, err := plugin(t, grpcdriver.Options{Server: grow.local(t)}).Dispatch(t.Context(), message("A"))
		require.ErrorIs(t, err, coprocess.ErrHook)
		require.ErrorContains(t, err, "coprocess_options.grpc_recv_max_size")
	})
	t.Run("an answer below a raised limit", func(t *testing.T) {
		got, err := plugin(t, grpcdriver.Options{Server: grow.local(t), RecvMaxSize: 6 << 20}).Dispatch(t.Context(), message("A"))
		require.NoError(t, err)
		require.Len(t, got.GetRequest().GetRawBody(), 5<<20)
	})
	t.Run("a message over the limit for sending", func(t *testing.T) {
		_, err := plugin(t, grpcdriver.Options{Server: grow.local(t), SendMaxSize: 1 << 20}).Dispatch(t.Context(), large())
		require.ErrorIs(t, err, coprocess.ErrHook)
		require.ErrorContains(t, err, "grpc_send_max_size")
	})
	t.Run("a message over the server's limit", func(t *testing.T) {
		_, err := plugin(t, grpcdriver.Options{Server: grow.local(t)}).Dispatch(t.Context(), large())
		require.ErrorIs(t, err, coprocess.ErrHook)
		require.ErrorContains(t, err, "limit of the server")
	})
}
