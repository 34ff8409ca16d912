package bridge_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/reflect/protoreflect"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/bridge"
	"github.com/krait-gateway/krait/coprocesspb"
)

func TestDispatch(t *testing.T) {
	p := load(t)
	t.Run("three arguments: the request changes", func(t *testing.T) {
		aloneAndTogether(t, func(t *testing.T) {
			got, err := p.Dispatch(t.Context(), object("AddHeader"))
			if assert.NoError(t, err) {
				assert.Equal(t, map[string]string{"X-Plugin": "krait"}, got.Request.SetHeaders)
				assert.EqualValues(t, -1, got.Request.ReturnOverrides.ResponseCode)
				assert.Equal(t, []byte("hello"), got.Request.RawBody)
			}
		})
	})
	t.Run("four arguments: session and metadata change", func(t *testing.T) {
		aloneAndTogether(t, func(t *testing.T) {
			got, err := p.Dispatch(t.Context(), object("Authenticate"))
			if assert.NoError(t, err) {
				assert.Equal(t, "a-token", got.Metadata["token"])
				assert.InEpsilon(t, 1000.0, got.Session.Rate, 0)
			}
		})
	})
	t.Run("five arguments: the response changes, bytes survive", func(t *testing.T) {
		aloneAndTogether(t, func(t *testing.T) {
			obj := object("Respond")
			obj.HookType = coprocesspb.HookType_Response
			obj.Response = &coprocesspb.ResponseObject{StatusCode: 200, RawBody: []byte{1, 0, 2}}
			got, err := p.Dispatch(t.Context(), obj)
			if assert.NoError(t, err) {
				assert.Equal(t, []byte{1, 0, 2, 0, 0xff}, got.Response.RawBody)
				assert.Equal(t, "yes", got.Response.Headers["X-Response"])
			}
		})
	})
	t.Run("the message given is not changed", func(t *testing.T) {
		obj := object("AddHeader")
		before := obj.CloneVT()
		_, err := p.Dispatch(t.Context(), obj)
		require.NoError(t, err)
		require.True(t, before.EqualVT(obj))
	})
	t.Run("large bodies of a response: what changed and what did not", func(t *testing.T) {
		aloneAndTogether(t, func(t *testing.T) {
			large := bytes.Repeat([]byte("0123456789"), 10_000)
			obj := object("Respond")
			obj.HookType = coprocesspb.HookType_Response
			obj.Request.RawBody, obj.Request.Body = large, string(large)
			obj.Response = &coprocesspb.ResponseObject{StatusCode: 200, RawBody: large, Body: string(large)}
			got, err := p.Dispatch(t.Context(), obj)
			if assert.NoError(t, err) {
				assert.Equal(t, append(bytes.Clone(large), 0, 0xff), got.Response.RawBody)
				assert.Equal(t, string(large), got.Response.Body)
				assert.Equal(t, large, got.Request.RawBody)
				assert.Equal(t, string(large), got.Request.Body)
			}
		})
	})
	t.Run("a hook that does not look at the request", func(t *testing.T) {
		large := bytes.Repeat([]byte("0123456789"), 10_000)
		for _, hook := range []string{"SetWithoutLooking", "SetWithoutLookingLater"} {
			for _, body := range [][]byte{[]byte("hello"), large} {
				aloneAndTogether(t, func(t *testing.T) {
					obj := object(hook)
					obj.Request.RawBody, obj.Request.Body = body, string(body)
					want := obj.CloneVT()
					want.Request.SetHeaders = map[string]string{"X-Plugin": "krait"}
					want.Request.DeleteHeaders = []string{"X-Gone"}
					want.Request.AddParams = map[string]string{"added": "1"}
					want.Request.DeleteParams = []string{"gone"}
					got, err := p.Dispatch(t.Context(), obj)
					if assert.NoError(t, err) {
						assert.True(t, want.EqualVT(got), "%v", got)
					}
				})
			}
		}
	})
	t.Run("a hook that does not look leaves every field as it is", func(t *testing.T) {
		obj := object("Nothing")
		fill(obj.Request.ProtoReflect())
		q := obj.Request
		q.SetHeaders, q.DeleteHeaders, q.AddParams, q.DeleteParams = nil, nil, nil, nil
		got, err := p.Dispatch(t.Context(), obj)
		require.NoError(t, err)
		require.True(t, obj.EqualVT(got), "%v", got)
	})
	t.Run("changes that the message has before stay, in their order", func(t *testing.T) {
		obj := object("SetWithoutLooking")
		obj.Request.SetHeaders = map[string]string{"X-Before": "1", "X-Plugin": "0"}
		obj.Request.DeleteHeaders = []string{"X-First"}
		got, err := p.Dispatch(t.Context(), obj)
		require.NoError(t, err)
		require.Equal(t, map[string]string{"X-Before": "1", "X-Plugin": "krait"}, got.Request.SetHeaders)
		require.Equal(t, []string{"X-First", "X-Gone"}, got.Request.DeleteHeaders)
		require.Equal(t, "/path?a=b", got.Request.Url)
	})
	t.Run("a request that is empty, and none", func(t *testing.T) {
		for _, request := range []*coprocesspb.MiniRequestObject{{}, nil} {
			got, err := p.Dispatch(t.Context(), &coprocesspb.Object{HookName: "SetWithoutLooking", Request: request})
			require.NoError(t, err)
			require.Equal(t, map[string]string{"X-Plugin": "krait"}, got.Request.SetHeaders)
			got, err = p.Dispatch(t.Context(), &coprocesspb.Object{HookName: "Nothing", Request: request})
			require.NoError(t, err)
			require.Equal(t, request == nil, got.Request == nil)
		}
	})
	t.Run("a body of 10 MB comes back whole", func(t *testing.T) {
		obj := object("AddHeader")
		obj.Request.RawBody = make([]byte, 10<<20)
		obj.Request.RawBody[5] = 7
		got, err := p.Dispatch(t.Context(), obj)
		require.NoError(t, err)
		require.Equal(t, obj.Request.RawBody, got.Request.RawBody)
	})
}

