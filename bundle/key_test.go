package bundle_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/krait-gateway/krait/bundle"
)

func TestKeysOfAllFormsAreTheSameKey(t *testing.T) {
	key := opensslKey(t)
	pkcs1, err := bundle.LoadPrivateKey(key.path("pkcs1.pem"))
	require.NoError(t, err)
	require.True(t, pkcs1.Equal(key.private))
	public, err := bundle.LoadPublicKey(key.path("rsa-public.pem"))
	require.NoError(t, err)
	require.True(t, public.Equal(key.public))
	require.True(t, key.private.PublicKey.Equal(public))
}

func TestUnusableKeysSayWhatTheyAre(t *testing.T) {
	key := opensslKey(t)
	write(t, key.dir, map[string]string{
		"empty.pem": " \n",
		"text.pem":  "not a key",
		"noise.pem": "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
		"two.pem":   generateKey(t)["public.pem"] + generateKey(t)["public.pem"],
	})
	const (
		publicLooks  = `it begins with "-----BEGIN PUBLIC KEY-----"`
		privateLooks = `it begins with "-----BEGIN PRIVATE KEY-----" or`
	)
	public := func(path string) error { _, err := bundle.LoadPublicKey(path); return err }
	private := func(path string) error { _, err := bundle.LoadPrivateKey(path); return err }
	cases := map[string]struct {
		load func(string) error
		file string
		says string
	}{
		"empty file":                   {public, "empty.pem", "is empty; name a PEM file with an RSA public key; " + publicLooks},
		"no PEM":                       {public, "text.pem", "is not a PEM file; name a PEM file with an RSA public key; " + publicLooks},
		"damaged":                      {public, "noise.pem", `"PUBLIC KEY"`},
		"missing":                      {public, "missing.pem", publicLooks},
		"directory":                    {public, ".", "is not a PEM file; name a PEM file with an RSA public key; " + publicLooks},
		"two keys":                     {public, "two.pem", "more than one"},
		"private instead of public":    {public, "pkcs8.pem", "private key"},
		"certificate":                  {public, "cert.pem", "certificate"},
		"elliptic curve":               {public, "ec-public.pem", "RSA"},
		"short public key":             {public, "short-public.pem", "1024 bits"},
		"public instead of private":    {private, "public.pem", "public key"},
		"encrypted PKCS#8":             {private, "encrypted8.pem", "encrypted"},
		"encrypted PKCS#1":             {private, "encrypted1.pem", "encrypted"},
		"private elliptic curve":       {private, "ec-private.pem", "RSA"},
		"short private key":            {private, "short.pem", "1024 bits"},
		"empty file for a private key": {private, "empty.pem", privateLooks},
		"missing private key":          {private, "missing.pem", privateLooks},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(key.dir, test.file)
			err := test.load(path)
			require.ErrorIs(t, err, bundle.ErrKey)
			require.ErrorContains(t, err, test.says)
			require.ErrorContains(t, err, filepath.Clean(path))
		})
	}
}

func TestUnreadableKeyIsNotAPanic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.pem")
	require.NoError(t, os.WriteFile(path, make([]byte, 2<<20), 0o600))
	_, err := bundle.LoadPublicKey(path)
	require.ErrorIs(t, err, bundle.ErrKey)
}
