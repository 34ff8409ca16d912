package main

import (
	"bufio"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/krait-gateway/krait/bundle"
)

// bundleCommand groups what is done with bundles.
type bundleCommand struct {
	Build   bundleBuildCommand   `cmd:"" help:"Build a bundle from a manifest and the files beside it."`
	Verify  bundleVerifyCommand  `cmd:"" help:"Check a bundle's manifest, checksum and, with a key, its signatures."`
	Inspect bundleInspectCommand `cmd:"" help:"Show what is in a bundle."`
}

type bundleBuildCommand struct {
	Manifest    string `short:"m" default:"manifest.json" help:"The manifest; the files of its file_list are beside it." type:"path"`
	Output      string `short:"o" default:"bundle.zip" help:"The zip to write." type:"path"`
	Key         string `short:"k" help:"A PEM file with the RSA private key to sign with." type:"path"`
	SkipSigning bool   `short:"y" help:"Build an unsigned bundle without asking."`
}

// Run builds the bundle. Without a key and without -y it asks.
func (c *bundleBuildCommand) Run(ctx context.Context) error {
	var key *rsa.PrivateKey
	switch {
	case c.Key != "" && c.SkipSigning:
		return errors.New("bundle build: --key and --skip-signing exclude each other; give one of them")
	case c.Key != "":
		var err error
		if key, err = bundle.LoadPrivateKey(c.Key); err != nil {
			return fmt.Errorf("--key: %w", err)
		}
	case !c.SkipSigning:
		if err := confirmUnsigned(os.Stdin, os.Stderr); err != nil {
			return err
		}
	}
	report, err := bundle.Build(ctx, bundle.BuildConfig{Manifest: c.Manifest, Output: c.Output, Key: key})
	if err != nil {
		return err
	}
	signed := "unsigned"
	if key != nil {
		signed = "signed"
	}
	_, err = fmt.Printf("%s: built, %d files, checksum %s, %s\n", c.Output, len(report.Files), report.Checksum, signed)
	return err
}

// confirmUnsigned asks whether to go on without a signature. No answer is no.
func confirmUnsigned(in io.Reader, out io.Writer) error {
	fmt.Fprint(out, "The bundle will be unsigned. Continue? [y/N] ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	default:
		return errors.New("bundle build: nothing was built; sign it with --key, or pass -y to build it unsigned")
	}
}

type bundleVerifyCommand struct {
	Path                     string `arg:"" help:"A bundle: a zip or an unpacked directory." type:"path"`
	PublicKey                string `short:"k" help:"A PEM file with the RSA public key; unsigned bundles are then refused." type:"path"`
	RequireManifestSignature bool   `help:"Refuse bundles whose manifest is not signed."`
}

// Run checks the bundle and says what it found.
func (c *bundleVerifyCommand) Run(ctx context.Context) error {
	options := bundle.VerifyOptions{RequireManifestSignature: c.RequireManifestSignature}
	if c.PublicKey != "" {
		key, err := bundle.LoadPublicKey(c.PublicKey)
		if err != nil {
			return fmt.Errorf("--public-key: %w", err)
		}
		options.PublicKey = key
	}
	report, err := bundle.Verify(ctx, c.Path, options)
	if err != nil {
		return err
	}
	return report.WriteText(os.Stdout)
}

type bundleInspectCommand struct {
	Path string `arg:"" help:"A bundle: a zip or an unpacked directory." type:"path"`
}

// Run shows the bundle without judging it.
func (c *bundleInspectCommand) Run(ctx context.Context) error {
	report, err := bundle.Inspect(ctx, c.Path, bundle.Limits{})
	if err != nil {
		return err
	}
	return report.WriteText(os.Stdout)
}
