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

/* Memory that grows and is used again. */
struct krait_buffer {
  char *data; /* malloc'd */
  size_t length, capacity;
};

/* What a call does; krait_dispatch and krait_dispatch_event. */
enum krait_kind { KRAIT_HOOK, KRAIT_EVENT };

/* Parts of a message that an outcome can leave out; pylib/tyk/_message.py has
 * the same ones. KRAIT_REQUEST: all of the request but what the hook set. */
enum krait_part {
  KRAIT_REQUEST_RAW = 1,
  KRAIT_REQUEST_TEXT = 2,
  KRAIT_RESPONSE_RAW = 4,
  KRAIT_RESPONSE_TEXT = 8,
  KRAIT_REQUEST = 16,
};

/* Where a call is; guarded by the scheduler's mutex. */
enum krait_state {
  KRAIT_IDLE,    /* Go's: not begun, or ended and handed over */
  KRAIT_QUEUED,  /* waits to be run */
  KRAIT_RUNNING, /* a thread runs it */
  KRAIT_KEPT,    /* a thread runs it, and it will be settled later */
  KRAIT_SETTLED, /* it was, while the thread still ran it */
  KRAIT_AWAITED, /* no thread runs it: the event loop does */
};

/*
 * One call into plugin code, its buffers, and how to interrupt it. The owner
 * fills in the request while the call is idle; from krait_submit until the call
 * is handed back everything belongs to whoever runs it.
 */
struct krait_call {
  /* The request. */
  enum krait_kind kind;
  long long handle; /* in; out of krait_load */
  /* Name of the function, request id, description of the API, message. */
  struct krait_buffer input;
  size_t name_length, id_length, described_length;
  size_t apart_length; /* so much of the message is its request alone */
  long long number;    /* of the API's description, 0: it is in the message */
  unsigned int index;  /* the owner's */

  /* The outcome. left_out: what is not in it, because it is as it was; bits of
   * enum krait_part. */
  int left_out;
  struct krait_buffer reply;
  struct krait_error error; /* out: kind is KRAIT_OK on success */

  /* The scheduler's. */
  enum krait_state state;
  struct krait_call *next, *previous;
  long long begin_by; /* nanoseconds of CLOCK_MONOTONIC */

  pthread_mutex_t mutex; /* guards what follows */
  bool running, interrupted;
  unsigned long thread;
};

/* Returns a new call, freed with krait_call_free, or NULL. */
struct krait_call *krait_call_new(void);
void krait_call_free(struct krait_call *call);

/* Makes call ready for another request. Buffers above most bytes are freed. */
void krait_call_reset(struct krait_call *call, size_t most);

/* Makes room for size bytes; what was in it may be lost. Returns data, or NULL
 * when memory is short. */
char *krait_buffer_room(struct krait_buffer *buffer, size_t size);

/*
 * Runs a call of either kind on this thread, which holds the lock. It may be
 * kept (KRAIT_KEPT): then its outcome is settled later.
 */
void krait_run(struct krait_call *call);

/*
 * Loads code; call->handle is its handle. strings holds name, directory and
 * entry, then hooks, events and path, whose counts follow. In, borrowed.
 */
void krait_load(struct krait_call *call, const struct krait_bytes *strings,
                size_t hooks, size_t events, size_t path);

void krait_unload(struct krait_call *call, long long handle);

/* call->reply is a JSON document about the interpreter. */
void krait_versions(struct krait_call *call);

/* Fails an awaited call with HookTimeout. It may wait for the event loop. */
void krait_cancel_awaited(struct krait_call *call);

/* Needs the lock. Copies payload, a bytes object, to call->reply. */
void krait_take_reply(struct krait_call *call, py_object *payload);

/* Makes a tuple of count new references, given up to it. A NULL among them
 * (an error is set then) drops the others and gives NULL. Needs the lock. */
py_object *krait_arguments(size_t count, ...);

#endif
