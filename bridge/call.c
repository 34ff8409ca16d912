#include "call.h"

#include "interrupt.h"
#include "schedule.h"

#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
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
  free(call->input.data);
  free(call->reply.data);
  krait_error_clear(&call->error);
  pthread_mutex_destroy(&call->mutex);
  free(call);
}

static void trim(struct krait_buffer *buffer, size_t most) {
  buffer->length = 0;
  if (buffer->capacity > most) {
    free(buffer->data);
    buffer->data = NULL;
    buffer->capacity = 0;
  }
}

void krait_call_reset(struct krait_call *call, size_t most) {
  trim(&call->input, most);
  trim(&call->reply, most);
  krait_error_clear(&call->error);
  call->interrupted = false;
  call->left_out = 0;
}

char *krait_buffer_room(struct krait_buffer *buffer, size_t size) {
  if (size > buffer->capacity) {
    char *data = malloc(size);
    if (data == NULL) {
      return NULL;
    }
    free(buffer->data);
    buffer->data = data;
    buffer->capacity = size;
  }
  buffer->length = size;
  return buffer->data;
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

void krait_take_reply(struct krait_call *call, py_object *payload) {
  char *data = NULL;
  ssize_t length = 0;
  if (py.PyBytes_AsStringAndSize(payload, &data, &length) != 0) {
    krait_error_take(&call->error);
  } else if (length > INT_MAX) {
    py.PyErr_SetString(*py.type_error,
                       "the message is larger than 2 GiB, which the wire "
                       "format cannot carry");
    krait_error_take(&call->error);
  } else if (krait_buffer_room(&call->reply, (size_t)length) == NULL &&
             length > 0) {
    call->error.kind = KRAIT_NO_MEMORY;
  } else if (length > 0) {
    memcpy(call->reply.data, data, (size_t)length);
  }
}

/* The arguments of dispatch or dispatch_event. */
static py_object *arguments(struct krait_call *call) {
  struct krait_bytes name = {call->input.data, call->name_length};
  struct krait_bytes id = {name.data + name.length, call->id_length};
  const char *described = id.data + id.length;
  const char *payload = described + call->described_length;
  py_object *bytes = py.PyBytes_FromStringAndSize(
      payload, call->input.data + call->input.length - payload);
  py_object *ticket = py.PyLong_FromLongLong((long long)(uintptr_t)call);
  py_object *handle = py.PyLong_FromLongLong(call->handle);
  if (call->kind == KRAIT_EVENT) {
    return krait_arguments(5, handle, text(name), text(id), bytes, ticket);
  }
  return krait_arguments(
      8, handle, text(name), text(id), bytes, ticket,
      py.PyLong_FromLongLong(call->number),
      py.PyBytes_FromStringAndSize(described, (ssize_t)call->described_length),
      py.PyLong_FromLongLong((long long)call->apart_length));
}

void krait_run(struct krait_call *call) {
  py_object *function =
      call->kind == KRAIT_EVENT ? runtime.dispatch_event : runtime.dispatch;
  py_object *result = NULL;
  py_object *tuple = arguments(call);
  if (tuple != NULL) {
    krait_call_started(call);
    result = py.PyObject_CallObject(function, tuple);
    krait_call_ended(call);
    krait_end_child();
    py.Py_DecRef(tuple);
  }
  if (krait_is_kept(call)) {
    /* The outcome belongs to whoever settles the call. HookTimeout may have
     * come when it was kept already: then it is cancelled next time. */
    py.PyErr_Clear();
  } else if (result == NULL) {
    krait_error_take(&call->error);
  } else {
    krait_take_reply(call, result);
  }
  if (result != NULL) {
    py.Py_DecRef(result);
  }
}

void krait_cancel_awaited(struct krait_call *call) {
  py_object *tuple =
      krait_arguments(1, py.PyLong_FromLongLong((long long)(uintptr_t)call));
  py_object *result =
      tuple == NULL ? NULL : py.PyObject_CallObject(runtime.cancel, tuple);
  if (result == NULL) {
    py.PyErr_Clear(); /* it is tried again */
  } else {
    py.Py_DecRef(result);
  }
  if (tuple != NULL) {
    py.Py_DecRef(tuple);
  }
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
  if (bytes != NULL) {
    krait_take_reply(call, bytes);
    py.Py_DecRef(bytes);
  }
  krait_detach();
}
