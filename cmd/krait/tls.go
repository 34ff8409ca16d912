package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// clientTLS is how a section of tyk.conf asks for TLS towards a server.
type clientTLS struct {
	section                   string // for messages
	enabled                   bool
	caFile, certFile, keyFile string
	insecureSkipVerify        bool
}

// config returns nil when TLS is off.
func (c clientTLS) config() (*tls.Config, error) {
	if !c.enabled {
		return nil, nil //nolint:nilnil // nil is how crypto/tls says "no TLS"
	}
	out := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: c.insecureSkipVerify, //nolint:gosec // the operator's setting
	}
	if c.caFile != "" {
		pem, err := os.ReadFile(c.caFile)
		if err != nil {
			return nil, fmt.Errorf("%s.ca_file: %w", c.section, err)
		}
		out.RootCAs = x509.NewCertPool()
		if !out.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s.ca_file: %s holds no PEM certificate", c.section, c.caFile)
		}
	}
	if c.certFile != "" {
		pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
		if err != nil {
			return nil, fmt.Errorf("%s.cert_file, %s.key_file: %w", c.section, c.section, err)
		}
		out.Certificates = []tls.Certificate{pair}
	}
	return out, nil
}
