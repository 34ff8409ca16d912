package gateway

import (
	"maps"
	"net/http"

	"github.com/krait-gateway/krait/coprocesspb"
	"github.com/krait-gateway/krait/hook"
	"github.com/krait-gateway/krait/idextract"
	"github.com/krait-gateway/krait/session"
)

// chain is what one API does with a request (contract section 1). It is built
// once and never changed.
type chain struct {
	keyless     bool
	pre         []*hook.Hook
	authCheck   *hook.Hook           // nil: stored keys, or oauth
	extractor   *idextract.Extractor // nil: auth_check runs for each request
	oauth       *externalOAuth       // nil: the API takes no tokens of an identity provider
	auth        authSource
	postKeyAuth []*hook.Hook
	post        []*hook.Hook
	response    []*hook.Hook
	upstream    *upstream
	// bodyLimit is the longest request body that is accepted, in bytes; 0
	// means no limit for bodies that stream.
	bodyLimit int64
	// noRate and noQuota are disable_rate_limit and disable_quota.
	noRate, noQuota bool
	// serial is what keeps other requests out of this one's plugins.
	serial serialChain
	// lifetimes decide how long sessions of auth_check are stored.
	lifetimes session.Lifetimes
}

// buffers decides whether every request is shown to a hook, so that its body is
// buffered. With an ID extractor, auth_check alone is no reason: most requests
// do without it.
func (c *chain) buffers() bool {
	return len(c.pre)+len(c.postKeyAuth)+len(c.post)+len(c.response) > 0 || c.authCheck != nil && c.extractor == nil
}

// run takes x through the chain of a. A non-nil reply is the answer; a non-nil
// next is the API that a hook routed the request to (tyk://).
func (c *chain) run(x *exchange) (answer *reply, next *api) {
	if answer = x.openBody(c); answer != nil {
		return answer, nil
	}
	if !c.buffers() {
		x.endTurns(nil) // auth_check takes its turn if it has to run
	} else if answer = x.takeTurns(c); answer != nil {
		return answer, nil
	}
	if answer = x.runHooks(c.pre); answer != nil {
		return answer, nil
	}
	if !c.keyless {
		if answer = c.protect(x); answer != nil {
			return answer, nil
		}
	}
	if answer = x.runHooks(c.post); answer != nil {
		return answer, nil
	}
	if x.r.URL.Scheme == loopScheme {
		return x.loop()
	}
	if len(c.response) > 0 {
		// Response hooks see the request body too (contract section 2).
		if _, err := x.body.Load(x.r); err != nil {
			return x.hookReply(&hookFailure{hook: c.response[0], err: err}), nil
		}
	}
	x.endTurns(c.serial.answering)
	return c.upstream.serve(x), nil
}

// protect authenticates x and checks its session.
func (c *chain) protect(x *exchange) *reply {
	// A request that came back to the API that already authenticated it
	// keeps its session: the hook may have removed the credentials.
	if x.authenticatedBy != x.api {
		if answer := c.authenticate(x); answer != nil {
			return answer
		}
		x.authenticatedBy = x.api
	}
	if len(c.postKeyAuth) > 0 {
		x.showQuota(c)
	}
	if answer := x.runHooks(c.postKeyAuth); answer != nil {
		return answer
	}
	return x.checkSession(c)
}

// runHooks runs request hooks in order, until one answers the request itself
// or fails.
func (x *exchange) runHooks(hooks []*hook.Hook) *reply {
	for _, h := range hooks {
		out, err := h.Request(x.r.Context(), x.r, x.body, x.session)
		if err != nil {
			return x.hookReply(&hookFailure{hook: h, err: err})
		}
		if x.clientGone() {
			return &reply{dropped: true}
		}
		if out.Override != nil {
			return x.overrideReply(out)
		}
		// Pre hooks are not shown a session, so one that they return is
		// nothing that has been checked.
		if h.Type != coprocesspb.HookType_Pre && x.session != nil && out.Session != nil {
			x.session = out.Session
		}
	}
	return nil
}

// runResponseHooks runs the response hooks of the API that x ended at.
func (x *exchange) runResponseHooks(resp *http.Response) error {
	defer x.endTurns(nil) // the client may take its time
	if resp.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	for _, h := range x.api.chain().response {
		if err := h.Response(x.r.Context(), x.r, x.body, resp, x.session); err != nil {
			return &hookFailure{hook: h, err: err}
		}
	}
	return nil
}

// overrideReply turns what a hook asked for into an answer (contract section
// 3, return overrides).
func (x *exchange) overrideReply(out hook.Outcome) *reply {
	o := out.Override
	if !o.AuthFailure {
		return &reply{code: o.Code, raw: true, body: o.Body, header: maps.Clone(o.Header)}
	}
	x.authFailed(out.Metadata["token"])
	return &reply{code: o.Code, message: o.Body, header: maps.Clone(o.Header)}
}
