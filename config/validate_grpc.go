package config

import (
	"net/url"
	"strings"
)

func (v *validator) grpcServer(key, text string) {
	const next = "write tcp://host:port, dns:///name:port or unix:///path"
	server, err := url.Parse(text)
	if err != nil {
		v.add(key, "is not a URL", next)
		return
	}
	switch server.Scheme {
	case "tcp":
		if server.Hostname() == "" || !isPort(server.Port()) {
			v.add(key, "has no host and port", next)
		}
	case "dns":
		if strings.Trim(server.Path, "/")+server.Opaque == "" {
			v.add(key, "has no name", next)
		}
	case "unix":
		if server.Host != "" || server.Path+server.Opaque == "" {
			v.add(key, "has no absolute path", next)
		}
	default:
		v.add(key, "is not an address of a plugin server", next)
	}
}

func (v *validator) grpcTLS(key string, o *GRPCTLS) {
	if !o.Enabled {
		for _, setting := range []struct {
			name string
			set  bool
		}{
			{"ca_file", o.CAFile != ""},
			{"cert_file", o.CertFile != ""},
			{"key_file", o.KeyFile != ""},
			{"insecure_skip_verify", o.InsecureSkipVerify},
		} {
			if setting.set {
				v.add(key+setting.name, "is without effect, enabled is false", "set enabled to true or remove it")
			}
		}
		return
	}
	if o.CAFile != "" {
		v.certificateAuthority(key+"ca_file", o.CAFile)
	}
	if o.CertFile != "" || o.KeyFile != "" {
		v.keyPair(key, o.CertFile, o.KeyFile)
	}
}
