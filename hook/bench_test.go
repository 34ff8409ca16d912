package hook_test

import (
	"context"
	"strings"
	"testing"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
)

// BenchmarkRequest measures what a hook costs without its dispatcher: 12
// headers, a body of 300 bytes, one header set.
func BenchmarkRequest(b *testing.B) {
	h := newHook(coprocesspb.HookType_Post, dispatch(func(_ context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
		obj.Request.SetHeaders = map[string]string{"X-Seen": "yes"}
		return obj, nil
	}))
	r := newRequest("POST", "/path?a=1&b=2", strings.Repeat("x", 300))
	for c := range 12 {
		r.Header.Set("X-Field-"+string(rune('A'+c)), "some value of a header")
	}
	body := hook.NewBody(1 << 20)
	s := &coprocesspb.SessionState{Metadata: map[string]string{"token": "t"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Request(b.Context(), r, body, s); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkResponse is the same for an answer of 300 bytes.
func BenchmarkResponse(b *testing.B) {
	h := newHook(coprocesspb.HookType_Response, dispatch(func(_ context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
		obj.Response.Headers["X-Seen"] = "yes"
		return obj, nil
	}))
	r, answer := newRequest("GET", "/path", ""), strings.Repeat("x", 300)
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Response(b.Context(), r, nil, newResponse(200, answer), nil); err != nil {
			b.Fatal(err)
		}
	}
}
