//go:build cgo

package bridge

/*
#include <stdlib.h>
#include "host_module.h"
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

// problem turns what a host call failed with into text for Python, which logs
// it with its origin; nil when it did not fail.
func problem(err error) *C.char {
	if err == nil {
		return nil
	}
	return C.CString(err.Error()) // freed by raise_problem
}

//export kraitHostStoreData
func kraitHostStoreData(key, value *C.struct_krait_bytes, ttlSeconds C.longlong) *C.char {
	var err error
	coprocess.CallHost(coprocess.Origin{}, "store_data", func(host coprocess.Host) error {
		data := append([]byte(nil), view(value)...)
		err = host.StoreData(context.Background(), text(key), data, seconds(int64(ttlSeconds)))
		return nil
	})
	return problem(err)
}

// seconds returns n seconds, within what a Duration holds (292 years).
func seconds(n int64) time.Duration {
	const most = math.MaxInt64 / int64(time.Second)
	return time.Duration(min(max(n, 0), most)) * time.Second
}

//export kraitHostGetData
func kraitHostGetData(key, value *C.struct_krait_bytes) *C.char {
	var data []byte
	var err error
	coprocess.CallHost(coprocess.Origin{}, "get_data", func(host coprocess.Host) error {
		data, err = host.GetData(context.Background(), text(key))
		return nil
	})
	if err == nil && len(data) > 0 {
		value.data = (*C.char)(C.CBytes(data)) // freed by host_get_data
		value.length = C.size_t(len(data))
	}
	return problem(err)
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
