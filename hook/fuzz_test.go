package hook_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
)

// seeds are messages a plugin might send back.
func seeds() []*coprocesspb.Object {
	return []*coprocesspb.Object{
		{},
		{Request: &coprocesspb.MiniRequestObject{Url: "/old?a=1", Method: "POST", RawBody: []byte("new")}},
		{
			Request: &coprocesspb.MiniRequestObject{
				Url: "https://other/new?a=1&b=\xe9#c", Method: "PUT", Body: "x",
				SetHeaders:    map[string]string{"X-A": "1", "Host": "b:80", "Content-Length": "9", "Transfer-Encoding": "x"},
				DeleteHeaders: []string{"X-Many", ""},
				AddParams:     map[string]string{"a": "2", "": "é&"},
				DeleteParams:  []string{"b"},
			},
			Session:  &coprocesspb.SessionState{Metadata: map[string]string{"a": "b"}},
			Metadata: map[string]string{"c": "d"},
		},
		{Request: &coprocesspb.MiniRequestObject{Url: "tyk://self/%2f", Method: "CONNECT", SetHeaders: map[string]string{"X\n": "\r\n"}}},
		{Request: &coprocesspb.MiniRequestObject{ReturnOverrides: &coprocesspb.ReturnOverrides{
			ResponseCode: 401, Headers: map[string]string{"X-A": "1"}, ResponseError: "no",
		}}},
		{Response: &coprocesspb.ResponseObject{
			StatusCode: 204, Body: "x", Headers: map[string]string{"X-A": "1", "Trailer": "X"},
			MultivalueHeaders: []*coprocesspb.Header{{Key: "Set-Cookie", Values: []string{"a", "b"}}, {}},
		}},
	}
}

// FuzzApply applies whatever a plugin may send back to a request and a
// response. Nothing panics, and what is left travels through net/http as one
// message with the body that it should have.
func FuzzApply(f *testing.F) {
	for _, obj := range seeds() {
		wire, err := obj.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire)
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		obj := new(coprocesspb.Object)
		if obj.UnmarshalVT(wire) != nil {
			return
		}
		// Once as it is, once merged into the message that the hook was sent.
		alone := dispatch(func(context.Context, *coprocesspb.Object) (*coprocesspb.Object, error) {
			return obj.CloneVT(), nil
		})
		merged := dispatch(func(_ context.Context, sent *coprocesspb.Object) (*coprocesspb.Object, error) {
			got := sent.CloneVT()
			return got, got.UnmarshalVT(wire)
		})
		for _, d := range []dispatch{alone, merged} {
			h := newHook(coprocesspb.HookType_Post, d)
			applyRequest(t, h)
			applyResponse(t, h)
		}
	})
}

func applyRequest(t *testing.T, h *hook.Hook) {
	t.Helper()
	r := newRequest("POST", "/old?a=1&b=\xe9", "old")
	r.Header["X-Many"] = []string{"1", "2"}
	body := hook.NewBody(0)
	out, err := h.Request(t.Context(), r, body, &coprocesspb.SessionState{})
	if o := out.Override; o != nil && (o.Code < 200 || o.Code > 999) {
		t.Fatalf("override code %d", o.Code)
	}
	if err == nil && out.Session == nil {
		t.Fatal("the session is lost")
	}
	want, err := body.Load(r)
	if err != nil {
		t.Fatal(err)
	}
	var line bytes.Buffer
	if err := r.Write(&line); err != nil {
		t.Fatalf("net/http cannot write the request: %v", err)
	}
	in := bufio.NewReader(&line)
	got, err := http.ReadRequest(in)
	if err != nil {
		t.Fatalf("net/http cannot read the request: %v", err)
	}
	if got.Method != r.Method {
		t.Fatalf("method %q became %q", r.Method, got.Method)
	}
	sameBody(t, got.Body, want, in)
}

func applyResponse(t *testing.T, h *hook.Hook) {
	t.Helper()
	resp := newResponse(200, "old")
	resp.Header["Set-Cookie"] = []string{"a=1", "b=\xe9"}
	if err := h.Response(t.Context(), newRequest("GET", "/", ""), nil, resp, nil); err != nil {
		return
	}
	want, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(want))
	var line bytes.Buffer
	if err := resp.Write(&line); err != nil {
		t.Fatalf("net/http cannot write the response: %v", err)
	}
	in := bufio.NewReader(&line)
	got, err := http.ReadResponse(in, resp.Request)
	if err != nil {
		t.Fatalf("net/http cannot read the response: %v", err)
	}
	if got.StatusCode != resp.StatusCode {
		t.Fatalf("status %d became %d", resp.StatusCode, got.StatusCode)
	}
	sameBody(t, got.Body, want, in)
}

// sameBody says whether body is want and the message ends behind it.
func sameBody(t *testing.T, body io.Reader, want []byte, rest io.Reader) {
	t.Helper()
	got, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("body %q became %q", want, got)
	}
	if left, err := io.ReadAll(rest); err != nil || len(left) > 0 {
		t.Fatalf("%q is left behind the message (%v)", left, err)
	}
}
