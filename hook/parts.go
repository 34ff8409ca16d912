package hook

import (
	"sync"

	"github.com/krait-gateway/krait/coprocesspb"
)

// parts is what the messages of a hook are made of, used again for the next one
// when a dispatcher is done with it. Nothing of it leaves the package but in the
// message that is dispatched: the parts of a message that do, session and
// metadata, are never used again.
type parts struct {
	object          *coprocesspb.Object
	request         *coprocesspb.MiniRequestObject
	overrides       *coprocesspb.ReturnOverrides
	headers, params map[string]string
}

// partsPool lends parts. The zero value is ready for use.
type partsPool struct{ pool sync.Pool }

func (p *partsPool) take() *parts {
	if used, ok := p.pool.Get().(*parts); ok {
		return used
	}
	return &parts{
		object: &coprocesspb.Object{}, request: &coprocesspb.MiniRequestObject{}, overrides: &coprocesspb.ReturnOverrides{},
		headers: make(map[string]string), params: make(map[string]string),
	}
}

// mostHeaders is how many headers or parameters parts may have had that are used
// again: a map never gets smaller.
const mostHeaders = 128

// put takes parts back whose message nobody has any more.
func (p *partsPool) put(used *parts) {
	if len(used.headers) > mostHeaders || len(used.params) > mostHeaders {
		return
	}
	clear(used.headers)
	clear(used.params)
	used.object.Reset()
	used.request.Reset()
	used.overrides.Reset()
	p.pool.Put(used)
}
