package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	patience  = 60 * time.Second
	pollEvery = 5 * time.Millisecond
)

// processes are the servers that were started; stop ends these and no others.
type processes struct {
	dir     string // logs
	started []*exec.Cmd
}

// start starts a server and waits until address accepts connections.
func (p *processes) start(ctx context.Context, address, name string, arguments ...string) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(p.dir, fmt.Sprintf("%s-%d.log", filepath.Base(name), len(p.started))))
	if err != nil {
		return nil, err
	}
	defer log.Close()                           // the process has its own
	command := exec.Command(name, arguments...) //nolint:noctx // stop ends it, in order
	command.Dir = p.dir
	command.Stdout, command.Stderr = log, log
	// It does not outlive this program, whatever ends that.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := command.Start(); err != nil {
		return nil, err
	}
	p.started = append(p.started, command)
	err = await(ctx, func() bool {
		var dialer net.Dialer
		connection, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			connection.Close()
		}
		return err == nil
	})
	if err != nil {
		text, _ := os.ReadFile(log.Name()) // the more to tell the better
		return nil, fmt.Errorf("%s does not listen on %s: %w\n%s", name, address, err, text)
	}
	return command, nil
}

// stop ends everything, the last one first.
func (p *processes) stop() {
	for len(p.started) > 0 {
		p.end(p.started[len(p.started)-1])
	}
}

func (p *processes) end(command *exec.Cmd) {
	for i, one := range p.started {
		if one == command {
			p.started = append(p.started[:i:i], p.started[i+1:]...)
			break
		}
	}
	_ = command.Process.Signal(syscall.SIGTERM) // it may have ended
	kill := time.AfterFunc(patience, func() { _ = command.Process.Kill() })
	defer kill.Stop()
	_ = command.Wait() // how it ended does not matter any more
}

// await waits for a condition.
func await(ctx context.Context, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !ready() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
	return nil
}

// freeAddress returns a loopback address that nobody listens on.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is over at once
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

func freeAddresses(count int) ([]string, error) {
	var all []string
	for range count {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		all = append(all, address)
	}
	return all, nil
}

func portOf(address string) int {
	_, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port) // it comes from freeAddress
	return number
}

// fetch makes one request and wants the status 200.
func fetch(ctx context.Context, url string, header http.Header) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	if header != nil {
		request.Header = header
	}
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %w: %s", url, errStatus, response.Status)
	}
	return nil
}

var errStatus = errors.New("it is not 200")
