package tests_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/internal/output"
)

// goPlugins is a plugin server in Go. The one in Python below has the same
// hooks; what either notes goes to seen.
type goPlugins struct {
	coprocesspb.UnimplementedDispatcherServer
	seen *output.Buffer
}

func (p *goPlugins) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	_, _ = p.seen.Write([]byte("request " + strings.Join(md.Get("x-request-id"), ",") + "\n"))
	r := obj.GetRequest()
	set := map[string]string{"X-Order": strings.TrimSpace(r.GetHeaders()["X-Order"] + " " + obj.GetHookName())}
	r.SetHeaders = set
	switch obj.GetHookName() {
	case "MyAuth":
		obj.Metadata = map[string]string{"token": r.GetHeaders()["Authorization"], "from": "auth_check"}
		if r.GetHeaders()["Authorization"] == "teapot" {
			r.ReturnOverrides = &coprocesspb.ReturnOverrides{
				ResponseCode: 418, ResponseBody: "short and stout", OverrideError: true, Headers: map[string]string{"X-Pot": "tea"},
			}
		}
	case "MyPostKeyAuth":
		set["X-Metadata"] = obj.GetMetadata()["from"]
		set["X-Api"] = obj.GetSpec()["APIID"]
	case "MyPost":
		set["X-Session-Metadata"] = obj.GetSession().GetMetadata()["from"]
		r.DeleteHeaders = []string{"X-Secret"}
		r.AddParams = map[string]string{"added": "by post"}
		r.DeleteParams = []string{"secret"}
		r.RawBody = bytes.ToUpper(r.GetRawBody())
	case "MyResponse":
		obj.Response.Headers["X-Response"] = "response of " + obj.GetMetadata()["from"]
		obj.Response.StatusCode = 202
	case "Rewrite":
		r.Url, r.Method = "/rewrite/elsewhere?q=1", "PUT"
	case "Slow":
		<-ctx.Done()
		return nil, ctx.Err()
	case "Fails":
		return nil, errors.New("it broke here")
	}
	return obj, nil
}

func (p *goPlugins) DispatchEvent(_ context.Context, event *coprocesspb.Event) (*coprocesspb.EventReply, error) {
	_, err := p.seen.Write([]byte("event " + event.GetPayload() + "\n"))
	return &coprocesspb.EventReply{}, err
}

// start serves on network and address until stop, or the test's end.
func (p *goPlugins) start(t *testing.T, network, address string, options ...grpc.ServerOption) (served string, stop func()) {
	t.Helper()
	listener, err := net.Listen(network, address)
	require.NoError(t, err)
	server := grpc.NewServer(options...)
	coprocesspb.RegisterDispatcherServer(server, p)
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

// pythonPlugins is the same server in Python, without generated stubs.
const pythonPlugins = `
import concurrent.futures
import threading

import grpc

import coprocess_object_pb2 as pb


def dispatch(obj, context):
    metadata = dict(context.invocation_metadata())
    print('request', metadata.get('x-request-id', ''), flush=True)
    request, name = obj.request, obj.hook_name
    request.set_headers['X-Order'] = (request.headers.get('X-Order', '') + ' ' + name).strip()
    if name == 'MyAuth':
        obj.metadata['token'] = request.headers.get('Authorization', '')
        obj.metadata['from'] = 'auth_check'
        if request.headers.get('Authorization') == 'teapot':
            overrides = request.return_overrides
            overrides.response_code = 418
            overrides.response_body = 'short and stout'
            overrides.override_error = True
            overrides.headers['X-Pot'] = 'tea'
    elif name == 'MyPostKeyAuth':
        request.set_headers['X-Metadata'] = obj.metadata['from']
        request.set_headers['X-Api'] = obj.spec['APIID']
    elif name == 'MyPost':
        request.set_headers['X-Session-Metadata'] = obj.session.metadata['from']
        request.delete_headers.append('X-Secret')
        request.add_params['added'] = 'by post'
        request.delete_params.append('secret')
        request.raw_body = request.raw_body.upper()
    elif name == 'MyResponse':
        obj.response.headers['X-Response'] = 'response of ' + obj.metadata['from']
        obj.response.status_code = 202
    elif name == 'Rewrite':
        request.url = '/rewrite/elsewhere?q=1'
        request.method = 'PUT'
    elif name == 'Slow':
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait()
    elif name == 'Fails':
        raise RuntimeError('it broke here')
    return obj


def dispatch_event(event, context):
    print('event', event.payload, flush=True)
    return pb.EventReply()


def handler(function, request, reply):
    return grpc.unary_unary_rpc_method_handler(
        function, request_deserializer=request.FromString, response_serializer=reply.SerializeToString)


server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('coprocess.Dispatcher', {
    'Dispatch': handler(dispatch, pb.Object, pb.Object),
    'DispatchEvent': handler(dispatch_event, pb.Event, pb.EventReply),
}),))
port = server.add_insecure_port('127.0.0.1:0')
server.start()
print('port', port, flush=True)
server.wait_for_termination()
`

// startPythonPlugins returns the address and what the server writes.
func startPythonPlugins(t *testing.T) (string, *output.Buffer) {
	t.Helper()
	library, err := filepath.Abs("../pylib")
	require.NoError(t, err)
	script := filepath.Join(t.TempDir(), "server.py")
	require.NoError(t, os.WriteFile(script, []byte(pythonPlugins), 0o600))
	seen := &output.Buffer{}
	command := exec.Command(filepath.Join(venv(t), "bin", "python3"), script) //nolint:noctx // the cleanup ends it
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
