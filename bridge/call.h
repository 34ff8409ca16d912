/*
 * call.h: calls from Go into plugin code. Each attaches the calling thread,
 * runs, and detaches; none needs the lock before.
 */
#ifndef KRAIT_CALL_H
#define KRAIT_CALL_H

#include "../api.h"
#include "api_stamp.h"
#include "host_module.h"
#include "interpreter.h"

#include <pthread.h>
#include <stdbool.h>

/* One call into plugin code, and how to interrupt it. */
struct krait_call {
  struct CoProcessMessage reply; /* out: malloc'd, freed with the call */
  long long handle;              /* out of krait_load */
  struct krait_error error;      /* out: kind is KRAIT_OK on success */
  pthread_mutex_t mutex;         /* guards what follows */
  bool running, interrupted;
  unsigned long thread;
};

/* Returns a new call, freed with krait_call_free, or NULL. */
struct krait_call *krait_call_new(void);
void krait_call_free(struct krait_call *call);

/*
 * Runs hook of the loaded code handle on message, a serialised
 * coprocess.Object; call->reply is the message it became. All pointers: in,
 * borrowed for the call.
 */
void krait_dispatch(struct krait_call *call, long long handle,
                    struct krait_bytes hook, struct krait_bytes request_id,
                    struct CoProcessMessage message);

/* Runs the event handler name on the JSON document event. In, borrowed. */
void krait_dispatch_event(struct krait_call *call, long long handle,
                          struct krait_bytes name,
                          struct krait_bytes request_id,
                          struct krait_bytes event);

/*
 * Loads code; call->handle is its handle. strings holds name, directory and
 * entry, then hooks, events and path, whose counts follow. In, borrowed.
 */
void krait_load(struct krait_call *call, const struct krait_bytes *strings,
                size_t hooks, size_t events, size_t path);

void krait_unload(struct krait_call *call, long long handle);

/* call->reply is a JSON document about the interpreter. */
void krait_versions(struct krait_call *call);

/* Makes a tuple of count new references, given up to it. A NULL among them
 * (an error is set then) drops the others and gives NULL. Needs the lock. */
py_object *krait_arguments(size_t count, ...);

#endif
