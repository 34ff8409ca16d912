#include "pyerror.h"

#include "interpreter.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void set_text(struct krait_text *text, const char *data, size_t length) {
  text->data = malloc(length + 1);
  if (text->data == NULL) {
    text->length = 0;
    return;
  }
  memcpy(text->data, data, length);
  text->data[length] = '\0';
  text->length = length;
}

void krait_error_set(struct krait_error *error, const char *type,
                     const char *message) {
  error->kind = KRAIT_RAISED;
  set_text(&error->type, type, strlen(type));
  set_text(&error->message, message, strlen(message));
}

void krait_error_clear(struct krait_error *error) {
  free(error->type.data);
  free(error->message.data);
  free(error->traceback.data);
  memset(error, 0, sizeof *error);
}

int krait_bytes_copy(py_object *bytes, char **data, size_t *length) {
  char *start = NULL;
  ssize_t size = 0;
  if (py.PyBytes_AsStringAndSize(bytes, &start, &size) != 0) {
    return -1;
  }
  *data = malloc((size_t)size + 1);
  if (*data == NULL) {
    py.PyErr_NoMemory();
    return -1;
  }
  memcpy(*data, start, (size_t)size);
  (*data)[size] = '\0';
  *length = (size_t)size;
  return 0;
}

/* Encodes a str into text; leaves it empty when that fails. */
static void set_from_str(struct krait_text *text, py_object *str) {
  py_object *bytes =
      str == NULL ? NULL
                  : py.PyUnicode_AsEncodedString(str, "utf-8", "replace");
  if (bytes == NULL) {
    py.PyErr_Clear();
    return;
  }
  if (krait_bytes_copy(bytes, &text->data, &text->length) != 0) {
    py.PyErr_Clear();
  }
  py.Py_DecRef(bytes);
}

/* Describes value with tyk._runtime.describe. False when that fails. */
static bool describe(struct krait_error *error, py_object *value) {
  if (runtime.describe == NULL) {
    return false;
  }
  bool done = false;
  py_object *result = NULL;
  py_object *arguments = py.PyTuple_New(1);
  if (arguments == NULL) {
    goto done;
  }
  py.Py_IncRef(value);
  py.PyTuple_SetItem(arguments, 0, value);
  result = py.PyObject_CallObject(runtime.describe, arguments);
  if (result == NULL || py.PyTuple_Size(result) != 3) {
    goto done;
  }
  set_from_str(&error->type, py.PyTuple_GetItem(result, 0));
  set_from_str(&error->message, py.PyTuple_GetItem(result, 1));
  set_from_str(&error->traceback, py.PyTuple_GetItem(result, 2));
  done = true;
done:
  if (!done) {
    py.PyErr_Clear();
  }
  if (result != NULL) {
    py.Py_DecRef(result);
  }
  if (arguments != NULL) {
    py.Py_DecRef(arguments);
  }
  return done;
}

static enum krait_error_kind kind_of(py_object *type) {
  if (runtime.hook_timeout != NULL &&
      py.PyErr_GivenExceptionMatches(type, runtime.hook_timeout)) {
    return KRAIT_TIMED_OUT;
  }
  if (runtime.hook_not_found != NULL &&
      py.PyErr_GivenExceptionMatches(type, runtime.hook_not_found)) {
    return KRAIT_NOT_FOUND;
  }
  return KRAIT_RAISED;
}

void krait_error_take(struct krait_error *error) {
  py_object *type = NULL, *value = NULL, *traceback = NULL;
  py.PyErr_Fetch(&type, &value, &traceback);
  if (type == NULL) {
    krait_error_set(error, "SystemError",
                    "a call failed without setting an exception");
    return;
  }
  py.PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL && value != NULL) {
    py.PyException_SetTraceback(value, traceback);
  }
  error->kind = kind_of(type);
  if (value == NULL || !describe(error, value)) {
    py_object *type_text = py.PyObject_Str(type);
    set_from_str(&error->type, type_text);
    py_object *value_text = value == NULL ? NULL : py.PyObject_Str(value);
    set_from_str(&error->message, value_text);
    py.PyErr_Clear();
    if (type_text != NULL) {
      py.Py_DecRef(type_text);
    }
    if (value_text != NULL) {
      py.Py_DecRef(value_text);
    }
  }
  if (traceback != NULL) {
    py.Py_DecRef(traceback);
  }
  if (value != NULL) {
    py.Py_DecRef(value);
  }
  py.Py_DecRef(type);
}
