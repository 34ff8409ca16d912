//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package bundle

import (
	"errors"
	"os"
	"syscall"
)

// lockDirectory opens dir and marks it as in use for as long as the file is
// open. It returns nil when dir was removed meanwhile.
func lockDirectory(dir string) (*os.File, error) {
	file, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, err
	}
	if err := flock(file, syscall.LOCK_SH); err != nil && !unsupported(err) {
		return nil, errors.Join(err, file.Close())
	}
	// It may have been removed while the lock was waited for.
	held, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if now, err := os.Stat(dir); err != nil || !os.SameFile(held, now) {
		return nil, file.Close()
	}
	return file, nil
}

// removeUnused removes dir unless someone has it locked or keep, asked while
// nobody can lock it, says that it has to stay.
func removeUnused(dir string, keep func() bool) (err error) {
	file, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	switch err := flock(file, syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK), unsupported(err):
		return nil
	case err != nil:
		return err
	}
	if keep() {
		return nil
	}
	return os.RemoveAll(dir)
}

// unsupported: some network file systems have no locks. Nothing is removed
// there, as nobody knows what is in use.
func unsupported(err error) bool {
	return errors.Is(err, syscall.ENOLCK) || errors.Is(err, syscall.ENOSYS) || errors.Is(err, errors.ErrUnsupported)
}

func flock(file *os.File, how int) error {
	for {
		err := syscall.Flock(int(file.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
