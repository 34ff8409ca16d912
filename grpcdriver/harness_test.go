package grpcdriver_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/grpcdriver"
)

// patience bounds every wait for a condition.
const patience = 20 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pluginServer is a plugin server as its authors write them, with the standard
// gRPC server and codec.
type pluginServer struct {
	coprocesspb.UnimplementedDispatcherServer

	// dispatch answers; nil adds the header X-Hook with the hook's name.
	dispatch func(context.Context, *coprocesspb.Object) (*coprocesspb.Object, error)

	mu     sync.Mutex
	ids    []string // x-request-id of each call
	hosts  []string // :authority of each call
	events []string
}

func (s *pluginServer) note(ctx context.Context) {
	md, _ := metadata.FromIncomingContext(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ids = append(s.ids, md.Get("x-request-id")...)
	s.hosts = append(s.hosts, md.Get(":authority")...)
}

func (s *pluginServer) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	s.note(ctx)
	if s.dispatch != nil {
		return s.dispatch(ctx, obj)
	}
	obj.Request.SetHeaders = map[string]string{"X-Hook": obj.GetHookName()}
	return obj, nil
}

func (s *pluginServer) DispatchEvent(ctx context.Context, event *coprocesspb.Event) (*coprocesspb.EventReply, error) {
	s.note(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, event.GetPayload())
	return &coprocesspb.EventReply{}, nil
}

// serve starts s on network and address, and returns the address and the end.
func (s *pluginServer) serve(t testing.TB, network, address string, options ...grpc.ServerOption) (string, func()) {
	t.Helper()
	server := grpc.NewServer(options...)
	coprocesspb.RegisterDispatcherServer(server, s)
	return run(t, server, network, address)
}

func run(t testing.TB, server *grpc.Server, network, address string) (string, func()) {
	t.Helper()
	listener, err := net.Listen(network, address)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			server.Stop()
			require.NoError(t, <-served)
		})
	}
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

func (s *pluginServer) local(t testing.TB, options ...grpc.ServerOption) string {
	t.Helper()
	address, _ := s.serve(t, "tcp", "127.0.0.1:0", options...)
	return "tcp://" + address
}

// open returns a driver that the test's end closes.
func open(t testing.TB, o grpcdriver.Options) *grpcdriver.Driver {
	t.Helper()
	driver, err := grpcdriver.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, driver.Close()) })
	return driver
}

func load(t testing.TB, driver coprocess.Driver, code coprocess.Code) coprocess.Plugin {
	t.Helper()
	plugin, err := driver.Load(t.Context(), code)
	require.NoError(t, err)
	return plugin
}

// plugin loads one from a new driver.
func plugin(t testing.TB, o grpcdriver.Options) coprocess.Plugin {
	t.Helper()
	return load(t, open(t, o), coprocess.Code{Name: "b.zip", Hooks: []string{"A"}})
}

func message(hook string) *coprocesspb.Object {
	return &coprocesspb.Object{
		HookType: coprocesspb.HookType_Pre, HookName: hook,
		Request: &coprocesspb.MiniRequestObject{Headers: map[string]string{"Host": "a"}, RawBody: []byte{0xff, 0}},
	}
}
