/*
 * pyerror.h: Python errors as text that outlives the interpreter's lock.
 */
#ifndef KRAIT_PYERROR_H
#define KRAIT_PYERROR_H

#include "python.h"

#include <stddef.h>

/* A Python error as text. */
enum krait_error_kind {
  KRAIT_OK = 0,
  KRAIT_RAISED,    /* plugin code raised */
  KRAIT_TIMED_OUT, /* HookTimeout came out */
  KRAIT_NOT_FOUND, /* HookNotFoundError came out */
  KRAIT_NO_MEMORY, /* no thread state or no memory */
  KRAIT_TOO_LATE,  /* it was not run, because it had waited too long */
};

struct krait_text {
  char *data; /* malloc, freed by krait_error_clear */
  size_t length;
};

struct krait_error {
  enum krait_error_kind kind;
  struct krait_text type, message, traceback;
};

/* Fills error with an exception that is not Python's. Texts: in, copied. */
void krait_error_set(struct krait_error *error, const char *type,
                     const char *message);

void krait_error_clear(struct krait_error *error);

/* Takes the current Python error out of the interpreter into error. Needs the
 * lock. error: out, cleared by the caller with krait_error_clear. */
void krait_error_take(struct krait_error *error);

/* Reads a bytes object into a malloc'd block. Needs the lock. 0 on success,
 * else a Python error is set. */
int krait_bytes_copy(py_object *bytes, char **data, size_t *length);

#endif
