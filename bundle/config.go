package bundle

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Config says how a [Fetcher] obtains bundles.
type Config struct {
	// Dir is where bundles are kept: <middleware_path>/bundles.
	Dir string
	// Enabled lets bundles be downloaded (enable_bundle_downloader); otherwise
	// only those in Dir are used.
	Enabled bool
	// BaseURL is where bundles are downloaded from (bundle_base_url): http,
	// https or file. The bundle's name is appended to its path; a query is
	// kept.
	BaseURL string
	// InsecureSkipVerify accepts any certificate (bundle_insecure_skip_verify).
	InsecureSkipVerify bool
	// PublicKey, when set, refuses bundles that are not signed with it.
	PublicKey *rsa.PublicKey
	// RequireManifestSignature refuses bundles without manifest_signature.
	RequireManifestSignature bool
	// Limits bounds what is downloaded and unpacked.
	Limits Limits
	// Attempts is how often a download is tried. Default 4.
	Attempts int
	// RetryDelay is the pause before the second attempt; later ones are
	// longer. Default 500 ms.
	RetryDelay time.Duration
	// AttemptTimeout limits one attempt, body included. Default 1 min.
	AttemptTimeout time.Duration
	// Timeout limits one Fetch with all its attempts. Default 3 min.
	Timeout time.Duration
	// PresentWait limits how long Fetch waits for a download while a verified
	// bundle is on disk that can serve meanwhile. Default 5 s.
	PresentWait time.Duration
	// Logger receives warnings. Default: none are written.
	Logger *slog.Logger
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var found []error
	if c.Dir == "" {
		found = append(found, errors.New("middleware_path: the directory for bundles is not set"))
	}
	if c.RequireManifestSignature && c.PublicKey == nil {
		found = append(found, VerifyOptions{RequireManifestSignature: true}.validate())
	}
	if c.PublicKey != nil {
		found = append(found, checkBits("public_key_path", c.PublicKey))
	}
	if c.Enabled && c.BaseURL != "" {
		_, err := parseBase(c.BaseURL)
		found = append(found, err)
	}
	if err := errors.Join(found...); err != nil {
		return fmt.Errorf("bundle downloader: %w", err)
	}
	return nil
}

func (c Config) withDefaults() Config {
	duration := func(field *time.Duration, value time.Duration) {
		if *field <= 0 {
			*field = value
		}
	}
	duration(&c.RetryDelay, 500*time.Millisecond)
	duration(&c.AttemptTimeout, time.Minute)
	duration(&c.Timeout, 3*time.Minute)
	duration(&c.PresentWait, 5*time.Second)
	if c.Attempts <= 0 {
		c.Attempts = 4
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Limits = c.Limits.withDefaults()
	return c
}
