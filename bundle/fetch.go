package bundle

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/krait-gateway/krait/telemetry"
)

// Bundle is a verified bundle on disk.
type Bundle struct {
	// Name is the name as configured and ID its MD5, see [ID].
	Name, ID string
	// Dir is the absolute path of the unpacked bundle. It stays as it is until
	// Release, also when a newer version comes into service: equal paths have
	// equal contents for as long as one of their bundles is not released.
	Dir string
	// Manifest is the bundle's manifest.
	Manifest *Manifest
	// Stale is nil when the bundle is what the server has, or the downloader
	// is off. Otherwise it says why that could not be had and an older one from
	// disk is used.
	Stale error

	release func()
}

// Entry returns the file in Dir that is loaded first, see [Manifest.Entry].
func (b *Bundle) Entry() string { return b.Manifest.Entry() }

// Release says that no code runs from Dir any more. A version that is not in
// service is then removed.
func (b *Bundle) Release() {
	if b.release != nil {
		b.release()
	}
}

// Fetcher obtains bundles. Close it when done.
type Fetcher struct {
	config  Config
	options VerifyOptions
	base    *url.URL // nil when there is none
	client  *http.Client
	shelf   *shelf
	flights singleflight.Group
	// copies are those of directories put there by hand, by id; copying keeps
	// their makers apart.
	copying sync.Mutex
	copies  map[string]handCopy
	// downloads may go on after the flight that began them, see update.
	downloads singleflight.Group

	// closing ends with the Fetcher: flights are shared by several callers, so
	// none of their contexts may end one.
	closing context.Context
	close   context.CancelFunc
	mu      sync.Mutex // guards running.Add against Close
	running sync.WaitGroup
}

// NewFetcher returns a Fetcher and removes what crashed ones left in Dir.
func NewFetcher(config Config) (*Fetcher, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	shelf, err := newShelf(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("bundle directory %q: %w", config.Dir, err)
	}
	if err := shelf.clean(); err != nil {
		config.Logger.Warn("cannot remove leftovers of bundles",
			telemetry.KeyPath, shelf.dir, telemetry.KeyError, err.Error())
	}
	fetcher := &Fetcher{
		config: config,
		shelf:  shelf,
		copies: make(map[string]handCopy),
		client: newClient(config),
		options: VerifyOptions{
			PublicKey:                config.PublicKey,
			RequireManifestSignature: config.RequireManifestSignature,
			Limits:                   config.Limits,
		},
	}
	if config.Enabled && config.BaseURL != "" {
		if fetcher.base, err = parseBase(config.BaseURL); err != nil {
			return nil, err
		}
	}
	fetcher.closing, fetcher.close = context.WithCancel(context.Background())
	return fetcher, nil
}

// Close ends downloads that are under way and waits for them. Bundles that
// were fetched stay usable in this process, but another one sharing Dir may
// then remove versions that are no longer in service.
func (f *Fetcher) Close() error {
	f.mu.Lock()
	f.close()
	f.mu.Unlock()
	f.running.Wait()
	f.client.CloseIdleConnections()
	f.shelf.unlockAll()
	return nil
}

// Fetch returns the bundle name: the server's current one, or, when that
// cannot be had or is refused, a verified one from disk with a warning in the
// log and in Bundle.Stale. While there is one on disk, the download is waited
// for no longer than Config.PresentWait; it then goes on, and what it brings is
// for the next Fetch. Fetching one name several times at once downloads it
// once. Each Bundle has to be released.
//
// The error holds one of this package's errors, a [*jsonfile.Error] for the
// manifest, or what the network or file system reported.
func (f *Fetcher) Fetch(ctx context.Context, name string) (*Bundle, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	// A version that was just replaced may be gone before it is locked.
	const attempts = 10
	for range attempts {
		got, err := f.share(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("fetch bundle %q: %w", name, err)
		}
		unlock, ok, err := f.shelf.lock(got.place.version)
		if err != nil {
			return nil, fmt.Errorf("fetch bundle %q: %w", name, err)
		}
		if ok {
			return f.bundle(name, got, unlock), nil
		}
	}
	return nil, fmt.Errorf("fetch bundle %q: it was replaced %d times meanwhile; is something else writing to %s?",
		name, attempts, f.shelf.dir)
}

