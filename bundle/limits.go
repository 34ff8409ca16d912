package bundle

import "io"

// Limits bounds what a bundle may be. The zero value of a field means its
// default.
type Limits struct {
	// Archive is the size of the zip in bytes. Default 256 MiB.
	Archive int64
	// Manifest is the size of manifest.json in bytes. Default 1 MiB.
	Manifest int64
	// File is the size of one unpacked file in bytes. Default 512 MiB.
	File int64
	// Total is the size of all unpacked files in bytes. Default 1 GiB.
	Total int64
	// Entries is the number of entries of the zip. Default 20000.
	Entries int
	// Ratio is how many times larger than its compressed form an entry may
	// be. It is looked at only for entries of more than RatioFrom bytes:
	// small files of zeros are legitimate. Default 200.
	Ratio int64
	// RatioFrom is in bytes. Default 8 MiB.
	RatioFrom int64
}

const (
	kib = 1 << 10
	mib = 1 << 20
)

// withDefaults returns l with every unset field at its default.
func (l Limits) withDefaults() Limits {
	set := func(field *int64, value int64) {
		if *field <= 0 {
			*field = value
		}
	}
	set(&l.Archive, 256*mib)
	set(&l.Manifest, mib)
	set(&l.File, 512*mib)
	set(&l.Total, 1024*mib)
	set(&l.Ratio, 200)
	set(&l.RatioFrom, 8*mib)
	if l.Entries <= 0 {
		l.Entries = 20000
	}
	return l
}

// budget counts the unpacked bytes of one bundle against its limits.
type budget struct {
	limits Limits
	total  int64
}

// reader returns r failing with ErrTooLarge once the file named name, or the
// bundle with it, is too large.
func (b *budget) reader(name string, r io.Reader) io.Reader {
	return &budgetReader{budget: b, name: name, r: r}
}

type budgetReader struct {
	budget *budget
	name   string
	r      io.Reader
	file   int64
}

func (r *budgetReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.file += int64(n)
	r.budget.total += int64(n)
	if limit := r.budget.limits.File; r.file > limit {
		return 0, mark(ErrTooLarge, "%s: more than %d bytes", r.name, limit)
	}
	if limit := r.budget.limits.Total; r.budget.total > limit {
		return 0, mark(ErrTooLarge, "the files together have more than %d bytes", limit)
	}
	return n, err
}
