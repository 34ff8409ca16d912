#include "call.h"

#include "interrupt.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct krait_call *krait_call_new(void) {
  struct krait_call *call = calloc(1, sizeof *call);
  if (call != NULL && pthread_mutex_init(&call->mutex, NULL) != 0) {
    free(call);
    return NULL;
  }
  return call;
}

void krait_call_free(struct krait_call *call) {
  free(call->reply.p_data);
  krait_error_clear(&call->error);
  pthread_mutex_destroy(&call->mutex);
  free(call);
}

py_object *krait_arguments(size_t count, ...) {
  bool complete = true;
  va_list items;
  py_object *tuple = py.PyTuple_New((ssize_t)count);
  va_start(items, count);
  for (size_t i = 0; i < count; i++) {
    py_object *item = va_arg(items, py_object *);
    if (item == NULL) {
      complete = false;
    } else if (tuple == NULL) {
      py.Py_DecRef(item);
    } else {
      py.PyTuple_SetItem(tuple, (ssize_t)i, item);
    }
  }
  va_end(items);
  if (tuple != NULL && !complete) {
    py.Py_DecRef(tuple);
    return NULL;
  }
  return tuple;
}

static py_object *text(struct krait_bytes bytes) {
  return py.PyUnicode_DecodeUTF8(bytes.data, (ssize_t)bytes.length,
                                 "surrogateescape");
}

static py_object *list(const struct krait_bytes *strings, size_t count) {
  py_object *result = py.PyList_New(0);
  for (size_t i = 0; result != NULL && i < count; i++) {
    py_object *item = text(strings[i]);
    if (item == NULL || py.PyList_Append(result, item) != 0) {
      py.Py_DecRef(result);
      result = NULL;
    }
    if (item != NULL) {
      py.Py_DecRef(item);
    }
  }
  return result;
}

/*
 * Calls function with tuple (both may be NULL with an error set; tuple is
 * given up) so that krait_interrupt can reach it. Returns a new reference, or
 * NULL with the error in call.
 */
static py_object *run(struct krait_call *call, py_object *function,
                      py_object *tuple) {
  py_object *result = NULL;
  if (tuple != NULL) {
    krait_call_started(call);
    result = py.PyObject_CallObject(function, tuple);
    krait_call_ended(call);
    krait_end_child();
    py.Py_DecRef(tuple);
  }
  if (result == NULL) {
    krait_error_take(&call->error);
  }
  return result;
}

/* Attaches, or leaves KRAIT_NO_MEMORY in call. */
static bool begin(struct krait_call *call) {
  if (krait_attach()) {
    return true;
  }
  call->error.kind = KRAIT_NO_MEMORY;
  return false;
}

/* Copies result, a bytes object given up here, to call->reply. */
static void take_reply(struct krait_call *call, py_object *result) {
  char *data = NULL;
  size_t length = 0;
  if (result == NULL) {
    return;
  }
  if (krait_bytes_copy(result, &data, &length) != 0) {
    krait_error_take(&call->error);
  } else if (length > INT_MAX) {
    free(data);
    py.PyErr_SetString(*py.type_error,
                       "the message is larger than 2 GiB, which the wire "
                       "format cannot carry");
    krait_error_take(&call->error);
  } else {
    call->reply.p_data = data;
    call->reply.length = (int)length;
  }
  py.Py_DecRef(result);
}

void krait_dispatch(struct krait_call *call, long long handle,
                    struct krait_bytes hook, struct krait_bytes request_id,
                    struct CoProcessMessage message) {
  if (!begin(call)) {
    return;
  }
  py_object *tuple = krait_arguments(
      4, py.PyLong_FromLongLong(handle), text(hook), text(request_id),
      py.PyBytes_FromStringAndSize(message.p_data, message.length));
  take_reply(call, run(call, runtime.dispatch, tuple));
  krait_detach();
}

void krait_dispatch_event(struct krait_call *call, long long handle,
                          struct krait_bytes name,
                          struct krait_bytes request_id,
                          struct krait_bytes event) {
  if (!begin(call)) {
    return;
  }
  py_object *tuple = krait_arguments(
      4, py.PyLong_FromLongLong(handle), text(name), text(request_id),
      py.PyBytes_FromStringAndSize(event.data, (ssize_t)event.length));
  py_object *result = run(call, runtime.dispatch_event, tuple);
  if (result != NULL) {
    py.Py_DecRef(result);
  }
  krait_detach();
}

void krait_load(struct krait_call *call, const struct krait_bytes *strings,
                size_t hooks, size_t events, size_t path) {
  if (!begin(call)) {
    return;
  }
  const struct krait_bytes *lists = strings + 3;
  py_object *tuple =
      krait_arguments(6, text(strings[0]), text(strings[1]), text(strings[2]),
                      list(lists, hooks), list(lists + hooks, events),
                      list(lists + hooks + events, path));
  py_object *result = run(call, runtime.load, tuple);
  if (result != NULL) {
    call->handle = py.PyLong_AsLongLong(result);
    if (call->handle == -1 && py.PyErr_Occurred() != NULL) {
      krait_error_take(&call->error);
    }
    py.Py_DecRef(result);
  }
  krait_detach();
}

void krait_unload(struct krait_call *call, long long handle) {
  if (!begin(call)) {
    return;
  }
  py_object *result = run(call, runtime.unload,
                          krait_arguments(1, py.PyLong_FromLongLong(handle)));
  if (result != NULL) {
    py.Py_DecRef(result);
  }
  krait_detach();
}

void krait_versions(struct krait_call *call) {
  if (!begin(call)) {
    return;
  }
  py_object *result = run(call, runtime.versions, krait_arguments(0));
  py_object *bytes =
      result == NULL ? NULL
                     : py.PyUnicode_AsEncodedString(result, "utf-8", "replace");
  if (result != NULL) {
    py.Py_DecRef(result);
    if (bytes == NULL) {
      krait_error_take(&call->error);
    }
  }
  take_reply(call, bytes);
  krait_detach();
}
