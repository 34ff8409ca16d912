package hook_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
)

// plugin is plugin code as a function that changes the message in place. It
// gets a copy over the wire form, as the real drivers make one.
type plugin func(obj *coprocesspb.Object)

func (p plugin) Dispatch(_ context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	wire, err := obj.MarshalVT()
	if err != nil {
		return nil, err
	}
	got := new(coprocesspb.Object)
	if err := got.UnmarshalVT(wire); err != nil {
		return nil, err
	}
	p(got)
	return got, nil
}

func (plugin) DispatchEvent(context.Context, []byte) error { return nil }

// dispatch is a dispatcher that answers with what the function returns.
type dispatch func(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error)

func (d dispatch) Dispatch(ctx context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
	return d(ctx, obj)
}
func (dispatch) DispatchEvent(context.Context, []byte) error { return nil }

// newHook returns a hook that runs d.
func newHook(typ coprocesspb.HookType, d coprocess.Dispatcher) *hook.Hook {
	return &hook.Hook{
		Type:       typ,
		Name:       "MyHook",
		Bundle:     "bundle.zip",
		API:        &hook.API{ID: "api1", Name: "First", OrgID: "org1", BundleHash: "abc", ConfigData: `{"a":1}`},
		Dispatcher: d,
	}
}

// newRequest returns a request as a server hands it out.
func newRequest(method, target, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body == "" {
		r.Body = http.NoBody
	} else {
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
	}
	return r
}

// run runs fn as a Pre hook on r.
func run(t *testing.T, r *http.Request, fn plugin) (hook.Outcome, error) {
	t.Helper()
	return newHook(coprocesspb.HookType_Pre, fn).Request(t.Context(), r, hook.NewBody(0), nil)
}

// seen returns the message that a hook of this type is sent for r.
func seen(t *testing.T, h *hook.Hook, r *http.Request, s *coprocesspb.SessionState) *coprocesspb.Object {
	t.Helper()
	var obj *coprocesspb.Object
	h.Dispatcher = plugin(func(o *coprocesspb.Object) { obj = o.CloneVT() })
	_, err := h.Request(t.Context(), r, hook.NewBody(0), s)
	require.NoError(t, err)
	return obj
}

func readBody(t *testing.T, r *http.Request) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return string(data)
}

func TestDispatchErrors(t *testing.T) {
	for _, sentinel := range []error{
		coprocess.ErrHook, coprocess.ErrTimeout, coprocess.ErrHookNotFound,
		coprocess.ErrBusy, coprocess.ErrNotReady, context.Canceled,
	} {
		t.Run(sentinel.Error()+" can be told apart", func(t *testing.T) {
			h := newHook(coprocesspb.HookType_Pre, dispatch(func(context.Context, *coprocesspb.Object) (*coprocesspb.Object, error) {
				return nil, fmt.Errorf("call: %w", sentinel)
			}))
			_, err := h.Request(t.Context(), newRequest("GET", "/", ""), hook.NewBody(0), nil)
			require.ErrorIs(t, err, sentinel)
			require.ErrorContains(t, err, `Pre hook "MyHook" of bundle "bundle.zip"`)
			err = h.Response(t.Context(), newRequest("GET", "/", ""), nil, newResponse(200, "x"), nil)
			require.ErrorIs(t, err, sentinel)
		})
	}
}

func TestUnusableMessages(t *testing.T) {
	answer := func(obj *coprocesspb.Object) coprocess.Dispatcher {
		return dispatch(func(context.Context, *coprocesspb.Object) (*coprocesspb.Object, error) { return obj, nil })
	}
	t.Run("no message at all is the hook's error", func(t *testing.T) {
		h := newHook(coprocesspb.HookType_Pre, answer(nil))
		_, err := h.Request(t.Context(), newRequest("GET", "/", ""), hook.NewBody(0), nil)
		require.ErrorIs(t, err, coprocess.ErrHook)
		err = h.Response(t.Context(), newRequest("GET", "/", ""), nil, newResponse(200, "x"), nil)
		require.ErrorIs(t, err, coprocess.ErrHook)
	})
	t.Run("an empty message changes nothing", func(t *testing.T) {
		r := newRequest("POST", "/a?b=c", "body")
		s := &coprocesspb.SessionState{Alias: "me", Metadata: map[string]string{"k": "v"}}
		h := newHook(coprocesspb.HookType_Post, answer(&coprocesspb.Object{}))
		out, err := h.Request(t.Context(), r, hook.NewBody(0), s)
		require.NoError(t, err)
		require.Nil(t, out.Override)
		require.Equal(t, "me", out.Session.GetAlias())
		require.NotSame(t, s, out.Session)
		require.Equal(t, "/a?b=c", r.URL.String())
		require.Equal(t, "body", readBody(t, r))

		resp := newResponse(201, "answer")
		require.NoError(t, h.Response(t.Context(), r, nil, resp, s))
		require.Equal(t, 201, resp.StatusCode)
		require.Equal(t, "answer", responseText(t, resp))
	})
}

