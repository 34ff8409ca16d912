package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// identityServer is the running examples/identity, whose clients these are.
type identityServer struct {
	url     string
	command *exec.Cmd
}

const (
	appClient     = "demo-app:demo-app-secret"
	gatewayID     = "gateway"
	gatewaySecret = "gateway-secret"
)

// startIdentityServer builds and starts it. It is a module of its own: its
// libraries are not the gateway's.
func startIdentityServer(ctx context.Context, site site) (*identityServer, error) {
	program := filepath.Join(site.dir, "identity")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, ".")
	build.Dir = filepath.Join(site.root, "examples", "identity")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build examples/identity: %w\n%s", err, output)
	}
	s := &identityServer{command: exec.Command(program)} //nolint:noctx // ended by stop
	s.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdout, err := s.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadString('\n') // it prints its URL when it listens
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("examples/identity did not start: %w", err)
	}
	s.url = strings.TrimSpace(line)
	return s, nil
}

// token gets an access token as an application does.
func (s *identityServer) token(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	form := url.Values{"grant_type": {"client_credentials"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	id, secret, _ := strings.Cut(appClient, ":")
	request.SetBasicAuth(id, secret)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", fmt.Errorf("get a token: %w", err)
	}
	if answer.AccessToken == "" {
		return "", errors.New("get a token: the identity server gave none")
	}
	return answer.AccessToken, nil
}

func (s *identityServer) stop() {
	_ = s.command.Process.Signal(syscall.SIGTERM) // it may have ended
	_ = s.command.Wait()
}
