//go:build cgo

package bridge

/*
#include <stdlib.h>
#include "host_module.h"
#include "host_request.h"
*/
import "C"

import (
	"context"
	"math"
	"time"
	"unsafe"

	coprocess "github.com/krait-gateway/krait"
)

// view returns C's memory as bytes, valid while its owner keeps it.
func view(b *C.struct_krait_bytes) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(b.data)), int(b.length))
}

func text(b *C.struct_krait_bytes) string { return string(view(b)) }

//export kraitHostLog
func kraitHostLog(first *C.struct_krait_bytes) {
	fields := unsafe.Slice(first, C.KRAIT_LOG_FIELDS)
	origin := coprocess.Origin{
		RequestID: text(&fields[C.KRAIT_LOG_REQUEST_ID]),
		APIID:     text(&fields[C.KRAIT_LOG_API_ID]),
		Bundle:    text(&fields[C.KRAIT_LOG_BUNDLE]),
		Hook:      text(&fields[C.KRAIT_LOG_HOOK]),
	}
	coprocess.CallHost(origin, "log", func(host coprocess.Host) error {
		host.Log(origin, text(&fields[C.KRAIT_LOG_LEVEL]), text(&fields[C.KRAIT_LOG_MESSAGE]))
		return nil
	})
}

//export kraitHostPerform
func kraitHostPerform(q *C.struct_krait_host_request) {
	began := time.Now()
	var err error
	if q.operation == C.KRAIT_STORE {
		coprocess.CallHost(coprocess.Origin{}, "store_data", func(host coprocess.Host) error {
			value := append([]byte(nil), view(&q.value)...)
			err = host.StoreData(context.Background(), text(&q.key), value, seconds(int64(q.ttl)))
			return nil
		})
	} else {
		coprocess.CallHost(coprocess.Origin{}, "get_data", func(host coprocess.Host) error {
			var found []byte
			found, err = host.GetData(context.Background(), text(&q.key))
			if err == nil && len(found) > 0 {
				q.found.data = (*C.char)(C.CBytes(found)) // freed by host_get_data
				q.found.length = C.size_t(len(found))
			}
			return nil
		})
	}
	if err != nil { // text for Python, which logs it with its origin
		q.problem = C.CString(err.Error()) // freed by host_module.c
	}
	q.took = C.longlong(time.Since(began))
}

// answerAll performs requests of plugin code, each on a goroutine: they wait for
// the store.
func answerAll(q *C.struct_krait_host_request) {
	for q != nil {
		next := q.next // an answered one is gone
		go func(q *C.struct_krait_host_request) {
			kraitHostPerform(q)
			C.krait_host_answer(q)
		}(q)
		q = next
	}
}

// seconds returns n seconds, within what a Duration holds (292 years).
func seconds(n int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Second)
	return time.Duration(min(max(n, 0), most)) * time.Second
}

//export kraitHostTriggerEvent
func kraitHostTriggerEvent(first *C.struct_krait_bytes) {
	fields := unsafe.Slice(first, C.KRAIT_EVENT_FIELDS)
	origin := coprocess.Origin{
		APIID:     text(&fields[C.KRAIT_EVENT_API_ID]),
		RequestID: text(&fields[C.KRAIT_EVENT_REQUEST_ID]),
	}
	coprocess.CallHost(origin, "trigger_event", func(host coprocess.Host) error {
		host.TriggerEvent(origin, text(&fields[C.KRAIT_EVENT_NAME]), text(&fields[C.KRAIT_EVENT_PAYLOAD]))
		return nil
	})
}
