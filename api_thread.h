/*
 * api_thread.h: what the exported functions of api.h keep per thread.
 */
#ifndef KRAIT_API_THREAD_H
#define KRAIT_API_THREAD_H

#include <stddef.h>

/* Gives up the interpreter's lock if this thread holds it; NULL when not. */
typedef void *(*krait_release_fn)(void);
/* Takes the lock back. state: in, what the release function returned. */
typedef void (*krait_restore_fn)(void *state);

/* Sets or, with NULL, removes how the interpreter's lock is released. Calls
 * that have released it still take it back. */
void krait_api_set_lock(krait_release_fn release, krait_restore_fn restore);
void *krait_api_release(void);
void krait_api_restore(void *state);

/*
 * Copies length bytes of data, and a NUL, into a buffer of this thread.
 * data: in, borrowed, may be NULL when length is 0. Returns the buffer: owned
 * here, valid until this thread's next call or end. Never NULL: "" when
 * memory is short.
 */
char *krait_api_keep(const void *data, size_t length);

#endif
