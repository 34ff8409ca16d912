#include "host_request.h"

#include "_cgo_export.h"
#include "bell.h"
#include "schedule.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* A request that takes longer than so many nanoseconds makes the next one go to
 * Go. That takes about as long by itself. */
enum { SLOW = 50000 };

static atomic_bool slow;

static struct {
  pthread_mutex_t mutex;
  struct krait_host_request *first, *last;
  bool closed;
} inbox = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* Puts request into Go's inbox; false when that is closed. */
static bool post(struct krait_host_request *request) {
  pthread_mutex_lock(&inbox.mutex);
  bool open = !inbox.closed;
  if (open) {
    if (inbox.last == NULL) {
      inbox.first = request;
    } else {
      inbox.last->next = request;
    }
    inbox.last = request;
    krait_bell_ring();
  }
  pthread_mutex_unlock(&inbox.mutex);
  return open;
}

/* Has Go perform request, and waits; false when it cannot be. */
static bool leave_to_go(struct krait_host_request *request) {
  if (sem_init(&request->answered, 0, 0) != 0) {
    return false;
  }
  bool posted = post(request);
  while (posted && sem_wait(&request->answered) != 0 && errno == EINTR) {
  }
  sem_destroy(&request->answered);
  return posted;
}

/* Performs request on this thread. */
static void perform(struct krait_host_request *request) {
  krait_excuse(true);
  kraitHostPerform(request);
  krait_excuse(false);
}

void krait_host_ask(struct krait_host_request *request) {
  bool leave = atomic_load(&slow) || krait_on_worker();
  if (!leave || !leave_to_go(request)) {
    perform(request);
  }
  atomic_store(&slow, request->took > SLOW);
}

void krait_host_answer(struct krait_host_request *request) {
  sem_post(&request->answered);
}

static struct krait_host_request *take_all(bool close) {
  pthread_mutex_lock(&inbox.mutex);
  struct krait_host_request *first = inbox.first;
  inbox.first = inbox.last = NULL;
  inbox.closed = inbox.closed || close;
  pthread_mutex_unlock(&inbox.mutex);
  return first;
}

struct krait_host_request *krait_host_collect(void) { return take_all(false); }

struct krait_host_request *krait_host_close(void) { return take_all(true); }
