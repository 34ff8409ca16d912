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
	root   string // the repository
	krait  string // the gateway's binary
	dir    string // everything below here is made by the demo
	served string // what the bundle server serves
	log    string // the gateway's log
	venv   string // the project's virtual environment
}

// build makes the directory and the bundles in it.
func build(ctx context.Context) (site, error) {
	root, err := os.Getwd()
	if err != nil {
		return site{}, err
	}
	s := site{
		root:   root,
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
	for name, manifest := range map[string]string{
		"tutorial.zip": filepath.Join("examples", "tutorial", "manifest.json"),
		"bundle.zip":   "manifest.json", // the reference plugin
	} {
		command := exec.CommandContext(ctx, s.krait, "bundle", "build", "-y",
			"-m", filepath.Join(root, manifest), "-o", filepath.Join(s.served, name))
		if output, err := command.CombinedOutput(); err != nil {
			return s, fmt.Errorf("build the bundle %s: %w\n%s", name, err, output)
		}
	}
	return s, nil
}

type object = map[string]any

// configure writes tyk.conf and the API definitions.
func (s site) configure(address, bundleURL, upstreamURL, identityURL string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	orders := api("orders", "bundle.zip", upstreamURL)
	orders["config_data"] = object{
		"introspection_url": identityURL + "/oauth/introspect",
		"client_id":         gatewayID,
		"client_secret":     gatewaySecret,
		"rate":              100,
		"per":               1,
	}
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
		"apps/my-api.json": api("my-api", "tutorial.zip", upstreamURL),
		"apps/orders.json": orders,
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

// api is the definition of an API whose callers the plugin in bundle checks.
func api(id, bundle, upstreamURL string) object {
	return object{
		"name":                     id,
		"api_id":                   id,
		"org_id":                   "default",
		"use_keyless":              false,
		"enable_coprocess_auth":    true,
		"custom_middleware_bundle": bundle,
		"auth":                     object{"auth_header_name": "Authorization"},
		"version_data":             object{"not_versioned": true, "versions": object{"Default": object{"name": "Default"}}},
		"proxy":                    object{"listen_path": "/" + id + "/", "target_url": upstreamURL + "/", "strip_listen_path": true},
		"active":                   true,
	}
}
