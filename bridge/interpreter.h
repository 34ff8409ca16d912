/*
 * interpreter.h: the embedded interpreter's life and its threads. C here knows
 * nothing of Go but the exported host functions (host_module.c).
 */
#ifndef KRAIT_INTERPRETER_H
#define KRAIT_INTERPRETER_H

#include "python.h"

#include <stdbool.h>
#include <stddef.h>

/* The functions of tyk._runtime that the bridge calls; borrowed for the life
 * of the interpreter (krait_interpreter_stop drops them). */
struct krait_runtime {
  py_object *load, *unload, *dispatch, *dispatch_event, *describe, *stack,
      *versions, *stop;
  py_object *hook_timeout, *hook_not_found; /* exception classes */
};

extern struct krait_runtime runtime;

/* A Python error as text. */
enum krait_error_kind {
  KRAIT_OK = 0,
  KRAIT_RAISED,    /* plugin code raised */
  KRAIT_TIMED_OUT, /* HookTimeout came out */
  KRAIT_NOT_FOUND, /* HookNotFoundError came out */
  KRAIT_NO_MEMORY, /* no thread state or no memory */
};

struct krait_text {
  char *data; /* malloc, freed by krait_error_clear */
  size_t length;
};

struct krait_error {
  enum krait_error_kind kind;
  struct krait_text type, message, traceback;
};

void krait_error_clear(struct krait_error *error);

/* Takes the current Python error out of the interpreter into error. Needs the
 * lock. error: out, cleared by the caller with krait_error_clear. */
void krait_error_take(struct krait_error *error);

/* Reads a bytes object into a malloc'd block. Needs the lock. 0 on success,
 * else a Python error is set. */
int krait_bytes_copy(py_object *bytes, char **data, size_t *length);

/*
 * Starts the interpreter on this thread, which has to be the one that stops
 * it, and gives up its lock. library: path of libpython; executable: path of
 * the interpreter that the library belongs to, "" when there is none;
 * directories: what to put at the front of sys.path (front_count of them) and
 * at its end (back_count). All in, borrowed. 0 on success.
 */
int krait_interpreter_start(const char *library, const char *executable,
                            const char *const *directories, size_t front_count,
                            size_t back_count, struct krait_error *error);

/*
 * Ends plugin threads within timeout seconds and finalises. Returns false when
 * threads remain: the interpreter then stays, unused, until the process ends.
 * Has to run on the thread that started it, with no call in flight.
 */
bool krait_interpreter_stop(double timeout, struct krait_error *error);

/* Gives this thread a thread state, kept until the thread ends, and takes the
 * lock. False when memory is short. */
bool krait_attach(void);
void krait_detach(void);

/* krait_release_fn and krait_restore_fn of api_thread.h. */
void *krait_lock_release(void);
void krait_lock_restore(void *state);

/* Registers the built-in module _krait (host_module.c). Needs the lock. */
int krait_host_module_register(void);

#endif