func TestDispatchErrors(t *testing.T) {
	p := load(t)
	t.Run("an exception brings type, message and traceback with its cause", func(t *testing.T) {
		aloneAndTogether(t, func(t *testing.T) {
			_, err := p.Dispatch(t.Context(), object("Raise"))
			assert.ErrorIs(t, err, coprocess.ErrHook)
			var pyErr *bridge.PyError
			if assert.ErrorAs(t, err, &pyErr) {
				assert.Equal(t, "ValueError", pyErr.Type)
				assert.Equal(t, "this hook fails", pyErr.Message)
				assert.Contains(t, pyErr.Trace, "middleware.py")
				assert.Contains(t, pyErr.Trace, "KeyError: 'missing'")
				assert.NotContains(t, err.Error(), "\n")
			}
		})
	})
	for hook, wantType := range map[string]string{
		"Exit": "SystemExit", "Recurse": "RecursionError", "ReturnNumber": "HookResultError",
	} {
		t.Run(hook+" is an error of its request only", func(t *testing.T) {
			aloneAndTogether(t, func(t *testing.T) {
				_, err := p.Dispatch(t.Context(), object(hook))
				assert.ErrorIs(t, err, coprocess.ErrHook)
				var pyErr *bridge.PyError
				if assert.ErrorAs(t, err, &pyErr) {
					assert.Equal(t, wantType, pyErr.Type)
				}
				_, err = p.Dispatch(t.Context(), object("AddHeader"))
				assert.NoError(t, err)
			})
		})
	}
	t.Run("a hook that is not defined", func(t *testing.T) {
		_, err := p.Dispatch(t.Context(), object("Absent"))
		require.ErrorIs(t, err, coprocess.ErrHookNotFound)
	})
	t.Run("text that is not UTF-8 is an error, not a crash", func(t *testing.T) {
		obj := object("AddHeader")
		obj.Request.Headers["X-Bad"] = "\xff"
		_, err := p.Dispatch(t.Context(), obj)
		require.ErrorIs(t, err, coprocess.ErrHook)
	})
	t.Run("an empty message", func(t *testing.T) {
		_, err := p.Dispatch(t.Context(), &coprocesspb.Object{})
		require.ErrorIs(t, err, coprocess.ErrHookNotFound)
	})
}

func sleeper(hook string, d time.Duration) *coprocesspb.Object {
	obj := object(hook)
	obj.Request.Params["seconds"] = strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	return obj
}

// The claim is that calls are not serialised: one after the other they would
// take 3.2 s. The bound leaves room for a loaded machine.
func TestHooksThatSleepRunSideBySide(t *testing.T) {
	p := load(t)
	for _, hook := range []string{"Sleep", "AsyncSleep"} {
		t.Run(hook, func(t *testing.T) {
			begin := time.Now()
			var group sync.WaitGroup
			for range 64 {
				group.Go(func() {
					_, err := p.Dispatch(t.Context(), sleeper(hook, 50*time.Millisecond))
					assert.NoError(t, err)
				})
			}
			group.Wait()
			t.Logf("64 hooks of 50 ms took %s", time.Since(begin))
			require.Less(t, time.Since(begin), 1500*time.Millisecond)
		})
	}
}

