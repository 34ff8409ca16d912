package bundle

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// Kinds of bundle, see [Report].
const (
	KindZip       = "zip"
	KindDirectory = "directory"
)

// source is where the bytes of a bundle come from.
type source interface {
	kind() string
	// manifest returns the text of manifest.json.
	manifest() ([]byte, error)
	// open returns the regular file with a clean path; fs.ErrNotExist when
	// there is none.
	open(name string) (io.ReadCloser, error)
	// names returns the clean paths of all files but the manifest, sorted.
	names() ([]string, error)
	close() error
}

// openSource opens the zip or directory at path.
func openSource(path string, limits Limits) (source, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, mark(ErrNotFound, "%w; name the zip or the unpacked directory of a bundle", err)
	case err != nil:
		return nil, err
	case info.IsDir():
		return openDirectory(path, limits)
	default:
		return openZip(path, limits)
	}
}

// zipSource is a zip whose entries were all found safe.
type zipSource struct {
	reader  *zip.ReadCloser
	limits  Limits
	entries map[string]*zip.File
}

// General purpose flags of APPNOTE.TXT 4.4.4: encrypted, strong encryption,
// encrypted central directory.
const encryptedFlags = 1<<0 | 1<<6 | 1<<13

func openZip(path string, limits Limits) (*zipSource, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, mark(ErrBroken, "%s: is not a regular file", path)
	}
	if info.Size() > limits.Archive {
		return nil, mark(ErrTooLarge, "%s: %d bytes, at most %d are read", path, info.Size(), limits.Archive)
	}
	reader, err := zip.OpenReader(path)
	if errors.Is(err, zip.ErrInsecurePath) {
		err = errors.Join(err, reader.Close())
		return nil, mark(ErrUnsafe, "%w", err)
	}
	if err != nil {
		return nil, unreadableZip(err)
	}
	entries, err := checkEntries(reader.File, limits)
	if err != nil {
		return nil, errors.Join(err, reader.Close())
	}
	return &zipSource{reader: reader, limits: limits, entries: entries}, nil
}

func unreadableZip(err error) error {
	const next = `build it with "krait bundle build" and copy all of it`
	if errors.Is(err, zip.ErrFormat) {
		return mark(ErrBroken, "is not a readable zip: it is another kind of file, or was cut off; %s", next)
	}
	return mark(ErrBroken, "is not a readable zip: %w; %s", err, next)
}

// checkEntries returns the regular files of a zip by clean path, or everything
// that makes it unsafe.
func checkEntries(files []*zip.File, limits Limits) (map[string]*zip.File, error) {
	if len(files) > limits.Entries {
		return nil, mark(ErrTooLarge, "%d entries, at most %d are unpacked", len(files), limits.Entries)
	}
	entries := make(map[string]*zip.File, len(files))
	paths := newPathSet()
	var total uint64
	for _, file := range files {
		name, problem := checkEntry(file, limits)
		if problem != "" {
			return nil, mark(ErrUnsafe, "entry %q: %s", file.Name, problem)
		}
		if file.UncompressedSize64 > uint64(limits.File) {
			return nil, mark(ErrTooLarge, "entry %q: %d bytes unpacked, at most %d are", file.Name, file.UncompressedSize64, limits.File)
		}
		total += file.UncompressedSize64 // no overflow: each is within File
		if total > uint64(limits.Total) {
			return nil, mark(ErrTooLarge, "the files together have more than %d bytes", limits.Total)
		}
		if name == "" {
			continue // a directory: made when a file needs it
		}
		if problem := paths.add(name); problem != "" {
			return nil, mark(ErrUnsafe, "entry %q: %s", file.Name, problem)
		}
		entries[name] = file
	}
	return entries, nil
}

// checkEntry returns the clean path of a file, "" for a directory, or what is
// wrong with it.
func checkEntry(file *zip.File, limits Limits) (name, problem string) {
	directory := strings.HasSuffix(file.Name, "/")
	trimmed := strings.TrimSuffix(file.Name, "/")
	if !directory || trimmed != "." {
		if name, problem = cleanEntry(trimmed); problem != "" {
			return "", problem
		}
	}
	size, packed := file.UncompressedSize64, file.CompressedSize64
	switch {
	case file.Flags&encryptedFlags != 0:
		return "", "it is encrypted, build the bundle without a password"
	case file.Mode()&fs.ModeType&^fs.ModeDir != 0:
		return "", "it is a link or a special file, put the file itself into the bundle"
	case file.Mode().IsDir() != directory:
		return "", "it is a file and a directory at once"
	case file.Method != zip.Store && file.Method != zip.Deflate:
		return "", fmt.Sprintf("it is compressed with method %d, only store and deflate are read", file.Method)
	case size > uint64(limits.RatioFrom) && size/uint64(limits.Ratio) > packed:
		return "", fmt.Sprintf("it unpacks from %d to %d bytes, more than %d times its size", packed, size, limits.Ratio)
	case directory && size != 0:
		return "", "it is a directory with content"
	case directory:
		return "", ""
	}
	return name, ""
}

func (*zipSource) kind() string { return KindZip }

func (z *zipSource) close() error { return z.reader.Close() }

func (z *zipSource) open(name string) (io.ReadCloser, error) {
	file, ok := z.entries[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return file.Open()
}

func (z *zipSource) names() ([]string, error) {
	names := make([]string, 0, len(z.entries))
	for name := range z.entries {
		if name != manifestName {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (z *zipSource) manifest() ([]byte, error) {
	data, err := readManifest(z, z.limits)
	if !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	for name := range z.entries {
		if strings.HasSuffix(name, "/"+manifestName) {
			return nil, mark(ErrBroken, "%s is at %s, it has to be at the root of the zip", manifestName, name)
		}
	}
	return nil, mark(ErrBroken, "there is no %s at the root of the zip", manifestName)
}

// readManifest reads manifest.json of a source within its limit.
func readManifest(src source, limits Limits) (data []byte, err error) {
	file, err := src.open(manifestName)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	data, err = io.ReadAll(io.LimitReader(file, limits.Manifest+1))
	if err != nil {
		return nil, mark(ErrBroken, "%s: %w", manifestName, err)
	}
	if int64(len(data)) > limits.Manifest {
		return nil, mark(ErrTooLarge, "%s: more than %d bytes", manifestName, limits.Manifest)
	}
	return data, nil
}
