/*
 * interpreter.h: the embedded interpreter's life and its threads. C here knows
 * nothing of Go but the exported host functions (host_module.c).
 */
#ifndef KRAIT_INTERPRETER_H
#define KRAIT_INTERPRETER_H

#include "pyerror.h"
#include "python.h"

#include <stdbool.h>
#include <stddef.h>

/* The functions of tyk._runtime that the bridge calls; borrowed for the life
 * of the interpreter (krait_interpreter_stop drops them). */
struct krait_runtime {
  py_object *load, *unload, *dispatch, *dispatch_event, *cancel, *where,
      *absorb, *describe, *stack, *versions, *stop;
  py_object *hook_timeout, *hook_not_found; /* exception classes */
};

extern struct krait_runtime runtime;

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
/* Gives the thread state of this thread back, which is not attached. */
void krait_end_thread(void);
/* Both; for measurements. */
bool krait_touch(void);

/* How a child ends that plugin code forked and that would return into Go. */
enum { KRAIT_CHILD_STATUS = 70 };

/*
 * Ends the process if it is a child that plugin code forked: it has one thread
 * and Go's locks as they were, and must not go on as a second gateway. Called
 * when plugin code has returned.
 */
void krait_end_child(void);

/* krait_release_fn and krait_restore_fn of api_thread.h. */
void *krait_lock_release(void);
void krait_lock_restore(void *state);

/* Registers the built-in module _krait (host_module.c). Needs the lock. */
int krait_host_module_register(void);

#endif
