// Command identity is a small OAuth 2.0 server to try the gateway with: the
// client credentials grant, introspection (RFC 7662) and revocation (RFC 7009),
// by zitadel/oidc. It has one client that gets tokens and one that introspects;
// their names and secrets are public, so it listens on the loopback interface
// only. It is a module of its own, to keep its libraries out of the gateway's.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const stopTimeout = 5 * time.Second

func main() {
	port := flag.Int("port", 0, "port to listen on; 0 takes a free one")
	lifetime := flag.Duration("lifetime", time.Hour, "how long tokens are valid")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *port, *lifetime); err != nil {
		fmt.Fprintln(os.Stderr, "identity:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, port int, lifetime time.Duration) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return err
	}
	url := "http://" + listener.Addr().String()
	server := &http.Server{
		Handler:           newServer(url, lifetime).handler(slog.New(slog.DiscardHandler)),
		ReadHeaderTimeout: stopTimeout,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	// The first line is for programs that start this one.
	fmt.Printf("%s\n\ncurl -s -u %s:%s -d grant_type=client_credentials %s%s\n", url, appID, appSecret, url, grantPath)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
