// Command demo shows krait at work: it builds the bundles of the tutorial and of
// the reference plugin, starts an identity server, a demo upstream and the
// gateway, and runs the curl commands that it prints. It is what "make run"
// starts, from the repository's root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sort"
	"syscall"
	"time"
)

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 40 * time.Second
	wantedPort   = "8080" // the tutorial's
)

func main() {
	once := flag.Bool("once", false, "end after the commands instead of waiting for Ctrl-C")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, once bool) error {
	site, err := build(ctx)
	if err != nil {
		return err
	}
	upstream, err := serve(http.HandlerFunc(echo))
	if err != nil {
		return err
	}
	defer upstream.Close()
	bundles, err := serve(http.FileServer(http.Dir(site.served)))
	if err != nil {
		return err
	}
	defer bundles.Close()
	identity, err := startIdentityServer(ctx, site)
	if err != nil {
		return err
	}
	defer identity.stop()
	address, err := freeAddress()
	if err != nil {
		return err
	}
	if err := site.configure(address, bundles.url, upstream.url, identity.url); err != nil {
		return err
	}
	gateway, err := startGateway(site)
	if err != nil {
		return err
	}
	defer gateway.stop()
	if err := gateway.await(ctx, "http://"+address+"/hello"); err != nil {
		return err
	}
	if err := show(ctx, site, address, identity); err != nil || once {
		return err
	}
	fmt.Printf("\nThe gateway runs at http://%s until you press Ctrl-C.\n", address)
	select {
	case <-ctx.Done():
		return nil
	case err := <-gateway.ended:
		return fmt.Errorf("the gateway ended: %w; its log is %s", err, site.log)
	}
}

// show runs each command and prints it with its answer.
func show(ctx context.Context, site site, address string, identity *identityServer) error {
	good, err := identity.token(ctx)
	if err != nil {
		return err
	}
	revoked, err := identity.token(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\nkrait runs the plugins examples/tutorial/middleware.py and examples/middleware.py. Its log is %s.\nTry these:\n", site.log)
	url := "http://" + address
	bearer := func(token string) string {
		return "curl -i " + url + "/orders/1 -H 'Authorization: Bearer " + token + "'"
	}
	for _, c := range []struct{ about, command string }{
		{"Is it healthy?", "curl -s " + url + "/hello"},
		{"The tutorial's API, with a token that its plugin does not know", "curl -i " + url + "/my-api/my-path -H 'Authorization: badtoken'"},
		{"The token that it knows", "curl -i " + url + "/my-api/my-path -H 'Authorization: 47a0c79c427728b3df4af62b9228c8ae'"},
		{
			"A token of the identity server (each is valid for an hour)",
			"curl -s -u " + appClient + " -d grant_type=client_credentials " + identity.url + "/oauth/token",
		},
		{"The reference plugin's API, with such a token", bearer(good)},
		{"A token that the identity server does not know", bearer("bad")},
		{"Revoke a token", "curl -i -u " + appClient + " -d token=" + revoked + " " + identity.url + "/oauth/revoke"},
		{"A token that was revoked", bearer(revoked)},
	} {
		output, err := exec.CommandContext(ctx, "sh", "-c", c.command+" 2>/dev/null").Output()
		if err != nil {
			return fmt.Errorf("%s: %w", c.command, err)
		}
		fmt.Printf("\n# %s\n%s\n%s\n", c.about, c.command, output)
	}
	return nil
}

// echo is the demo upstream: it answers with the request it got.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "the upstream got: %s %s\n", r.Method, r.URL.RequestURI())
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Fprintf(w, "%s: %s\n", name, r.Header.Get(name))
	}
	_, _ = io.Copy(w, io.LimitReader(r.Body, 1<<20)) // the client reads it or has gone
}

type server struct {
	http.Server
	url string
}

// serve serves handler on a free loopback port.
func serve(handler http.Handler) (*server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &server{url: "http://" + listener.Addr().String()}
	s.Handler, s.ReadHeaderTimeout = handler, 10*time.Second
	go func() { _ = s.Serve(listener) }() // ends with Close
	return s, nil
}

// freeAddress returns the tutorial's port, or another when that is taken.
func freeAddress() (string, error) {
	for _, port := range []string{wantedPort, "0"} {
		listener, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err == nil {
			return listener.Addr().String(), listener.Close()
		}
	}
	return "", errors.New("no loopback port is free")
}

// gateway is the running bin/krait.
type gateway struct {
	command *exec.Cmd
	ended   chan error
	log     string
}

func startGateway(site site) (*gateway, error) {
	log, err := os.Create(site.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(site.krait, "gateway", "--conf", filepath.Join(site.dir, "tyk.conf")) //nolint:noctx // ended by stop, which lets it drain
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo, which stops it
	if err := command.Start(); err != nil {
		return nil, err
	}
	g := &gateway{command: command, ended: make(chan error, 1), log: site.log}
	go func() { g.ended <- command.Wait() }()
	return g, nil
}

// await returns when url answers, or with why it does not.
func (g *gateway) await(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			return response.Body.Close()
		}
		select {
		case err := <-g.ended:
			g.ended <- err
			log, _ := os.ReadFile(g.log) // without it the message is only shorter
			return fmt.Errorf("the gateway did not start: %w\n%s", err, log)
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w; see %s", url, err, g.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (g *gateway) stop() {
	_ = g.command.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case err := <-g.ended:
		if err != nil {
			fmt.Fprintln(os.Stderr, "demo: the gateway ended:", err)
		}
	case <-time.After(stopTimeout):
		_ = g.command.Process.Kill()
	}
}
