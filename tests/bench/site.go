package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

type document = map[string]any

// site is a directory that a gateway is started in.
type site struct {
	krait   string // the binary
	dir     string
	address string
	conf    document
}

const adminSecret = "bench"

func newSite(root, dir, address string) (*site, error) {
	venv, err := filepath.Abs(filepath.Join(root, ".venv"))
	if err != nil {
		return nil, err
	}
	binary, err := filepath.Abs(filepath.Join(root, "bin", "krait"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("run make build first: %w", err)
	}
	for _, name := range []string{"apps", "middleware", "served"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o750); err != nil {
			return nil, err
		}
	}
	return &site{krait: binary, dir: dir, address: address, conf: document{
		"listen_address": "127.0.0.1", "listen_port": portOf(address), "secret": adminSecret,
		"app_path": filepath.Join(dir, "apps"), "middleware_path": filepath.Join(dir, "middleware"),
		"enable_bundle_downloader": true, "bundle_base_url": "file://" + filepath.Join(dir, "served") + "/",
		"coprocess_options": document{"enable_coprocess": true, "venv": venv},
		"log_level":         "warn",
	}}, nil
}

func writeJSON(path string, content any) error {
	data, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// api writes the definition of an API at /id/.
func (s *site) api(id, target string, changes document) error {
	definition := document{
		"name": id, "api_id": id, "org_id": "default", "use_keyless": true, "active": true,
		"version_data": document{"not_versioned": true, "versions": document{"Default": document{"name": "Default"}}},
		"proxy":        document{"listen_path": "/" + id + "/", "target_url": target, "strip_listen_path": true},
	}
	for name, value := range changes {
		definition[name] = value
	}
	return writeJSON(filepath.Join(s.dir, "apps", id+".json"), definition)
}

// bundle builds name.zip of the plugin that is measured.
func (s *site) bundle(ctx context.Context, root, name, driver string, middleware document) error {
	work := filepath.Join(s.dir, "work-"+name)
	if err := os.MkdirAll(work, 0o750); err != nil {
		return err
	}
	manifest := document{"custom_middleware": middleware}
	middleware["driver"] = driver
	if driver == "python" {
		source, err := os.ReadFile(filepath.Join(root, "tests", "bench", "testdata", "plugin", "middleware.py"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(work, "middleware.py"), source, 0o600); err != nil {
			return err
		}
		manifest["file_list"] = []string{"middleware.py"}
	}
	if err := writeJSON(filepath.Join(work, "manifest.json"), manifest); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, s.krait, "bundle", "build", "-y", "-o", filepath.Join(s.dir, "served", name+".zip"))
	command.Dir = work
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the bundle %s: %w\n%s", name, err, output)
	}
	return nil
}

// start starts the gateway and waits until it serves.
func (s *site) start(ctx context.Context, servers *processes) (*exec.Cmd, error) {
	if err := writeJSON(filepath.Join(s.dir, "tyk.conf"), s.conf); err != nil {
		return nil, err
	}
	command, err := servers.start(ctx, s.address, s.krait, "gateway", "--conf", filepath.Join(s.dir, "tyk.conf"))
	if err != nil {
		return nil, err
	}
	var last error
	err = await(ctx, func() bool {
		last = fetch(ctx, s.url("hello"), nil)
		return last == nil
	})
	if err != nil {
		return nil, fmt.Errorf("the gateway does not serve: %w: %w", err, last)
	}
	return command, nil
}

func (s *site) url(path string) string {
	return "http://" + s.address + "/" + strings.TrimPrefix(path, "/")
}

// reload reloads and waits for its end.
func (s *site) reload(ctx context.Context) error {
	return fetch(ctx, s.url("tyk/reload?block=true"), http.Header{"X-Tyk-Authorization": {adminSecret}})
}
