package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// defaultBodyIdle is Config.BodyIdle when it is not set.
const defaultBodyIdle = 60 * time.Second

// clientBody is the body of a client's request. It bounds how long a read may
// wait for the client, and remembers why reading failed, to tell a fault of the
// client from one of the upstream.
//
// The limit counts during reads only: neither a slow hook nor a slow upstream
// is the client's fault.
type clientBody struct {
	io.ReadCloser
	control *http.ResponseController
	idle    time.Duration // 0: no limit
	duplex  bool          // HTTP/2: the client may be silent while the answer streams

	mu    sync.Mutex
	err   error
	until time.Time // the deadline in force, zero when there is none
	ended bool      // the handler has returned or is about to
}

// newClientBody returns the body of r, nil when it has none.
func newClientBody(w http.ResponseWriter, r *http.Request, idle time.Duration) *clientBody {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	return &clientBody{
		ReadCloser: r.Body, control: http.NewResponseController(w), idle: idle, duplex: r.ProtoMajor >= 2,
	}
}

func (b *clientBody) Read(p []byte) (int, error) {
	b.limit(true)
	n, err := b.ReadCloser.Read(p)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		// net/http goes on to watch the connection, for which there is no
		// limit. After a missed deadline it stays in force, so that net/http
		// does not wait for the rest of the body before it answers.
		b.limit(false)
	}
	// The transport closes the body when it gives up on the upstream.
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, http.ErrBodyReadAfterClose) {
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	return n, err
}

// limit bounds how long reads may wait from now on, or ends that. The transport
// may still be reading when the handler has returned, when the
// ResponseController must not be used any more.
func (b *clientBody) limit(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ended:
	case on:
		b.setDeadline(b.idle)
	default:
		b.setDeadline(0)
	}
}

// answered is called when the answer's header is written. Over HTTP/2 both
// sides may stream from then on, and a client that listens is not idle. Over
// HTTP/1 the limit stays: net/http reads the rest of the body before it takes
// the next request.
func (b *clientBody) answered() {
	if b == nil || !b.duplex {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended && !b.overdue() {
		b.setDeadline(0)
		b.idle = 0
	}
}

func (b *clientBody) setDeadline(d time.Duration) {
	if b.idle <= 0 {
		return
	}
	b.until = time.Time{}
	if d > 0 {
		b.until = time.Now().Add(d)
	}
	// What cannot have deadlines (a writer of a test) goes without.
	_ = b.control.SetReadDeadline(b.until)
}

// end is called when the handler returns. net/http reads what is left of a
// short body before it answers; the limit counts for that too.
func (b *clientBody) end() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.overdue() {
		b.setDeadline(b.idle)
	}
	b.ended = true
}

// failure returns why reading failed.
func (b *clientBody) failure() error {
	if b == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err == nil && b.overdue() {
		// net/http cancels the request's context before Read returns.
		return os.ErrDeadlineExceeded
	}
	return b.err
}

// overdue reports whether a read waited too long. The lock is held.
func (b *clientBody) overdue() bool {
	return !b.until.IsZero() && !time.Now().Before(b.until)
}
