#include "host_module.h"

#include "_cgo_export.h"
#include "host_request.h"
#include "interpreter.h"
#include "schedule.h"

#include <stdlib.h>

/*
 * Reads count bytes objects from the front of args, borrowed from it for the
 * call: the objects live as long as args does, also while the lock is given
 * up. Returns 0, or -1 with a Python error set.
 */
static int read_bytes(py_object *args, struct krait_bytes *fields,
                      ssize_t count) {
  if (py.PyTuple_Size(args) < count) {
    py.PyErr_SetString(*py.type_error, "too few arguments");
    return -1;
  }
  for (ssize_t i = 0; i < count; i++) {
    ssize_t size = 0;
    if (py.PyBytes_AsStringAndSize(py.PyTuple_GetItem(args, i), &fields[i].data,
                                   &size) != 0) {
      return -1;
    }
    fields[i].length = (size_t)size;
  }
  return 0;
}

static py_object *return_none(void) {
  py.Py_IncRef(py.none);
  return py.none;
}

static py_object *host_log(py_object *self, py_object *args) {
  (void)self;
  struct krait_bytes fields[KRAIT_LOG_FIELDS];
  if (read_bytes(args, fields, KRAIT_LOG_FIELDS) != 0) {
    return NULL;
  }
  py_thread_state *state = py.PyEval_SaveThread();
  krait_excuse(true);
  kraitHostLog(fields);
  krait_excuse(false);
  py.PyEval_RestoreThread(state);
  return return_none();
}

/* Performs request without the lock. False: RuntimeError is raised. */
static bool ask(struct krait_host_request *request) {
  py_thread_state *state = py.PyEval_SaveThread();
  krait_host_ask(request);
  py.PyEval_RestoreThread(state);
  if (request->problem == NULL) {
    return true;
  }
  py.PyErr_SetString(*py.runtime_error, request->problem);
  free(request->problem);
  return false;
}

static py_object *host_store_data(py_object *self, py_object *args) {
  (void)self;
  struct krait_bytes fields[2];
  if (read_bytes(args, fields, 2) != 0) {
    return NULL;
  }
  if (py.PyTuple_Size(args) != 3) {
    py.PyErr_SetString(*py.type_error, "store_data takes key, value and ttl");
    return NULL;
  }
  long long ttl = py.PyLong_AsLongLong(py.PyTuple_GetItem(args, 2));
  if (ttl == -1 && py.PyErr_Occurred() != NULL) {
    return NULL;
  }
  struct krait_host_request request = {.operation = KRAIT_STORE,
                                       .key = fields[0],
                                       .value = fields[1],
                                       .ttl = ttl};
  return ask(&request) ? return_none() : NULL;
}

static py_object *host_get_data(py_object *self, py_object *args) {
  (void)self;
  struct krait_host_request request = {.operation = KRAIT_GET};
  if (read_bytes(args, &request.key, 1) != 0 || !ask(&request)) {
    return NULL;
  }
  py_object *result = py.PyBytes_FromStringAndSize(
      request.found.data, (ssize_t)request.found.length);
  free(request.found.data);
  return result;
}

static py_object *host_trigger_event(py_object *self, py_object *args) {
  (void)self;
  struct krait_bytes fields[KRAIT_EVENT_FIELDS];
  if (read_bytes(args, fields, KRAIT_EVENT_FIELDS) != 0) {
    return NULL;
  }
  py_thread_state *state = py.PyEval_SaveThread();
  krait_excuse(true);
  kraitHostTriggerEvent(fields);
  krait_excuse(false);
  py.PyEval_RestoreThread(state);
  return return_none();
}

/* The call of a ticket: the address that krait_run passed, never anything that
 * plugin code made up. */
static struct krait_call *ticket(py_object *args) {
  py_object *number = py.PyTuple_GetItem(args, 0); /* borrowed */
  return number == NULL ? NULL : py.PyLong_AsVoidPtr(number);
}

static py_object *host_keep(py_object *self, py_object *args) {
  (void)self;
  struct krait_call *call = ticket(args);
  if (call == NULL) {
    return NULL;
  }
  /* In a child the scheduler's mutex may be taken, by a thread that is not
   * there. */
  krait_end_child();
  krait_keep(call);
  return return_none();
}

static py_object *host_settle(py_object *self, py_object *args) {
  (void)self;
  struct krait_call *call = ticket(args);
  py_object *payload = call == NULL ? NULL : py.PyTuple_GetItem(args, 1);
  if (payload == NULL) {
    return NULL;
  }
  krait_take_reply(call, payload);
  krait_settle(call);
  return return_none();
}

static py_object *host_fail(py_object *self, py_object *args) {
  (void)self;
  struct krait_call *call = ticket(args);
  py_object *error = call == NULL ? NULL : py.PyTuple_GetItem(args, 1);
  py_object *type =
      error == NULL ? NULL : py.PyObject_GetAttrString(error, "__class__");
  if (type == NULL) {
    return NULL;
  }
  py.PyErr_SetObject(type, error);
  krait_error_take(&call->error);
  py.Py_DecRef(type);
  krait_settle(call);
  return return_none();
}

static py_object *host_leave_out(py_object *self, py_object *args) {
  (void)self;
  struct krait_call *call = ticket(args);
  py_object *parts = call == NULL ? NULL : py.PyTuple_GetItem(args, 1);
  if (parts == NULL) {
    return NULL;
  }
  call->left_out = (int)py.PyLong_AsLongLong(parts);
  return return_none();
}

/* Python keeps pointers to these for the life of the interpreter. */
static py_method_def methods[] = {
    {"log", host_log, PY_METH_VARARGS,
     "log(level, message, request_id, api_id, bundle, hook), all bytes"},
    {"store_data", host_store_data, PY_METH_VARARGS,
     "store_data(key: bytes, value: bytes, ttl: int), ttl in seconds"},
    {"get_data", host_get_data, PY_METH_VARARGS,
     "get_data(key: bytes) -> bytes, empty when there is nothing"},
    {"trigger_event", host_trigger_event, PY_METH_VARARGS,
     "trigger_event(name, payload, api_id, request_id), all bytes"},
    {"keep", host_keep, PY_METH_VARARGS,
     "keep(ticket: int): the call's outcome comes later"},
    {"settle", host_settle, PY_METH_VARARGS,
     "settle(ticket: int, payload: bytes): the call has ended"},
    {"leave_out", host_leave_out, PY_METH_VARARGS,
     "leave_out(ticket: int, parts: int): what is not in the outcome"},
    {"fail", host_fail, PY_METH_VARARGS,
     "fail(ticket: int, error: BaseException): the call has ended"},
};

int krait_host_module_register(void) {
  int status = -1;
  py_object *module = py.PyModule_New("_krait");
  if (module == NULL) {
    return -1;
  }
  py_object *names = py.PyModule_GetDict(module); /* borrowed */
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
    py_object *function = py.PyCFunction_NewEx(&methods[i], NULL, NULL);
    if (function == NULL) {
      goto done;
    }
    int set = py.PyDict_SetItemString(names, methods[i].ml_name, function);
    py.Py_DecRef(function);
    if (set != 0) {
      goto done;
    }
  }
  status =
      py.PyDict_SetItemString(py.PyImport_GetModuleDict(), "_krait", module);
done:
  py.Py_DecRef(module);
  return status;
}
