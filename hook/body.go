package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// firstRead bounds how much memory is taken on the word of a
	// Content-Length alone, in bytes. More is taken as bytes arrive, so that
	// announcing much does not use up the Budget.
	firstRead = 1 << 20
	// smallRead is what a body of unknown length begins with, in bytes.
	smallRead = 4 << 10
)

// BodyTooLargeError says that a request body is longer than the limit; the
// reply is 413.
type BodyTooLargeError struct {
	// Limit is the longest body accepted, in bytes.
	Limit int64
}

func (e *BodyTooLargeError) Error() string {
	return fmt.Sprintf("request body is longer than the limit of %d bytes", e.Limit)
}

// BodyReadError says that a request body could not be read to its end: the
// client went away or its framing is broken. The reply is 400.
type BodyReadError struct {
	// Err is what reading returned.
	Err error
}

func (e *BodyReadError) Error() string { return "read request body: " + e.Err.Error() }

// Unwrap returns what reading returned.
func (e *BodyReadError) Unwrap() error { return e.Err }

// Body buffers the body of one request once for everything that needs it. A
// request whose body nobody needs gets no Body and streams.
//
// A Body belongs to one request and is not safe for concurrent use. The bytes
// it holds are never changed in place, so that a reader handed out earlier
// stays valid.
type Body struct {
	limit  int64
	loaded bool
	err    error
	data   []byte
	text   *string // data as text, "" when it is not UTF-8; nil: not known yet
	// room and responseRoom are what the request's and the response's body
	// hold of the budget.
	room, responseRoom reservation
}

// NewBody returns a Body that accepts up to limit bytes; a limit of 0 or less
// accepts any length. Nothing is read before Load.
func NewBody(limit int64) *Body { return &Body{limit: limit} }

// SetBudget makes this body, and a response body that is buffered for the same
// request, take their room from budget. It must be called before Load, and
// Release when the request has ended.
func (b *Body) SetBudget(budget *Budget) {
	b.room.budget, b.responseRoom.budget = budget, budget
}

// Release gives back what is held of the budget. The bytes must not be used any
// more.
func (b *Body) Release() {
	b.room.release()
	b.responseRoom.release()
}

// Load reads the body of r at its first call and returns it; later calls
// return the same bytes or the same error. Each call leaves r with a fresh
// reader of the whole body, matching ContentLength, Content-Length and GetBody,
// and no Transfer-Encoding. The caller must not change the bytes.
//
// Reading makes net/http send "100 Continue" to a client that waits for it, so
// the expectation is met and is not passed on (RFC 9110 section 10.1.1). A body
// that is too long by its Content-Length is refused without reading.
//
// Trailers that the client sent are dropped (RFC 9110 section 6.5.1 allows it):
// a hook is not shown them, so they could undo what it set.
//
// The error is a *BodyTooLargeError, a *BudgetError or a *BodyReadError.
func (b *Body) Load(r *http.Request) ([]byte, error) {
	if !b.loaded {
		b.loaded = true
		b.data, b.err = b.read(r)
	}
	if b.err != nil {
		return nil, b.err
	}
	b.attach(r)
	return b.data, nil
}

// Set makes data the body of r. The caller must not change data afterwards.
// What Load would have read is not read any more.
func (b *Body) Set(r *http.Request, data []byte) {
	b.loaded, b.err = true, nil
	b.data, b.text = data, nil
	b.attach(r)
}

// read reads r.Body to its end and closes it.
func (b *Body) read(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if b.limit > 0 && r.ContentLength > b.limit {
		return nil, &BodyTooLargeError{Limit: b.limit}
	}
	data, tooLong, err := readLimited(r.Context(), r.Body, r.ContentLength, b.limit, &b.room)
	if tooLong {
		return nil, &BodyTooLargeError{Limit: b.limit}
	}
	if _, ok := errors.AsType[*BudgetError](err); ok {
		return nil, err
	}
	if err != nil {
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, &BodyTooLargeError{Limit: tooLarge.Limit}
		}
		return nil, &BodyReadError{Err: err}
	}
	// The body is complete; an error of Close takes nothing away from it.
	_ = r.Body.Close()
	return data, nil
}

// attach makes the buffered bytes the body of r.
func (b *Body) attach(r *http.Request) {
	data := b.data
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	r.Body = reader(data)
	r.GetBody = func() (io.ReadCloser, error) { return reader(data), nil }
	r.Header.Del("Transfer-Encoding")
	if strings.EqualFold(r.Header.Get("Expect"), "100-continue") {
		r.Header.Del("Expect")
	}
	r.Trailer = nil
	r.TransferEncoding = nil
	r.ContentLength = int64(len(data))
	// Without a body the field is kept only where there was one: a GET has
	// none, and an emptied POST says 0 (RFC 9110 section 8.6).
	if _, had := r.Header["Content-Length"]; had || len(data) > 0 {
		r.Header.Set("Content-Length", strconv.Itoa(len(data)))
	}
}

// asText returns the body as text, or "" when it is not valid UTF-8.
func (b *Body) asText() string {
	if b.text == nil {
		text := ""
		if utf8.Valid(b.data) {
			text = string(b.data)
		}
		b.text = &text
	}
	return *b.text
}

// reader returns a fresh reader of data.
func reader(data []byte) io.ReadCloser {
	if len(data) == 0 {
		return http.NoBody
	}
	return io.NopCloser(bytes.NewReader(data))
}

// readLimited reads src to its end, at most limit bytes when limit is greater
// than 0, and takes its memory from room. size is the announced length, or less
// than 0.
func readLimited(ctx context.Context, src io.Reader, size, limit int64, room *reservation) (data []byte, tooLong bool, err error) {
	if limit <= 0 {
		limit = math.MaxInt64
	}
	most := limit
	if size > 0 {
		most = min(size, limit)
	}
	want := int64(smallRead)
	if size > 0 {
		want = firstRead
	}
	for {
		if len(data) == cap(data) {
			if int64(len(data)) > most {
				most = limit // longer than announced
			}
			// One byte more shows the end, or that there is none.
			want = min(want-1, most) + 1
			if err := room.grow(ctx, want); err != nil {
				return nil, false, err
			}
			data = append(make([]byte, 0, want), data...)
			want = 2 * want
		}
		n, err := src.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > limit:
			return nil, true, nil
		case errors.Is(err, io.EOF):
			return data, false, nil
		case err != nil:
			return nil, false, err
		}
	}
}

// hasTrailer says whether a trailer field was received, not only announced.
func hasTrailer(trailer http.Header) bool {
	for _, values := range trailer {
		if len(values) > 0 {
			return true
		}
	}
	return false
}
