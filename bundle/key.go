package bundle

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
)

const (
	minKeyBits  = 2048
	maxKeyBytes = mib

	// What to do about a file that holds no key at all.
	nextPublic  = `name a PEM file with an RSA public key; it begins with "-----BEGIN PUBLIC KEY-----"`
	nextPrivate = `name a PEM file with an RSA private key; it begins with "-----BEGIN PRIVATE KEY-----" or "-----BEGIN RSA PRIVATE KEY-----"` //nolint:gosec // no key, only how one begins
)

// LoadPublicKey reads an RSA public key from the PEM file at path: a
// "PUBLIC KEY" (RFC 5280) or an "RSA PUBLIC KEY" (PKCS#1) of at least 2048
// bits. Errors are [ErrKey] and say what the file holds instead.
func LoadPublicKey(path string) (*rsa.PublicKey, error) {
	data, err := readKey(path, nextPublic)
	if err != nil {
		return nil, err
	}
	return ParsePublicKey(path, data)
}

// LoadPrivateKey reads an RSA private key from the PEM file at path: PKCS#1
// "RSA PRIVATE KEY" or PKCS#8 "PRIVATE KEY", not encrypted, of at least 2048
// bits. Errors are [ErrKey] and say what the file holds instead.
func LoadPrivateKey(path string) (*rsa.PrivateKey, error) {
	data, err := readKey(path, nextPrivate)
	if err != nil {
		return nil, err
	}
	return ParsePrivateKey(path, data)
}

func readKey(path, next string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, mark(ErrKey, "%w; %s", err, next)
	}
	if !info.Mode().IsRegular() || info.Size() > maxKeyBytes {
		return nil, mark(ErrKey, "%s: is not a PEM file; %s", path, next)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, mark(ErrKey, "%w; %s", err, next)
	}
	return data, nil
}

// ParsePublicKey is [LoadPublicKey] for PEM text; file names it in messages.
func ParsePublicKey(file string, data []byte) (*rsa.PublicKey, error) {
	block, err := pemBlock(file, data, nextPublic)
	if err != nil {
		return nil, err
	}
	var parsed any
	switch block.Type {
	case "PUBLIC KEY":
		parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		parsed, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		return nil, mark(ErrKey, `%s: is a certificate, a public key is needed: "openssl x509 -pubkey -noout -in FILE" prints it`, file)
	default:
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, mark(ErrKey, `%s: is a private key, a public key is needed: "openssl pkey -pubout -in FILE" prints it`, file)
		}
		return nil, mark(ErrKey, `%s: is a PEM block %q, "PUBLIC KEY" or "RSA PUBLIC KEY" is needed`, file, block.Type)
	}
	if err != nil {
		return nil, mark(ErrKey, "%s: PEM block %q: %w", file, block.Type, err)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, mark(ErrKey, "%s: is a %T, bundles are signed with RSA keys", file, parsed)
	}
	if err := checkBits(file, key); err != nil {
		return nil, err
	}
	return key, nil
}

// ParsePrivateKey is [LoadPrivateKey] for PEM text; file names it in messages.
func ParsePrivateKey(file string, data []byte) (*rsa.PrivateKey, error) {
	block, err := pemBlock(file, data, nextPrivate)
	if err != nil {
		return nil, err
	}
	const decrypt = `%s: the private key is encrypted: "openssl pkey -in FILE -out PLAIN" decrypts it`
	if strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
		return nil, mark(ErrKey, decrypt, file)
	}
	var parsed any
	switch block.Type {
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, mark(ErrKey, decrypt, file)
	case "PUBLIC KEY", "RSA PUBLIC KEY":
		return nil, mark(ErrKey, "%s: is a public key, signing needs the private one", file)
	default:
		return nil, mark(ErrKey, `%s: is a PEM block %q, "PRIVATE KEY" or "RSA PRIVATE KEY" is needed`, file, block.Type)
	}
	if err != nil {
		return nil, mark(ErrKey, "%s: PEM block %q: %w", file, block.Type, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, mark(ErrKey, "%s: is a %T, bundles are signed with RSA keys", file, parsed)
	}
	if err := checkBits(file, &key.PublicKey); err != nil {
		return nil, err
	}
	return key, nil
}

func pemBlock(file string, data []byte, next string) (*pem.Block, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, mark(ErrKey, "%s: is empty; %s", file, next)
	}
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, mark(ErrKey, "%s: is not a PEM file; %s", file, next)
	}
	if second, _ := pem.Decode(rest); second != nil {
		return nil, mark(ErrKey, "%s: holds more than one PEM block, leave the one key in it", file)
	}
	return block, nil
}

func checkBits(file string, key *rsa.PublicKey) error {
	if bits := key.N.BitLen(); bits < minKeyBits {
		return mark(ErrKey, "%s: the RSA key has %d bits, at least %d are needed", file, bits, minKeyBits)
	}
	return nil
}

// sign returns the base64 of an RSA PKCS#1 v1.5 signature over a SHA-256.
func sign(key *rsa.PrivateKey, sum []byte) (string, error) {
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum)
	if err != nil {
		return "", fmt.Errorf("sign with the private key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(signature), nil
}

// checkSignature verifies the signature of member over sum.
func checkSignature(key *rsa.PublicKey, member, signature string, sum []byte) error {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return mark(ErrBadSignature, "%s: %s: is not base64", manifestName, member)
	}
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum, raw); err != nil {
		if !errors.Is(err, rsa.ErrVerification) {
			return mark(ErrBadSignature, "%s: %s: %w", manifestName, member, err)
		}
		return mark(ErrBadSignature,
			"%s: %s: was made with another key or over other content; sign the bundle with the private key of public_key_path",
			manifestName, member)
	}
	return nil
}

func sha256Sum(data []byte) []byte {
	sum := sha256.Sum256(data)
	return sum[:]
}
