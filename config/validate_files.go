package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
)

// directory checks that path is one that can be read.
func (v *validator) directory(key, path, next string) {
	// Looked at before it is opened: opening a pipe waits for its other end.
	info, err := os.Stat(path)
	if err == nil && !info.IsDir() {
		v.add(key, path+" is not a directory", next)
		return
	}
	var dir *os.File
	if err == nil {
		dir, err = os.Open(path)
	}
	if err != nil {
		v.add(key, path+" cannot be read: "+reason(err), next)
		return
	}
	_ = dir.Close() // opened for reading: nothing can be lost
}

// pem checks that path is a file with at least one PEM block. What is in it
// is for the package that uses it to judge.
func (v *validator) pem(key, path, next string) {
	data, err := readRegular(path)
	if err != nil {
		v.add(key, path+" cannot be read: "+reason(err), next)
	} else if block, _ := pem.Decode(data); block == nil {
		v.add(key, path+" is not a PEM file", next)
	}
}

// keyPair checks a certificate and its key; prefix is the path of the section
// that names them.
func (v *validator) keyPair(prefix, certFile, keyFile string) {
	const next = "name PEM files with the certificate and with its key"
	if certFile == "" {
		v.add(prefix+"cert_file", "is missing", next)
	}
	if keyFile == "" {
		v.add(prefix+"key_file", "is missing", next)
	}
	if certFile == "" || keyFile == "" {
		return
	}
	before := len(v.faults)
	v.pem(prefix+"cert_file", certFile, next)
	v.pem(prefix+"key_file", keyFile, next)
	if len(v.faults) > before {
		return
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		v.add(prefix+"cert_file", certFile+" and "+keyFile+" cannot be used: "+err.Error(), next)
	}
}

func (v *validator) certificateAuthority(key, path string) {
	const next = "name a PEM file with the certificates of the authority, or remove it"
	before := len(v.faults)
	if v.pem(key, path, next); len(v.faults) > before {
		return
	}
	data, err := readRegular(path)
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(data) {
		v.add(key, path+" holds no certificate", next)
	}
}
