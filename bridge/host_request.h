/*
 * host_request.h: what plugin code asks of the host's store. A store that
 * answers at once is called on the thread that asks, if that is Go's. Otherwise
 * the request goes to Go, and the thread waits here: a goroutine that waits on
 * behalf of C costs several switches of threads instead of one.
 */
#ifndef KRAIT_HOST_REQUEST_H
#define KRAIT_HOST_REQUEST_H

#include "host_module.h"

#include <semaphore.h>

enum krait_operation { KRAIT_STORE, KRAIT_GET };

struct krait_host_request {
  enum krait_operation operation;
  struct krait_bytes key, value; /* in: borrowed; value is to be stored */
  long long ttl;                 /* seconds */
  struct krait_bytes found;      /* out: malloc'd */
  char *problem;                 /* out: malloc'd; NULL when it succeeded */
  long long took;                /* out: nanoseconds */

  struct krait_host_request *next;
  sem_t answered;
};

/* Performs request. The calling thread does not hold the interpreter's lock. */
void krait_host_ask(struct krait_host_request *request);

/* Returns the requests for Go, linked by next; each is given back with
 * krait_host_answer. The bell rings when there are some. */
struct krait_host_request *krait_host_collect(void);
void krait_host_answer(struct krait_host_request *request);

/* From now on no request goes to Go; returns those that have. */
struct krait_host_request *krait_host_close(void);

#endif