// fetched is what one flight brings back to all of its callers.
type fetched struct {
	place  place
	report *Report
	stale  error
}

func (f *Fetcher) bundle(name string, got *fetched, unlock func()) *Bundle {
	return &Bundle{
		Name: name, ID: ID(name), Dir: got.place.dir,
		Manifest: got.report.Manifest, Stale: got.stale,
		release: sync.OnceFunc(func() {
			unlock()
			f.prune(name, got.place.version)
		}),
	}
}

func (f *Fetcher) prune(name, version string) {
	if err := f.shelf.prune(version); err != nil {
		f.config.Logger.Warn("cannot remove old version of bundle",
			telemetry.KeyBundle, name, telemetry.KeyPath, version, telemetry.KeyError, err.Error())
	}
}

// share joins the flight for name or starts one.
func (f *Fetcher) share(ctx context.Context, name string) (*fetched, error) {
	f.mu.Lock()
	if f.closing.Err() != nil {
		f.mu.Unlock()
		return nil, ErrClosed
	}
	f.running.Add(1)
	f.mu.Unlock()

	type outcome struct {
		got *fetched
		err error
	}
	result := make(chan outcome, 1)
	go func() {
		defer f.running.Done()
		got, err, _ := f.flights.Do(name, func() (any, error) {
			flight, cancel := context.WithTimeout(f.closing, f.config.Timeout)
			defer cancel()
			return f.fetch(flight, name)
		})
		found, _ := got.(*fetched)
		result <- outcome{found, err}
	}()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case done := <-result:
		return done.got, done.err
	}
}

// fetch decides between the server's bundle and the one on disk.
func (f *Fetcher) fetch(ctx context.Context, name string) (*fetched, error) {
	present, presentErr := f.present(ctx, name)
	if !f.config.Enabled {
		if errors.Is(presentErr, ErrNotFound) {
			return nil, notThere(presentErr)
		}
		return present, presentErr
	}
	if present == nil && !errors.Is(presentErr, ErrNotFound) {
		f.config.Logger.Warn("bundle on disk cannot be used, downloading it",
			telemetry.KeyBundle, name, telemetry.KeyError, presentErr.Error())
	}
	current, err := f.update(ctx, name, present)
	switch {
	case err == nil:
		if present != nil && current.place.version != present.place.version {
			f.prune(name, present.place.version) // a copy, if nobody uses it
		}
		return current, nil
	case present == nil && errors.Is(presentErr, ErrNotFound):
		return nil, err
	case present == nil:
		return nil, fmt.Errorf("%w; and the one on disk cannot be used: %w", err, presentErr)
	}
	f.config.Logger.Warn("bundle cannot be updated, using the one on disk",
		telemetry.KeyBundle, name, telemetry.KeyPath, present.place.dir, telemetry.KeyError, err.Error())
	stale := *present // a download that goes on has present too
	stale.stale = err
	return &stale, nil
}

// Look returns the manifest of the bundle that a [Fetcher] with this config
// uses while it downloads nothing, and the errors of such a one. It changes
// nothing in config.Dir.
func Look(ctx context.Context, config Config, name string) (*Manifest, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	manifest, err := look(ctx, config.withDefaults(), name)
	if err != nil {
		return nil, fmt.Errorf("fetch bundle %q: %w", name, err)
	}
	return manifest, nil
}

func look(ctx context.Context, config Config, name string) (*Manifest, error) {
	shelf, err := newShelf(config.Dir)
	if err != nil {
		return nil, err
	}
	place, err := shelf.lookup(ID(name))
	if errors.Is(err, ErrNotFound) {
		return nil, notThere(err)
	}
	if err != nil {
		return nil, err
	}
	report, err := verify(ctx, place.dir, VerifyOptions{
		PublicKey: config.PublicKey, RequireManifestSignature: config.RequireManifestSignature, Limits: config.Limits,
	})
	if err == nil {
		err = report.Manifest.loadable()
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", place.dir, err)
	}
	return report.Manifest, nil
}

