package hook

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/krait-gateway/krait/coprocesspb"
)

// errResponseTooLarge is why a response body over the limit was refused.
var errResponseTooLarge = errors.New("it is longer than the limit")

// ResponseBodyError says that an upstream's response body could not be
// buffered for response hooks. The reply is 502.
type ResponseBodyError struct {
	// Limit is the longest body accepted, in bytes, when the body was longer;
	// otherwise 0.
	Limit int64
	// Err is what went wrong.
	Err error
}

func (e *ResponseBodyError) Error() string {
	if e.Limit > 0 {
		return fmt.Sprintf("read response body: %v of %d bytes", e.Err, e.Limit)
	}
	return fmt.Sprintf("read response body: %v", e.Err)
}

// Unwrap returns what went wrong.
func (e *ResponseBodyError) Unwrap() error { return e.Err }

// responseBody is a response body as response hooks see it.
type responseBody struct {
	bytes  []byte
	stream bool // not read, because it has no end
}

// asText returns the body as text, or "" when it is not valid UTF-8.
func (b responseBody) asText() string {
	if !utf8.Valid(b.bytes) {
		return ""
	}
	return string(b.bytes)
}

// readResponse reads and closes the body of resp, except that of an event
// stream, which it leaves alone.
func readResponse(ctx context.Context, resp *http.Response, limit int64, room *reservation) (responseBody, error) {
	if resp.Body == nil || resp.Body == http.NoBody {
		return responseBody{}, nil
	}
	if isEventStream(resp) {
		return responseBody{stream: true}, nil
	}
	data, tooLong, err := readLimited(ctx, resp.Body, resp.ContentLength, limit, room)
	// The bytes are read or refused; an error of Close changes neither.
	_ = resp.Body.Close()
	if tooLong {
		return responseBody{}, &ResponseBodyError{Limit: limit, Err: errResponseTooLarge}
	}
	if _, ok := errors.AsType[*BudgetError](err); ok {
		return responseBody{}, err
	}
	if err != nil {
		return responseBody{}, &ResponseBodyError{Err: err}
	}
	return responseBody{bytes: data}, nil
}

// isEventStream says whether resp is a stream of server-sent events without a
// length.
func isEventStream(resp *http.Response) bool {
	if resp.ContentLength >= 0 {
		return false
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && media == "text/event-stream"
}

func isHead(resp *http.Response) bool {
	return resp.Request != nil && resp.Request.Method == http.MethodHead
}

// apply changes resp as the hook changed the message. Everything is checked
// first: on an error only the body has been read.
func (sent *sentResponse) apply(resp *http.Response, got *coprocesspb.ResponseObject) error {
	status, header := sent.status, sent.header
	data, changed := sent.raw, false
	if got != nil {
		var err error
		if header, err = sent.headers(got); err != nil {
			return err
		}
		// 0 is what a message has that never mentions a status.
		if code := int(got.GetStatusCode()); code != 0 && code != sent.status {
			if err := checkStatus("response.status_code", code); err != nil {
				return err
			}
			status = code
		}
		var fresh []byte
		if fresh, changed = newBody(sent.raw, sent.text, got.GetRawBody(), got.GetBody()); changed {
			data = fresh
		}
	}
	resp.Header = header
	if status != sent.status {
		resp.StatusCode = status
		resp.Status = statusLine(status)
	}
	sent.setBody(resp, data, changed)
	return nil
}

// setBody makes data the body of resp and its framing match.
func (sent *sentResponse) setBody(resp *http.Response, data []byte, changed bool) {
	resp.Header.Del("Transfer-Encoding")
	bodyless := !hasBody(resp.StatusCode)
	if sent.stream {
		if !changed && !bodyless {
			resp.Header.Del("Content-Length")
			return
		}
		// The stream is dropped; how its connection ends is of no interest.
		_ = resp.Body.Close()
	}
	resp.TransferEncoding = nil
	switch {
	case isHead(resp) || resp.StatusCode == http.StatusNotModified:
		// Content-Length is that of the body which a GET would have had (RFC
		// 9110 section 8.6): the upstream's word, or none.
		resp.Body = http.NoBody
		sent.restoreLength(resp)
	case bodyless:
		resp.Body = http.NoBody
		resp.ContentLength = 0
		resp.Header.Del("Content-Length")
	case hasTrailer(resp.Trailer):
		resp.Body = reader(data)
		resp.ContentLength = -1
		resp.Header.Del("Content-Length")
	default:
		resp.Trailer = nil
		resp.Body = reader(data)
		resp.ContentLength = int64(len(data))
		resp.Header.Set("Content-Length", strconv.Itoa(len(data)))
	}
}

// restoreLength puts back the Content-Length that the upstream sent, which
// belongs to its own status only.
func (sent *sentResponse) restoreLength(resp *http.Response) {
	length := sent.header.Values("Content-Length")
	if len(length) == 0 || resp.StatusCode != sent.status {
		resp.ContentLength = -1
		resp.Header.Del("Content-Length")
		return
	}
	resp.Header["Content-Length"] = length
}

// headers returns the header that the hook left: changes of
// multivalue_headers, then those of headers on top.
func (sent *sentResponse) headers(got *coprocesspb.ResponseObject) (http.Header, error) {
	header, rebuilt, err := sent.multivalue(got.GetMultivalueHeaders())
	if err != nil {
		return nil, err
	}
	first := got.GetHeaders()
	if len(first) == 0 && rebuilt {
		// A message made anew that speaks of multivalue_headers only.
		return header, nil
	}
	shown := firstValues(make(map[string]string), sent.header)
	for name := range shown {
		if _, kept := first[name]; !kept {
			header.Del(name)
			delete(header, name)
		}
	}
	for _, name := range sortedNames(first) {
		value := first[name]
		if old, had := shown[name]; had && old == value {
			continue
		}
		if err := checkField("response.headers", name, value); err != nil {
			return nil, err
		}
		value = original(sent.header.Values(name), value)
		if values := header.Values(name); len(values) > 0 {
			values[0] = value
		} else {
			header.Set(name, value)
		}
	}
	return header, nil
}

// multivalue returns the header that multivalue_headers describes and whether
// the hook changed it. An empty list counts as unchanged: headers, which says
// the same, decides then.
func (sent *sentResponse) multivalue(got []*coprocesspb.Header) (http.Header, bool, error) {
	if len(got) == 0 || slices.EqualFunc(got, allValues(sent.header), sameField) {
		return sent.header.Clone(), false, nil
	}
	header := make(http.Header, len(got))
	for _, field := range got {
		name := http.CanonicalHeaderKey(field.GetKey())
		old := sent.header.Values(name)
		for i, value := range field.GetValues() {
			if i < len(old) && toText(old[i]) == value {
				header[name] = append(header[name], old[i])
				continue
			}
			if err := checkField("response.multivalue_headers", name, value); err != nil {
				return nil, false, err
			}
			header[name] = append(header[name], original(old, value))
		}
	}
	return header, true, nil
}

func sameField(a, b *coprocesspb.Header) bool {
	return a.GetKey() == b.GetKey() && slices.Equal(a.GetValues(), b.GetValues())
}

func statusLine(code int) string {
	line := strconv.Itoa(code)
	if text := http.StatusText(code); text != "" {
		line += " " + text
	}
	return line
}
