package tests_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/internal/output"
)

// probeServer is the probe behind gRPC, in Go. What it notes goes to seen.
type probeServer struct {
	coprocesspb.UnimplementedDispatcherServer
	seen *output.Buffer
	// health says how the server is; nil: it offers no health service.
	health *health.Server
	// released is set when slow events shall be slow no more.
	released atomic.Bool
}

func (p *probeServer) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	_, _ = p.seen.Write([]byte("request " + strings.Join(md.Get("x-request-id"), ",") + "\n")) // a buffer
	name := obj.GetHookName()
	var parts map[string]wirePart
	if text := obj.GetRequest().GetHeaders()[scriptHeader]; text != "" {
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(data, &parts); err != nil {
			return nil, err
		}
	}
	part := parts[name]
	change := &coprocesspb.Object{}
	data, err := base64.StdEncoding.DecodeString(part.Change)
	if err != nil {
		return nil, err
	}
	if err := change.UnmarshalVT(data); err != nil {
		return nil, err
	}
	told := map[string]string{}
	if part.Tell {
		data, err := obj.MarshalVT()
		if err != nil {
			return nil, err
		}
		told["X-Shown-"+name] = base64.StdEncoding.EncodeToString(data)
	}
	p.change(obj, change, told, part.Drop)
	select {
	case <-time.After(time.Duration(part.Sleep * float64(time.Second))):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if part.Release {
		p.released.Store(true)
	}
	if part.Fail != "" {
		return nil, errors.New("it broke here")
	}
	return obj, nil
}

// change does to obj what play does in middleware.py.
func (p *probeServer) change(obj, change *coprocesspb.Object, told map[string]string, drop []string) {
	target, order := obj.GetResponse().GetHeaders(), obj.GetResponse().GetHeaders()
	if obj.Response == nil {
		target, order = map[string]string{}, obj.GetRequest().GetHeaders()
		obj.Request.SetHeaders = target
	} else if len(change.GetResponse().GetMultivalueHeaders()) > 0 {
		obj.Response.MultivalueHeaders = nil
	}
	if before := order["X-Order"]; before != "" {
		told["X-Order"] = before + " " + obj.GetHookName()
	} else {
		told["X-Order"] = obj.GetHookName()
	}
	maps.Copy(target, told)
	proto.Merge(obj, change)
	for _, name := range drop {
		delete(obj.Response.Headers, name)
	}
}

func (p *probeServer) DispatchEvent(ctx context.Context, event *coprocesspb.Event) (*coprocesspb.EventReply, error) {
	if strings.Contains(event.GetPayload(), `"OnSlowEvent"`) && !p.released.Load() {
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
	_, err := p.seen.Write([]byte("event " + event.GetPayload() + "\n"))
	return &coprocesspb.EventReply{}, err
}

// start serves on network and address until stop, or the test's end.
func (p *probeServer) start(t *testing.T, network, address string, options ...grpc.ServerOption) (served string, stop func()) {
	t.Helper()
	return serveGRPC(t, func(server *grpc.Server) {
		coprocesspb.RegisterDispatcherServer(server, p)
		if p.health != nil {
			grpc_health_v1.RegisterHealthServer(server, p.health)
		}
	}, network, address, options...)
}

// serveGRPC serves what register adds until stop, or the test's end.
func serveGRPC(
	t *testing.T, register func(*grpc.Server), network, address string, options ...grpc.ServerOption,
) (served string, stop func()) {
	t.Helper()
	listener, err := net.Listen(network, address)
	require.NoError(t, err)
	server := grpc.NewServer(options...)
	register(server)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			server.Stop()
			require.NoError(t, <-ended)
		})
	}
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// startPythonServer starts the probe behind gRPC, in Python. It returns the address and what the server writes.
func startPythonServer(t *testing.T) (string, *output.Buffer) {
	t.Helper()
	library, err := filepath.Abs("../pylib")
	require.NoError(t, err)
	seen := &output.Buffer{}
	command := exec.Command(filepath.Join(venv(t), "bin", "python3"), "testdata/probe/server.py") //nolint:noctx // the cleanup ends it
	command.Env = append(os.Environ(), "PYTHONPATH="+library)
	command.Stdout, command.Stderr = seen, seen
	require.NoError(t, command.Start())
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		_ = command.Wait()
	})
	var port string
	require.Eventually(t, func() bool {
		lines := bufio.NewScanner(strings.NewReader(seen.String()))
		for lines.Scan() {
			if found, ok := strings.CutPrefix(lines.Text(), "port "); ok {
				port = found
			}
		}
		return port != ""
	}, patience, 20*time.Millisecond, "the Python plugin server does not start:\n%s", seen)
	return "127.0.0.1:" + port, seen
}