func TestMessageChangedInPlace(t *testing.T) {
	// A dispatcher in the same process might hand back the very message.
	d := dispatch(func(_ context.Context, obj *coprocesspb.Object) (*coprocesspb.Object, error) {
		obj.Request.Url = "/new"
		obj.Request.Method = "PUT"
		obj.Request.RawBody = []byte("new")
		obj.Metadata["k"] = "new"
		return obj, nil
	})
	r := newRequest("POST", "/old", "old")
	s := &coprocesspb.SessionState{Metadata: map[string]string{"k": "old"}}
	out, err := newHook(coprocesspb.HookType_Post, d).Request(t.Context(), r, hook.NewBody(0), s)
	require.NoError(t, err)
	require.Equal(t, "/new", r.URL.String())
	require.Equal(t, "PUT", r.Method)
	require.Equal(t, "new", readBody(t, r))
	require.Equal(t, map[string]string{"k": "new"}, out.Session.GetMetadata())
	require.Equal(t, map[string]string{"k": "old"}, s.GetMetadata(), "the given session is not changed")
}

func TestOneHookManyRequests(t *testing.T) {
	h := newHook(coprocesspb.HookType_Post, plugin(func(obj *coprocesspb.Object) {
		obj.Request.SetHeaders = map[string]string{"X-Seen": string(obj.Request.RawBody)}
		obj.Request.AddParams = map[string]string{"seen": obj.Request.Params["n"]}
		obj.Metadata["n"] = obj.Request.Params["n"]
		obj.Spec["mine"] = "yes"
	}))
	shared := &coprocesspb.SessionState{Metadata: map[string]string{"k": "v"}}
	errs := make([]error, 64)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			n := fmt.Sprint(i)
			r := newRequest("POST", "/?n="+n, "body "+n)
			body := hook.NewBody(1 << 20)
			for range 20 {
				out, err := h.Request(context.Background(), r, body, shared)
				switch {
				case err != nil:
					errs[i] = err
				case r.Header.Get("X-Seen") != "body "+n, r.URL.RawQuery != "n="+n+"&seen="+n, out.Session.Metadata["n"] != n:
					errs[i] = errors.New("mixed up requests at " + n)
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, errors.Join(errs...))
	require.Equal(t, map[string]string{"k": "v"}, shared.Metadata)
}

// Messages are used again. What a hook has left must not change when later
// requests use them, and nothing of one request may be in another's message.
func TestMessagesThatAreUsedAgain(t *testing.T) {
	change := func(o *coprocesspb.Object) {
		name := o.Request.Headers["X-Name"]
		o.Request.SetHeaders = map[string]string{"X-Set": name}
		o.Request.RawBody = []byte("body of " + name)
		o.Metadata["name"] = name
		o.Session.Alias = name
		o.Request.Headers["X-Left"] = name
		o.Request.Params["left"] = name
		o.Request.ReturnOverrides.ResponseError = name
	}
	for name, d := range map[string]coprocess.Dispatcher{
		"over the wire": plugin(change),
		"in place": dispatch(func(_ context.Context, o *coprocesspb.Object) (*coprocesspb.Object, error) {
			change(o)
			return o, nil
		}),
	} {
		t.Run(name, func(t *testing.T) { useMessagesAgain(t, d) })
	}
}

func useMessagesAgain(t *testing.T, d coprocess.Dispatcher) {
	h := newHook(coprocesspb.HookType_Post, d)
	type result struct {
		name    string
		request *http.Request
		outcome hook.Outcome
	}
	serve := func(name string, fields int) result {
		r := newRequest("POST", "/?only="+name, "sent")
		r.Header.Set("X-Name", name)
		for i := range fields {
			r.Header.Set(fmt.Sprintf("X-Field-%d", i), name)
		}
		out, err := h.Request(t.Context(), r, hook.NewBody(0), &coprocesspb.SessionState{Metadata: map[string]string{"given": name}})
		assert.NoError(t, err)
		return result{name, r, out}
	}
	check := func(r result) {
		assert.Equal(t, r.name, r.request.Header.Get("X-Set"))
		assert.Equal(t, "body of "+r.name, readBody(t, r.request))
		assert.Equal(t, map[string]string{"given": r.name, "name": r.name}, r.outcome.Metadata)
		assert.Equal(t, r.outcome.Metadata, r.outcome.Session.Metadata)
		assert.Equal(t, r.name, r.outcome.Session.Alias)
	}
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			var results []result
			for j := range 50 {
				results = append(results, serve(fmt.Sprintf("request-%d-%d", i, j), j%5))
			}
			for _, r := range results {
				check(r)
			}
		})
	}
	group.Wait()

	var seen *coprocesspb.Object
	h.Dispatcher = plugin(func(o *coprocesspb.Object) { seen = o.CloneVT() })
	r := newRequest("GET", "/", "")
	_, err := h.Request(t.Context(), r, nil, nil)
	require.NoError(t, err)
	require.Equal(t, map[string]string{"Host": "example.com"}, seen.Request.Headers, "nothing is left of other requests")
	require.Empty(t, seen.Request.Params)
	require.Empty(t, seen.Request.RawBody)
	require.Empty(t, seen.Request.SetHeaders)
	require.Empty(t, seen.Request.ReturnOverrides.ResponseError)
	require.Nil(t, seen.Session)
	require.Nil(t, seen.Metadata)
}
