//go:build cgo

package bridge

import (
	"maps"
	"math"
	"sync"
	"sync/atomic"

	"github.com/krait-gateway/krait/coprocesspb"
)

// mostDescriptions is how many descriptions one plugin keeps; messages of
// further APIs carry theirs.
const mostDescriptions = 256

// descriptions are the descriptions of APIs (Object.spec) that one plugin's code
// knows by number, so that messages need not carry them. It is safe for
// concurrent use.
type descriptions struct {
	mu    sync.RWMutex
	byAPI map[string]*description
	last  int64
}

// description is what one API's messages have in common. Number 0 is one that
// plugin code does not know.
type description struct {
	number int64
	spec   map[string]string
	// known says that a call with this description has ended.
	known atomic.Bool
}

// describe returns the description that is equal to spec.
func (d *descriptions) describe(spec map[string]string) *description {
	const idMember = "APIID"
	if len(spec) == 0 {
		return &description{}
	}
	id := spec[idMember]
	d.mu.RLock()
	found := d.byAPI[id]
	d.mu.RUnlock()
	if found != nil && maps.Equal(found.spec, spec) {
		return found
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if found = d.byAPI[id]; found != nil && maps.Equal(found.spec, spec) {
		return found
	}
	if d.last >= mostDescriptions {
		return &description{}
	}
	if d.byAPI == nil {
		d.byAPI = make(map[string]*description)
	}
	d.last++
	found = &description{number: d.last, spec: maps.Clone(spec)}
	d.byAPI[id] = found
	return found
}

// request returns obj as a request: without its description when that is known,
// and with its own request at the front where that can be.
func (d *description) request(obj *coprocesspb.Object) (request, error) {
	var r request
	apart, message := &coprocesspb.Object{}, &coprocesspb.Object{
		HookType: obj.GetHookType(), HookName: obj.GetHookName(), Request: obj.GetRequest(),
		Session: obj.GetSession(), Metadata: obj.GetMetadata(), Spec: obj.GetSpec(), Response: obj.GetResponse(),
	}
	if d.number != 0 {
		if !d.known.Load() {
			described, err := (&coprocesspb.Object{Spec: d.spec}).MarshalVT()
			if err != nil || len(described) > math.MaxInt32 {
				return r, err
			}
			r.described = described
		}
		r.number = d.number
		message.Spec = nil
	}
	if changesNothing(obj.GetRequest()) {
		apart.Request, message.Request = message.Request, nil
	}
	size := apart.SizeVT()
	r.apart, r.size = size, size+message.SizeVT()
	r.write = func(to []byte) error {
		_, err := apart.MarshalToSizedBufferVT(to[:size])
		if err == nil {
			_, err = message.MarshalToSizedBufferVT(to[size:])
		}
		return err
	}
	return r, nil
}