// slowOnce is a module whose first import takes a second.
const slowOnce = `
import os, time
marker = __file__ + ".seen"
if not os.path.exists(marker):
    open(marker, "w").close()
    time.sleep(1)
`

func TestTimeout(t *testing.T) {
	for _, hook := range []string{"Spin", "Sleep", "AsyncSleep"} {
		t.Run(hook+": the caller is free at its time limit, and so is the place afterwards", func(t *testing.T) {
			p := load(t, func(c *coprocess.Code) { c.Timeout, c.Serial = 400*time.Millisecond, true })
			begin := time.Now()
			_, err := p.Dispatch(t.Context(), sleeper(hook, 2*time.Second))
			require.ErrorIs(t, err, coprocess.ErrTimeout)
			require.Less(t, time.Since(begin), 1900*time.Millisecond, "the hook still sleeps")
			// Serial: the next call can only run once the overdue one has ended.
			require.Eventually(t, func() bool {
				_, err := p.Dispatch(t.Context(), object("AddHeader"))
				return err == nil
			}, 10*time.Second, 10*time.Millisecond)
		})
	}
	t.Run("a caller that goes away gets its context's error at once", func(t *testing.T) {
		p := load(t)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		_, err := p.Dispatch(ctx, sleeper("Sleep", 300*time.Millisecond))
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("a hook whose caller went away is interrupted at its time limit", func(t *testing.T) {
		p := load(t, func(c *coprocess.Code) { c.Timeout, c.Serial = 300*time.Millisecond, true })
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		_, err := p.Dispatch(ctx, object("Spin"))
		require.ErrorIs(t, err, context.Canceled)
		require.Eventually(t, func() bool {
			_, err := p.Dispatch(t.Context(), object("AddHeader"))
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
	})
	t.Run("an import that is overdue leaves no lock behind", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "from tyk.decorators import *\n@Hook\ndef H(request, session, spec):\n    import slow\n    return request, session\n")
		require.NoError(t, os.WriteFile(filepath.Join(dir, "slow.py"), []byte(slowOnce), 0o600))
		p, err := python.Load(t.Context(), coprocess.Code{Name: "slow", Dir: dir, Entry: "middleware.py", Timeout: 200 * time.Millisecond})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, p.Close()) })
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() { _, _ = p.Dispatch(t.Context(), object("H")) }) // they time out
		}
		group.Wait()
		require.Eventually(t, func() bool {
			_, err := p.Dispatch(t.Context(), object("H"))
			return err == nil
		}, 10*time.Second, 10*time.Millisecond, "the next import succeeds")
	})
	t.Run("a plugin whose calls are overdue is refused until they end", func(t *testing.T) {
		p := load(t, func(c *coprocess.Code) { c.Timeout = 100 * time.Millisecond })
		other := load(t)
		var group sync.WaitGroup
		var refused atomic.Int64
		for range maxInFlight {
			group.Go(func() {
				// On a busy machine few begin in time at first; those that do time out.
				for began := time.Now(); time.Since(began) < 10*time.Second; {
					_, err := p.Dispatch(t.Context(), sleeper("Sleep", 2*time.Second))
					if errors.Is(err, coprocess.ErrBusy) && strings.Contains(err.Error(), "overdue") {
						refused.Add(1)
						return
					}
				}
			})
		}
		group.Wait()
		require.EqualValues(t, maxInFlight, refused.Load())
		require.Positive(t, python.InFlight())
		require.Eventually(t, func() bool {
			_, err := other.Dispatch(t.Context(), object("AddHeader"))
			return err == nil
		}, 10*time.Second, time.Millisecond)
		require.Eventually(t, func() bool {
			_, err := p.Dispatch(t.Context(), object("AddHeader"))
			return err == nil && python.InFlight() == 0
		}, 10*time.Second, 10*time.Millisecond, "they end and are served again")
	})
	t.Run("a serial plugin that is occupied is busy", func(t *testing.T) {
		p := load(t, func(c *coprocess.Code) { c.Timeout, c.Serial = 200*time.Millisecond, true })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var group sync.WaitGroup
		group.Go(func() {
			for ctx.Err() == nil { // on a busy machine it may be busy itself
				_, _ = p.Dispatch(ctx, sleeper("Sleep", time.Second))
			}
		})
		require.Eventually(t, func() bool {
			_, err := p.Dispatch(t.Context(), object("AddHeader"))
			return errors.Is(err, coprocess.ErrBusy)
		}, 20*time.Second, time.Millisecond)
		cancel()
		group.Wait()
	})
}

