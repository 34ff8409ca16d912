package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/krait-gateway/krait/jsonfile"
)

// defaultFile stands for the file in messages of [Config.Validate].
const defaultFile = "tyk.conf"

// Load reads the file at path over [Default], then the TYK_GW_* variables of
// environ (as os.Environ returns them), and validates the result. An empty
// path means no file. An empty variable counts as not set.
//
// warnings names what is configured in vain, a line each. The error is a
// [*jsonfile.Error] with every fault of file and environment. The Config
// beside an error is for diagnosis only: it holds what could be read, and is
// nil when that is nothing.
func Load(path string, environ []string) (config *Config, warnings []string, err error) {
	config = Default()
	var tree map[string]any
	var faults []jsonfile.Fault
	if path != "" {
		data, err := readFile(path)
		if err != nil {
			return nil, nil, err
		}
		tree, err = jsonfile.Parse(path, data)
		if tree == nil {
			return nil, nil, err
		}
		faults = jsonfile.Faults(path, err)
		unknown, err := jsonfile.Bind(path, tree, config)
		faults = append(faults, jsonfile.Faults(path, err)...)
		warnings = append(warnings, inVain(path, tree, unknown)...)
	}
	file := path
	if file == "" {
		file = defaultFile
	}
	faults = append(faults, unsupportedInFile(file, tree)...)

	overrides := environment{variables: variables(), config: config, set: map[string]string{}}
	overrides.apply(environ)
	faults = append(faults, overrides.faults...)
	warnings = append(warnings, overrides.warnings...)

	config.normalise()
	warnings = append(warnings, config.withoutEffect(file)...)
	v := validator{file: file, origin: overrides.set}
	v.run(config)
	for _, fault := range v.faults {
		same := func(f jsonfile.Fault) bool { return f.File == fault.File && f.Field == fault.Field }
		if !slices.ContainsFunc(faults, same) {
			faults = append(faults, fault)
		}
	}
	return config, warnings, jsonfile.NewError(faults)
}

// Validate returns everything that is wrong with the settings and the files
// they name, as a [*jsonfile.Error], or nil. [Load] has done this already.
func (c *Config) Validate() error {
	v := validator{file: defaultFile}
	v.run(c)
	return jsonfile.NewError(v.faults)
}

// normalise gives equal settings one form.
func (c *Config) normalise() {
	defaults := Default()
	either := c.EnableCoprocess || c.CoprocessOptions.EnableCoprocess
	c.EnableCoprocess, c.CoprocessOptions.EnableCoprocess = either, either
	fill(&c.AppPath, defaults.AppPath)
	fill(&c.MiddlewarePath, defaults.MiddlewarePath)
	fill(&c.LogLevel, defaults.LogLevel)
	fill(&c.LogFormat, defaults.LogFormat)
	fill(&c.CoprocessOptions.Isolation, defaults.CoprocessOptions.Isolation)
	fill(&c.Storage.Type, defaults.Storage.Type)
	fill(&c.Storage.Host, defaults.Storage.Host)
	if c.Storage.Port == 0 {
		c.Storage.Port = defaults.Storage.Port
	}
	if c.ProxyDefaultTimeout == 0 {
		c.ProxyDefaultTimeout = defaults.ProxyDefaultTimeout
	}
	c.HealthCheckEndpointName = strings.TrimPrefix(c.HealthCheckEndpointName, "/")
	fill(&c.HealthCheckEndpointName, defaults.HealthCheckEndpointName)
}

func fill(setting *string, value string) {
	if *setting == "" {
		*setting = value
	}
}

// maxFileSize is far above any real configuration or certificate, in bytes.
const maxFileSize = 16 << 20

func readFile(path string) ([]byte, error) {
	data, err := readRegular(path)
	if err == nil {
		return data, nil
	}
	fault := jsonfile.Fault{File: path, Problem: "cannot be read: " + reason(err), Next: "name a configuration file that this process may read"}
	return nil, jsonfile.NewError([]jsonfile.Fault{fault})
}

// readRegular reads a file of sane size. Others are refused: opening a pipe
// waits for its other end, and a device may have no end.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("is a directory")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Size() > maxFileSize:
		return nil, fmt.Errorf("is larger than %d MiB", maxFileSize>>20)
	}
	return os.ReadFile(path)
}

// reason is err without the operation and path, which messages name already.
func reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}
