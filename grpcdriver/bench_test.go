package grpcdriver_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/grpcdriver"
)

// echoServer is a plugin server that keeps nothing.
type echoServer struct {
	coprocesspb.UnimplementedDispatcherServer
}

func (echoServer) Dispatch(_ context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	return obj, nil
}

// BenchmarkDispatch is one call of a plugin server on the same machine.
func BenchmarkDispatch(b *testing.B) {
	server := grpc.NewServer()
	coprocesspb.RegisterDispatcherServer(server, echoServer{})
	address, _ := run(b, server, "tcp", "127.0.0.1:0")
	p := plugin(b, grpcdriver.Options{Server: "tcp://" + address})
	obj := message("A")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Dispatch(b.Context(), obj); err != nil {
			b.Fatal(err)
		}
	}
}
