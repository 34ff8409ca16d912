package coprocess

/*
#cgo CFLAGS: -std=gnu11 -Wall -Wextra
#include <stdlib.h>
#include "api.h"
#include "api_thread.h"
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
	"unsafe"
)

// ErrHostBound says that another runtime of this process has a host already:
// the exported C functions exist once in a process and serve one host.
var ErrHostBound = errors.New("a host is bound to the exported C functions already")

// boundHost is what the exported C functions call. It is the one piece of
// state that has to belong to the process: a C symbol carries no receiver.
var boundHost atomic.Pointer[Host]

// InterpreterLock holds two C function pointers by which the exported
// functions give up the interpreter's lock while they call the [Host]:
// release is void *(*)(void) and returns NULL when the calling thread does not
// hold the lock, restore is void (*)(void *).
type InterpreterLock struct {
	Release, Restore unsafe.Pointer
}

// BindHost makes host answer the exported C functions TykStoreData,
// TykGetData, TykTriggerEvent and CoProcessLog. unbind ends that; the functions
// then do nothing. One host can be bound at a time, otherwise ErrHostBound is
// returned.
func BindHost(host Host, lock InterpreterLock) (unbind func(), err error) {
	bound := &host
	if !boundHost.CompareAndSwap(nil, bound) {
		return nil, ErrHostBound
	}
	C.krait_api_set_lock(C.krait_release_fn(lock.Release), C.krait_restore_fn(lock.Restore))
	return func() {
		if boundHost.CompareAndSwap(bound, nil) {
			C.krait_api_set_lock(nil, nil)
		}
	}, nil
}

// CallHost runs call with the bound host on behalf of plugin code, and does
// nothing when none is bound. It is for functions that C calls: a panic must
// not cross into C, so panics and errors end here, in the host's log.
func CallHost(origin Origin, operation string, call func(Host) error) {
	bound := boundHost.Load()
	if bound == nil {
		return
	}
	host := *bound
	defer func() {
		if p := recover(); p != nil {
			logFailure(host, origin, operation, fmt.Errorf("the host panicked: %v", p))
		}
	}()
	if err := call(host); err != nil {
		logFailure(host, origin, operation, err)
	}
}

func logFailure(host Host, origin Origin, operation string, err error) {
	defer func() { _ = recover() }() // a host that panics while it logs has nowhere left to say so
	host.Log(origin, "error", operation+": "+err.Error())
}

// callHost is CallHost without the interpreter's lock.
func callHost(operation string, call func(Host) error) {
	state := C.krait_api_release()
	defer C.krait_api_restore(state)
	CallHost(Origin{}, operation, call)
}

// TykStoreData is the exported C function of api.h; ttl is in seconds.
//
//export TykStoreData
func TykStoreData(key, value *C.char, ttl C.int) {
	k, v := C.GoString(key), C.GoString(value)
	callHost("TykStoreData", func(host Host) error {
		return host.StoreData(context.Background(), k, []byte(v), time.Duration(ttl)*time.Second)
	})
}

// TykGetData is the exported C function of api.h. The result belongs to the
// calling thread's buffer.
//
//export TykGetData
func TykGetData(key *C.char) *C.char {
	k := C.GoString(key)
	var value []byte
	callHost("TykGetData", func(host Host) error {
		var err error
		value, err = host.GetData(context.Background(), k)
		return err
	})
	return C.krait_api_keep(unsafe.Pointer(unsafe.SliceData(value)), C.size_t(len(value)))
}

// TykTriggerEvent is the exported C function of api.h.
//
//export TykTriggerEvent
func TykTriggerEvent(eventName, payload *C.char) {
	name, text := C.GoString(eventName), C.GoString(payload)
	callHost("TykTriggerEvent", func(host Host) error {
		host.TriggerEvent(Origin{}, name, text)
		return nil
	})
}

// CoProcessLog is the exported C function of api.h.
//
//export CoProcessLog
func CoProcessLog(message, level *C.char) {
	text, lvl := C.GoString(message), C.GoString(level)
	callHost("CoProcessLog", func(host Host) error {
		host.Log(Origin{}, lvl, text)
		return nil
	})
}
