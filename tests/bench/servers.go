package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/krait-gateway/krait/coprocesspb"
)

// nginxUpstream answers at once; nginxProxy passes on to it.
const nginxUpstream = `
daemon off;
pid %[1]s/upstream.pid;
error_log stderr crit;
worker_processes 1;
events { worker_connections 16384; }
http {
  access_log off; keepalive_requests 100000000;
  client_body_temp_path %[1]s/u1; proxy_temp_path %[1]s/u2; fastcgi_temp_path %[1]s/u3; uwsgi_temp_path %[1]s/u4; scgi_temp_path %[1]s/u5;
  server { listen 127.0.0.1:%[2]d; location / { return 200 "hello from the upstream\n"; } }
}
`

const nginxProxy = `
daemon off;
pid %[1]s/proxy.pid;
error_log stderr crit;
worker_processes auto;
events { worker_connections 16384; }
http {
  access_log off; keepalive_requests 100000000;
  client_body_temp_path %[1]s/p1; proxy_temp_path %[1]s/p2; fastcgi_temp_path %[1]s/p3; uwsgi_temp_path %[1]s/p4; scgi_temp_path %[1]s/p5;
  upstream target { server 127.0.0.1:%[3]d; keepalive 256; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:%[2]d;
    location / { proxy_pass http://target; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`

// bufferPool is what httputil.ReverseProxy is at its best with.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) Get() []byte {
	if buffer, ok := p.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

func (p *bufferPool) Put(buffer []byte) { p.pool.Put(&buffer) }

// serveReverseProxy is a bare httputil.ReverseProxy with a buffer pool.
func serveReverseProxy(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("reverse-proxy", flag.ContinueOnError)
	listen := flags.String("listen", "", "")
	target := flags.String("target", "", "")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	to, err := url.Parse(*target)
	if err != nil {
		return err
	}
	return serveHTTP(ctx, *listen, &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.SetXForwarded()
		},
		Transport:  &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		BufferPool: &bufferPool{},
	})
}

// serveSlowly answers after a while.
func serveSlowly(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("slow-upstream", flag.ContinueOnError)
	listen := flags.String("listen", "", "")
	after := flags.Duration("after", time.Second, "")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	return serveHTTP(ctx, *listen, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(*after):
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "late\n") // or the client has gone
	}))
}

func serveHTTP(ctx context.Context, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: patience}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	return server.ListenAndServe()
}

// pluginServer is the hook AddHeader over gRPC.
type pluginServer struct {
	coprocesspb.UnimplementedDispatcherServer
}

func (pluginServer) Dispatch(_ context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	obj.Request.SetHeaders = map[string]string{"X-Plugin": "krait"}
	return obj, nil
}

func servePlugin(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("plugin-server", flag.ContinueOnError)
	listen := flags.String("listen", "", "")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", *listen)
	if err != nil {
		return fmt.Errorf("plugin server: %w", err)
	}
	server := grpc.NewServer()
	coprocesspb.RegisterDispatcherServer(server, pluginServer{})
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Serve(listener)
}
