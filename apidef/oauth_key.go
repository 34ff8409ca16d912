package apidef

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"
)

// minRSABits is the shortest RSA key (RFC 7518 section 3.3).
const minRSABits = 2048

// OAuthKey is what verifies the signatures of JWTs. Exactly one member is set.
type OAuthKey struct {
	// Secret is for hmac.
	Secret []byte
	// Public is a *rsa.PublicKey for rsa, a *ecdsa.PublicKey for ecdsa.
	Public crypto.PublicKey
	// JWKS is where the provider publishes its public keys.
	JWKS *url.URL
}

// Key returns what Source holds: for hmac the base64 of a secret, otherwise a
// public key or certificate as PEM, plain or in base64, or the URL of a JWKS,
// plain or in base64.
func (j *OAuthJWT) Key() (OAuthKey, error) {
	key, problem, _ := j.key()
	if problem != "" {
		return OAuthKey{}, errors.New("source " + problem)
	}
	return key, nil
}

// key is Key with the parts of a fault.
func (j *OAuthJWT) key() (key OAuthKey, problem, next string) {
	const nextKey = "write the URL of the provider's JWKS, or its public key as PEM or base64 of PEM"
	text := strings.TrimSpace(j.Source)
	if text == "" {
		return key, "is missing", nextKey + "; for hmac the base64 of the secret"
	}
	content := []byte(text)
	if !isHTTP(text) && !strings.HasPrefix(text, "-----BEGIN ") {
		decoded, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return key, "is neither base64 nor PEM nor an http(s) URL", nextKey + "; for hmac the base64 of the secret"
		}
		content = decoded
	}
	if j.SigningMethod == SigningHMAC {
		return hmacKey(content)
	}
	if isHTTP(string(content)) {
		at, err := url.Parse(strings.TrimSpace(string(content)))
		if err != nil || at.Hostname() == "" {
			return key, "is not a usable URL", "write an absolute URL such as https://idp.example.com/jwks"
		}
		if at.User != nil {
			return key, "has credentials in its URL", "remove them; a JWKS is public"
		}
		return OAuthKey{JWKS: at}, "", ""
	}
	block, _ := pem.Decode(content)
	if block == nil {
		return key, "holds no public key", nextKey
	}
	public, problem := publicKey(block)
	if problem != "" {
		return key, problem, nextKey
	}
	if problem = unfit(public, j.SigningMethod); problem != "" {
		return key, problem, "change signing_method or the key"
	}
	return OAuthKey{Public: public}, "", ""
}

// hmacKey takes anything but what is public, or can be: whoever knows the
// secret can sign.
func hmacKey(content []byte) (key OAuthKey, problem, next string) {
	switch {
	case len(content) == 0:
		return key, "is an empty secret", "write the base64 of the secret"
	case isHTTP(string(content)):
		return key, "is a URL, but secrets are not published", "write the base64 of the secret, or use rsa or ecdsa"
	}
	if block, _ := pem.Decode(content); block != nil {
		return key, "is a PEM block, with which anybody who has the public key could sign tokens",
			"set signing_method to rsa or ecdsa, or write the base64 of a secret"
	}
	return OAuthKey{Secret: content}, "", ""
}

func publicKey(block *pem.Block) (key crypto.PublicKey, problem string) {
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var certificate *x509.Certificate
		if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = certificate.PublicKey
		}
	default:
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return nil, "holds a private key, which only the provider should have"
		}
		return nil, "holds PEM that is no public key"
	}
	if err != nil {
		return nil, "holds a public key that cannot be read"
	}
	return key, ""
}

// unfit says why key cannot verify tokens of the method, or "".
func unfit(key crypto.PublicKey, method string) string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if method == SigningECDSA {
			return "holds an RSA key, but signing_method is ecdsa"
		}
		if k.N.BitLen() < minRSABits {
			return "holds an RSA key of less than 2048 bits"
		}
	case *ecdsa.PublicKey:
		if method == SigningRSA {
			return "holds an ECDSA key, but signing_method is rsa"
		}
	default:
		return "holds a key that is neither RSA nor ECDSA"
	}
	return ""
}

func isHTTP(text string) bool {
	lower := strings.ToLower(text)
	return strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://")
}