func TestHostCalls(t *testing.T) {
	p := load(t)
	t.Run("store_data and get_data keep NUL bytes", func(t *testing.T) {
		aloneAndTogether(t, func(t *testing.T) {
			got, err := p.Dispatch(t.Context(), object("Store"))
			if assert.NoError(t, err) {
				assert.Equal(t, []byte("a\x00b\xff"), got.Request.RawBody)
			}
		})
	})
	t.Run("a store that fails counts as empty, and the log says for whom", func(t *testing.T) {
		aloneAndTogether(t, func(t *testing.T) {
			got, err := p.Dispatch(t.Context(), object("StoreFails"))
			if assert.NoError(t, err) {
				assert.Equal(t, "got ", string(got.Request.RawBody))
			}
		})
		for _, message := range []string{"store_data: the store is away", "get_data: the store is away"} {
			lines := host.logged(message)
			require.NotEmpty(t, lines)
			require.Equal(t, coprocess.Origin{APIID: "api-1", Bundle: "hooks.zip", Hook: "StoreFails"}, lines[0].origin)
		}
	})
	t.Run("the exported C functions answer ctypes", func(t *testing.T) {
		aloneAndTogether(t, func(t *testing.T) {
			got, err := p.Dispatch(t.Context(), object("StoreWithCtypes"))
			if assert.NoError(t, err) {
				assert.Equal(t, "value of ctypes|", string(got.Request.RawBody))
			}
		})
		assert.Contains(t, host.fired(), "FromCtypes=payload")
		lines := host.logged("logged by ctypes")
		require.NotEmpty(t, lines)
		require.Equal(t, "warning", lines[0].level)
	})
	t.Run("log, events and print carry where they come from", func(t *testing.T) {
		ctx := coprocess.WithRequestID(t.Context(), "request-1")
		_, err := p.Dispatch(ctx, object("Log"))
		require.NoError(t, err)
		want := coprocess.Origin{RequestID: "request-1", APIID: "api-1", Bundle: "hooks.zip", Hook: "Log"}
		require.Contains(t, host.logged("a message"), logLine{want, "warning", "a message"})
		require.Contains(t, host.logged("printed"), logLine{want, "info", "printed"})
		require.Contains(t, host.fired(), "Fired=by the hook")
		require.Contains(t, host.firedBy(), coprocess.Origin{RequestID: "request-1", APIID: "api-1"})
	})
	t.Run("an event reaches its function", func(t *testing.T) {
		ctx := coprocess.WithRequestID(t.Context(), "request-2")
		err := p.DispatchEvent(ctx, []byte(`{"message":{"Event":"AuthFailure"},"handler_name":"OnEvent","spec":{"APIID":"api-7"}}`))
		require.NoError(t, err)
		lines := host.logged("event AuthFailure of api-7")
		require.NotEmpty(t, lines)
		require.Equal(t, coprocess.Origin{RequestID: "request-2", APIID: "api-7", Bundle: "hooks.zip", Hook: "OnEvent"}, lines[0].origin)
		require.ErrorIs(t, p.DispatchEvent(t.Context(), []byte(`{"handler_name":"Absent","spec":{}}`)), coprocess.ErrHookNotFound)
		require.Error(t, p.DispatchEvent(t.Context(), []byte(`no JSON`)))
	})
	t.Run("a thread that a plugin started runs between requests", func(t *testing.T) {
		count := func() int {
			got, err := p.Dispatch(t.Context(), object("CountThread"))
			require.NoError(t, err)
			n, err := strconv.Atoi(got.Request.SetHeaders["X-Background"])
			require.NoError(t, err)
			return n
		}
		first := count()
		require.Eventually(t, func() bool { return count() > first }, 20*time.Second, time.Millisecond)
	})
}

// fill gives every field of m a value that is not its zero value.
func fill(m protoreflect.Message) {
	scalar := func(f protoreflect.FieldDescriptor) protoreflect.Value {
		switch f.Kind() {
		case protoreflect.StringKind:
			return protoreflect.ValueOfString("text of " + f.TextName())
		case protoreflect.BytesKind:
			return protoreflect.ValueOfBytes([]byte("bytes"))
		case protoreflect.BoolKind:
			return protoreflect.ValueOfBool(true)
		case protoreflect.Int32Kind:
			return protoreflect.ValueOfInt32(7)
		default:
			panic("no value for " + f.FullName())
		}
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		switch f := fields.Get(i); {
		case f.IsMap():
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("key").MapKey(), scalar(f.MapValue()))
		case f.IsList():
			m.Mutable(f).List().Append(scalar(f))
		case f.Message() != nil:
			fill(m.Mutable(f).Message())
		default:
			m.Set(f, scalar(f))
		}
	}
}
