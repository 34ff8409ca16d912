package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// site is the demo's working directory.
type site struct {
	krait  string // the gateway's binary
	dir    string // everything below here is made by the demo
	served string // what the bundle server serves
	log    string // the gateway's log
	venv   string // the project's virtual environment
}

// build makes the directory and the bundle in it.
func build(ctx context.Context) (site, error) {
	root, err := os.Getwd()
	if err != nil {
		return site{}, err
	}
	s := site{
		krait:  filepath.Join(root, "bin", "krait"),
		dir:    filepath.Join(root, ".run"),
		served: filepath.Join(root, ".run", "served"),
		log:    filepath.Join(root, ".run", "gateway.log"),
		venv:   filepath.Join(root, ".venv"),
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return s, err
	}
	for _, dir := range []string{s.served, filepath.Join(s.dir, "apps"), filepath.Join(s.dir, "middleware")} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return s, err
		}
	}
	command := exec.CommandContext(ctx, s.krait, "bundle", "build", "-y",
		"-m", filepath.Join(root, "examples", "tutorial", "manifest.json"), "-o", filepath.Join(s.served, "bundle.zip"))
	if output, err := command.CombinedOutput(); err != nil {
		return s, fmt.Errorf("build the bundle: %w\n%s", err, output)
	}
	return s, nil
}

// configure writes tyk.conf and the API definition: the tutorial's settings.
func (s site) configure(address, bundleURL, upstreamURL string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	type object = map[string]any
	files := map[string]object{
		"tyk.conf": {
			"listen_address":           host,
			"listen_port":              number,
			"secret":                   "demo-secret",
			"app_path":                 filepath.Join(s.dir, "apps"),
			"middleware_path":          filepath.Join(s.dir, "middleware"),
			"enable_bundle_downloader": true,
			"bundle_base_url":          bundleURL + "/",
			"coprocess_options":        object{"enable_coprocess": true, "venv": s.venv},
		},
		"apps/my-api.json": {
			"name":                     "My API",
			"api_id":                   "my-api",
			"org_id":                   "default",
			"use_keyless":              false,
			"enable_coprocess_auth":    true,
			"custom_middleware_bundle": "bundle.zip",
			"auth":                     object{"auth_header_name": "Authorization"},
			"version_data":             object{"not_versioned": true, "versions": object{"Default": object{"name": "Default"}}},
			"proxy":                    object{"listen_path": "/my-api/", "target_url": upstreamURL + "/", "strip_listen_path": true},
			"active":                   true,
		},
	}
	for name, content := range files {
		data, err := json.MarshalIndent(content, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
