package redisserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/krait-gateway/krait/internal/output"
)

const (
	host = "127.0.0.1"
	// readyWithin is how long a server may take to answer PING.
	readyWithin = 15 * time.Second
	// endWithin is how long it may take to end after SIGTERM.
	endWithin = 10 * time.Second
	pollEvery = 10 * time.Millisecond
	ioTimeout = time.Second
	// portTries is how many ports are tried: another process may take a free
	// port before redis-server binds it.
	portTries = 5
)

// Server is one running redis-server process.
type Server struct {
	t       testing.TB
	args    func(port int) []string // all arguments for a port
	port    int
	tls     *tls.Config // of a client; nil for a plain server
	process *process
}

// Start runs a redis-server with the further command line args, for example
// "--requirepass", "secret", and waits until it answers.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	return start(t, &Server{t: t, args: func(port int) []string {
		return append(baseArgs(dir, "--port", strconv.Itoa(port)), args...)
	}})
}

// StartTLS runs a redis-server that speaks TLS only, with a certificate for
// 127.0.0.1 that [Server.TLSConfig] trusts.
func StartTLS(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	files, client, err := writeCertificate(dir)
	if err != nil {
		t.Fatalf("redisserver: make a certificate: %v", err)
	}
	return start(t, &Server{t: t, tls: client, args: func(port int) []string {
		base := baseArgs(dir, "--port", "0", "--tls-port", strconv.Itoa(port),
			"--tls-cert-file", files.cert, "--tls-key-file", files.key,
			"--tls-ca-cert-file", files.cert, "--tls-auth-clients", "no")
		return append(base, args...)
	}})
}

// baseArgs are the arguments of every server: loopback only, nothing on disk.
func baseArgs(dir string, port ...string) []string {
	return append(port, "--bind", host, "--dir", dir, "--save", "", "--appendonly", "no",
		"--daemonize", "no", "--logfile", "")
}

// Addr returns the server's host:port. It stays the same over Restart.
func (s *Server) Addr() string { return net.JoinHostPort(host, strconv.Itoa(s.port)) }

// Port returns the server's port.
func (s *Server) Port() int { return s.port }

// PID returns the process id, or 0 when the server is stopped.
func (s *Server) PID() int {
	if s.process == nil {
		return 0
	}
	return s.process.cmd.Process.Pid
}

// TLSConfig returns what a client needs to trust the server, or nil for a server
// without TLS.
func (s *Server) TLSConfig() *tls.Config {
	if s.tls == nil {
		return nil
	}
	return s.tls.Clone()
}

// Stop ends the process and waits for its end. A second Stop does nothing.
func (s *Server) Stop() {
	s.t.Helper()
	if s.process == nil {
		return
	}
	p := s.process
	s.process = nil
	if err := p.end(); err != nil {
		s.t.Errorf("redisserver: stop %s: %v\n%s", s.Addr(), err, p.output.String())
	}
}

// Restart ends the process, when it runs, and starts an empty one on the same
// port.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.run(); err != nil {
		s.t.Fatalf("redisserver: restart %s: %v", s.Addr(), err)
	}
}

// start runs s on a free port and registers its end.
func start(t testing.TB, s *Server) *Server {
	t.Helper()
	var errs []error
	for range portTries {
		port, err := freePort()
		if err != nil {
			t.Fatalf("redisserver: find a free port: %v", err)
		}
		s.port = port
		if err = s.run(); err == nil {
			t.Cleanup(s.Stop)
			return s
		}
		errs = append(errs, err)
		if !errors.Is(err, errPortTaken) {
			break
		}
	}
	t.Fatalf("redisserver: %v", errors.Join(errs...))
	return nil
}

var errPortTaken = errors.New("the port was taken by another process")

// run starts the process on s.port and waits until it answers PING.
func (s *Server) run() error {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("this test needs redis-server (Debian, Ubuntu: apt-get install redis-server): %w", err)
	}
	p, err := launch(bin, s.args(s.port))
	if err != nil {
		return err
	}
	deadline := time.After(readyWithin)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.done:
			if strings.Contains(p.output.String(), "Address already in use") {
				return errPortTaken
			}
			return fmt.Errorf("redis-server ended at its start: %w\n%s", p.err, p.output.String())
		case <-deadline:
			return fmt.Errorf("redis-server does not answer PING within %s: %w\n%s", readyWithin, errors.Join(err, p.end()), p.output.String())
		case <-tick.C:
			if err = s.ping(); err == nil {
				s.process = p
				return nil
			}
		}
	}
}

// ping returns nil when the server answers, be it with a demand for a password.
func (s *Server) ping() error {
	d := &net.Dialer{Timeout: ioTimeout}
	var (
		conn net.Conn
		err  error
	)
	if s.tls != nil {
		conn, err = tls.DialWithDialer(d, "tcp", s.Addr(), s.tls)
	} else {
		conn, err = d.Dial("tcp", s.Addr())
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(ioTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "+PONG") && !strings.HasPrefix(line, "-NOAUTH") {
		return fmt.Errorf("answer to PING: %s", strings.TrimSpace(line))
	}
	return nil
}

// freePort returns a loopback port that is free now, and whose cluster bus port
// (10000 above) exists and is free too.
func freePort() (int, error) {
	for range 100 {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return 0, err
		}
		_, portText, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return 0, errors.Join(err, l.Close())
		}
		port, err := strconv.Atoi(portText)
		if err != nil {
			return 0, errors.Join(err, l.Close())
		}
		bus, busErr := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port+10000)))
		if err := l.Close(); err != nil {
			return 0, err
		}
		if busErr != nil {
			continue // port+10000 is taken, or above 65535
		}
		if err := bus.Close(); err != nil {
			return 0, err
		}
		return port, nil
	}
	return 0, errors.New("no port with a free cluster bus port")
}

// process is a started command with its output and its end.
type process struct {
	cmd    *exec.Cmd
	output *output.Buffer
	done   chan struct{} // closed when the process has ended; err is set then
	err    error
}

func launch(bin string, args []string) (*process, error) {
	p := &process{cmd: exec.CommandContext(context.Background(), bin, args...), output: &output.Buffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.Env = append(os.Environ(), "LC_ALL=C")
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", bin, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// end asks the process to end, and kills it when it does not.
func (p *process) end() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return nil
	case <-time.After(endWithin):
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	return fmt.Errorf("did not end within %s after SIGTERM and was killed", endWithin)
}