func notThere(err error) error {
	return fmt.Errorf("%w and the downloader is off; set enable_bundle_downloader, or unpack the bundle there", err)
}

// present returns the verified bundle that is on disk.
func (f *Fetcher) present(ctx context.Context, name string) (*fetched, error) {
	place, err := f.shelf.lookup(ID(name))
	if err != nil {
		return nil, err
	}
	shown := place.dir
	if place.version == "" {
		if place, err = f.private(ctx, ID(name), place); err != nil {
			return nil, fmt.Errorf("%s: %w", shown, err)
		}
	}
	unlock, ok, err := f.shelf.lock(place.version)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, mark(ErrNotFound, "%s vanished", place.dir)
	}
	report, err := f.verifyPlace(ctx, place)
	unlock()
	if err != nil {
		if shown != place.dir {
			f.prune(name, place.version)
		}
		return nil, fmt.Errorf("%s: %w", shown, err)
	}
	return &fetched{place: place, report: report}, nil
}

func (f *Fetcher) verifyPlace(ctx context.Context, place place) (*Report, error) {
	if f.options.PublicKey != nil {
		if err := removeBytecode(place.dir); err != nil {
			return nil, err
		}
	}
	report, err := verify(ctx, place.dir, f.options)
	if err == nil {
		err = report.Manifest.loadable()
	}
	return report, err
}

// current returns the server's bundle: the one already present when it is the
// same, or else a new version, verified and in service.
func (f *Fetcher) current(ctx context.Context, name string, present *fetched) (_ *fetched, err error) {
	source, err := f.source(name)
	if err != nil {
		return nil, err
	}
	version, unlock, err := f.shelf.create()
	if err != nil {
		return nil, err
	}
	installed := false
	defer func() {
		unlock()
		if !installed {
			err = errors.Join(err, os.RemoveAll(version))
		}
	}()

	id, archive := ID(name), filepath.Join(version, archiveName)
	state, unchanged, err := f.get(ctx, source, archive, present)
	if err != nil {
		return nil, err
	}
	if unchanged {
		return present, nil
	}
	report, err := unpack(ctx, archive, filepath.Join(version, id), f.options)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", plain(source), err)
	}
	if err := report.Manifest.loadable(); err != nil {
		return nil, fmt.Errorf("%s: %w", plain(source), err)
	}
	if present != nil && present.report.fingerprint() == report.fingerprint() {
		f.remember(name, present.place.version, state)
		return present, nil
	}
	if err := os.Remove(archive); err != nil {
		return nil, err
	}
	f.remember(name, version, state)
	old, _ := f.shelf.linked(id)
	replaced, err := f.shelf.install(id, version)
	if err != nil {
		return nil, err
	}
	installed = true
	f.announce(name, report, replaced)
	f.prune(name, old)
	return &fetched{place: place{dir: report.Path, version: version}, report: report}, nil
}

// remember notes how a version was obtained; failing at it costs a download.
func (f *Fetcher) remember(name, version string, state download) {
	if version == "" {
		return
	}
	if err := writeState(version, state); err != nil {
		f.config.Logger.Warn("cannot note the state of the bundle's download",
			telemetry.KeyBundle, name, telemetry.KeyPath, version, telemetry.KeyError, err.Error())
	}
}

func (f *Fetcher) announce(name string, report *Report, replaced string) {
	f.config.Logger.Info("bundle downloaded",
		telemetry.KeyBundle, name, telemetry.KeyPath, report.Path)
	if replaced != "" {
		f.config.Logger.Warn("bundle directory was moved aside for the downloaded bundle",
			telemetry.KeyBundle, name, telemetry.KeyPath, replaced)
	}
	for _, member := range report.Manifest.Unknown {
		f.config.Logger.Warn("bundle manifest has an unknown member",
			telemetry.KeyBundle, name, telemetry.KeyField, member)
	}
	if len(report.Uncovered) > 0 {
		f.config.Logger.Warn("bundle holds files that file_list does not name",
			telemetry.KeyBundle, name, telemetry.KeyFile, abridged(report.Uncovered))
	}
}
