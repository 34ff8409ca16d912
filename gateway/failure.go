package gateway

import (
	"context"
	"errors"
	"net/http"
	"os"

	coprocess "github.com/krait-gateway/krait"
	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
	"github.com/krait-gateway/krait/telemetry"
)

// msgBodyTooLarge answers a request whose body is over the limit.
const msgBodyTooLarge = "Request body is too large"

// retryAfterBusy is the Retry-After, in seconds, of a busy plugin runtime.
const retryAfterBusy = 1

// hookFailure is an error of one hook of the chain.
type hookFailure struct {
	hook *hook.Hook
	err  error
}

func (f *hookFailure) Error() string { return f.err.Error() }
func (f *hookFailure) Unwrap() error { return f.err }

// failureRule maps a kind of hook failure to its answer.
type failureRule struct {
	applies func(*hookFailure) bool
	reply   reply
	// clientFault failures are the client's, so nobody has to act on them.
	clientFault bool
}

// failureRules makes the one table of contract section 3, "Failures". The first
// rule that applies decides.
func failureRules() []failureRule {
	return []failureRule{
		{
			applies: isA[*hook.BodyTooLargeError], clientFault: true,
			reply: reply{code: http.StatusRequestEntityTooLarge, message: msgBodyTooLarge},
		},
		{
			applies: isA[*hook.BudgetError],
			reply:   reply{code: http.StatusServiceUnavailable, message: msgBusy, retryAfter: retryAfterBusy},
		},
		{
			applies: isA[*hook.ResponseBodyError],
			reply:   reply{code: http.StatusBadGateway, message: msgProxy},
		},
		{
			applies: isBodyTimeout, clientFault: true,
			reply: reply{code: http.StatusRequestTimeout, message: msgBodyTimeout},
		},
		{
			applies: isA[*hook.BodyReadError], clientFault: true,
			reply: reply{code: http.StatusBadRequest, message: msgBodyRead},
		},
		{
			applies: is(coprocess.ErrBusy, coprocess.ErrNotReady),
			reply:   reply{code: http.StatusServiceUnavailable, message: msgBusy, retryAfter: retryAfterBusy},
		},
		{
			applies: is(coprocess.ErrTimeout, context.DeadlineExceeded),
			reply:   reply{code: http.StatusGatewayTimeout, message: msgMiddleware},
		},
		{
			applies: is(coprocess.ErrHookNotFound),
			reply:   reply{code: http.StatusServiceUnavailable, message: msgRefused},
		},
		{
			applies: ofAuthCheck,
			reply:   reply{code: http.StatusForbidden, message: msgNotAuthorised},
		},
		{
			applies: func(*hookFailure) bool { return true },
			reply:   reply{code: http.StatusInternalServerError, message: msgMiddleware},
		},
	}
}

func is(targets ...error) func(*hookFailure) bool {
	return func(f *hookFailure) bool {
		for _, target := range targets {
			if errors.Is(f.err, target) {
				return true
			}
		}
		return false
	}
}

func isA[T error](f *hookFailure) bool {
	_, ok := errors.AsType[T](f.err)
	return ok
}

func isBodyTimeout(f *hookFailure) bool {
	return isA[*hook.BodyReadError](f) && errors.Is(f.err, os.ErrDeadlineExceeded)
}

func ofAuthCheck(f *hookFailure) bool {
	return f.hook.Type == coprocesspb.HookType_CustomKeyCheck
}

// hookReply logs f, once and with the plugin's traceback, and returns the
// answer. The client sees a status and the request id, nothing of the plugin.
func (x *exchange) hookReply(f *hookFailure) *reply {
	if x.clientGone() {
		x.log.Debug("client closed the request while a hook was running", telemetry.KeyHook, f.hook.Name)
		return &reply{dropped: true}
	}
	for _, rule := range x.gateway.failures {
		if !rule.applies(f) {
			continue
		}
		answer := rule.reply
		attrs := []any{
			telemetry.KeyBundle, f.hook.Bundle, telemetry.KeyHook, f.hook.Name, telemetry.KeyHookType, f.hook.Type.String(),
			telemetry.KeyStatus, answer.code, telemetry.KeyError, f.err.Error(),
		}
		var traced interface{ Traceback() string }
		if errors.As(f.err, &traced) && traced.Traceback() != "" {
			attrs = append(attrs, telemetry.KeyTraceback, traced.Traceback())
		}
		if rule.clientFault {
			x.log.Debug("request cannot be given to a hook", attrs...)
		} else {
			x.log.Error("hook failed", attrs...)
		}
		return &answer
	}
	return errorReply(http.StatusInternalServerError, msgMiddleware)
}
