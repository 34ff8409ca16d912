#include "schedule.h"

#include "bell.h"
#include "interpreter.h"
#include "os_thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* A thread hands over what it has after so many calls, or so many nanoseconds
 * after the first of them has ended: who waits for that one should not wait for
 * all, and a goroutine that is in C for long loses its place among those that
 * run. The first one's own time does not count: it takes two to three times as
 * long as those that find Python in the processor's caches after it.
 * Coroutines leave nothing to hand over: as many as there may be begin before
 * their loop has the interpreter's lock. */
enum { LONGEST_BATCH = 16, LONGEST_VISIT = 10000 };

/* The watcher looks once in TICK nanoseconds. A hook that is still the same one
 * after a tick, and sleeps, blocks; one that computes for LONGEST_TURN ticks is
 * treated as if it did. For WARY ticks workers then run all calls. After CALM
 * ticks without a hook that blocks, ticks take CALM_TICK nanoseconds: each
 * takes the processor from a thread that works. Without any call for IDLE ticks
 * there are none. */
enum {
  TICK = 1000000,
  LONGEST_TURN = 5,
  WARY = 200,
  CALM = 1000,
  CALM_TICK = 5000000,
  IDLE = 100
};

/* A worker without work for so many nanoseconds ends. */
static const long long longest_rest = 10000000000;

/* Calls that take longer than so many nanoseconds may block. Of the next
 * CURIOUS visits the first one, and then one in SAMPLE, is looked at for
 * whether they do. */
enum { LONG = 100000, CURIOUS = 64, SAMPLE = 8 };

struct list {
  struct krait_call *first, *last;
};

/*
 * At any time somebody is there for a call that may begin: a thread that is
 * coming or on standby, or one that is busy and will look at the queue again.
 * The last may take long, so as long as a thread is busy or calls wait the
 * watcher has ticks, in which it finds that out and calls a worker.
 *
 * Guarded by mutex, which is never held while waiting for the interpreter's
 * lock.
 */
static struct {
  pthread_mutex_t mutex;
  struct list queue; /* linked both ways */
  size_t queued;
  bool closed;
  size_t running, most_running;
  /* So many threads wait for the interpreter's lock to go on with the queue. */
  size_t standby;
  /* So many goroutines are on their way to that. */
  size_t coming;
  /* Which thread goes on with the queue; it grows with each that takes over. */
  unsigned long turn;
  /* That thread runs calls, none of which has been found to block. */
  bool busy;
  pid_t runner; /* that thread */
  bool excused; /* it waits for something else than its hook */
  /* Ended calls that the thread whose turn it is has not handed over yet. */
  struct list ended;
  struct list outbox; /* ended calls for krait_collect */

  size_t threads;      /* workers, and the watcher */
  pthread_cond_t work; /* for resting workers: something is wanted */
  pthread_cond_t left; /* a thread has ended */
  size_t resting;      /* workers that wait for work */
  size_t wanted;       /* workers called that are not there yet */
  bool stop;

  pthread_cond_t wake; /* for the watcher */
  bool asleep;         /* there are no ticks */
  unsigned long begun; /* calls */
  unsigned long seen;  /* begun at the last tick */
  size_t wary, idle;   /* ticks */
  size_t calm;         /* ticks since a hook has blocked, up to CALM */
  size_t same;         /* ticks that a busy thread has been in one hook */
  size_t curious;      /* visits */
} s = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static void append(struct list *list, struct krait_call *call) {
  call->next = NULL;
  call->previous = list->last;
  if (list->last == NULL) {
    list->first = call;
  } else {
    list->last->next = call;
  }
  list->last = call;
}

static void take_out(struct list *list, struct krait_call *call) {
  if (call->previous == NULL) {
    list->first = call->next;
  } else {
    call->previous->next = call->next;
  }
  if (call->next == NULL) {
    list->last = call->previous;
  } else {
    call->next->previous = call->previous;
  }
}

/* Moves everything from one list to the end of another. */
static void move_all(struct list *from, struct list *to) {
  if (from->first == NULL) {
    return;
  }
  if (to->last == NULL) {
    to->first = from->first;
  } else {
    to->last->next = from->first;
    from->first->previous = to->last;
  }
  to->last = from->last;
  from->first = from->last = NULL;
}

/* Whether the queue's first call may begin. */
static bool something_to_do(void) {
  return s.queue.first != NULL && s.running < s.most_running;
}

/* Whether a thread is needed, where so many wait for the interpreter's lock or
 * are on their way to it. One that is busy comes back soon: waiting for it is
 * cheaper than another thread. Where hooks block it does not, and one thread
 * waits for the lock meanwhile. More would take it from those whose hooks have
 * woken up, and that have to have it before they can take the next call. */
static bool needed(size_t threads) {
  return something_to_do() && threads == 0 && (s.wary > 0 || !s.busy);
}

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (long long)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Waits for condition until time; false when that has passed. */
static bool await(pthread_cond_t *condition, long long time) {
  struct timespec until = {time / 1000000000, time % 1000000000};
  return pthread_cond_timedwait(condition, &s.mutex, &until) != ETIMEDOUT;
}

static _Thread_local bool on_worker;

bool krait_on_worker(void) { return on_worker; }

static void *run_worker(void *);

static bool start(void *(*run)(void *)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, NULL) != 0) {
    return false;
  }
  pthread_detach(thread);
  s.threads++;
  return true;
}

/* How many threads wait for the interpreter's lock or are on their way to it. A
 * goroutine has to get a place among those that run first. Where hooks block,
 * nobody waits for that. */
static size_t at_hand(void) {
  return s.standby + s.wanted + (s.wary > 0 ? 0 : s.coming);
}

/* Calls a worker if one is needed. One that cannot be had is tried again at the
 * next tick. */
static void call_worker(void) {
  if (s.stop || !needed(at_hand())) {
    return;
  }
  if (s.resting > s.wanted) {
    pthread_cond_signal(&s.work);
  } else if (!start(run_worker)) {
    return;
  }
  s.wanted++;
}

/* Hands over what has ended. */
static void deliver(struct list *list) {
  if (list->first != NULL) {
    move_all(list, &s.outbox);
    krait_bell_ring();
  }
}

enum krait_submission krait_submit(struct krait_call *call, long long wait) {
  enum krait_submission submission = KRAIT_SUBMITTED;
  call->begin_by = now() + wait;
  pthread_mutex_lock(&s.mutex);
  if (s.closed) {
    submission = KRAIT_REFUSED;
    goto done;
  }
  call->state = KRAIT_QUEUED;
  append(&s.queue, call);
  s.queued++;
  if (s.wary > 0) {
    call_worker();
  } else if (needed(at_hand())) {
    s.coming++;
    submission = KRAIT_START;
  }
  if (s.asleep) {
    s.asleep = false;
    pthread_cond_signal(&s.wake);
  }
done:
  pthread_mutex_unlock(&s.mutex);
  return submission;
}

static void leave_queue(struct krait_call *call, enum krait_state state) {
  take_out(&s.queue, call);
  s.queued--;
  call->state = state;
}

bool krait_withdraw(struct krait_call *call) {
  pthread_mutex_lock(&s.mutex);
  bool there = call->state == KRAIT_QUEUED;
  if (there) {
    leave_queue(call, KRAIT_IDLE);
  }
  pthread_mutex_unlock(&s.mutex);
  return there;
}

struct krait_call *krait_close_queue(void) {
  pthread_mutex_lock(&s.mutex);
  s.closed = true;
  struct krait_call *first = s.queue.first;
  for (struct krait_call *call = first; call != NULL; call = call->next) {
    call->state = KRAIT_IDLE;
  }
  s.queue.first = s.queue.last = NULL;
  s.queued = 0;
  pthread_mutex_unlock(&s.mutex);
  return first;
}

/* The thread has run call: it has ended, or is awaited from now on. */
static void leave_thread(struct krait_call *call) {
  s.running--;
  if (call->state == KRAIT_KEPT) {
    call->state = KRAIT_AWAITED;
    return;
  }
  call->state = KRAIT_IDLE;
  append(&s.ended, call);
}

/* Ends the queue's first call, if there is one, without running it. */
static void end_first(enum krait_error_kind why) {
  struct krait_call *call = s.queue.first;
  if (call != NULL) {
    leave_queue(call, KRAIT_IDLE);
    call->error.kind = why;
    append(&s.ended, call);
  }
}

/* Whether this thread has been excused in this visit. */
static _Thread_local bool was_excused;

void krait_excuse(bool on) {
  was_excused = true;
  pthread_mutex_lock(&s.mutex);
  if (s.runner == krait_thread_id()) {
    s.excused = on;
  }
  pthread_mutex_unlock(&s.mutex);
}

/* Has workers run the calls for a while, and no longer: what workers wait for
 * may just be each other. Then the next long visits show whether it is still
 * needed. */
static void expect_blocking(void) {
  s.wary = WARY;
  s.calm = 0;
  s.curious = CURIOUS;
  call_worker();
}

/* Runs calls as long as it is this thread's turn. The mutex is held, and the
 * interpreter's lock. Returns whether another thread has had that meanwhile,
 * and gone on with the queue. */
static bool run_batch(void) {
  unsigned long turn = ++s.turn;
  /* Calls that come meanwhile are for the next visit. */
  size_t most = s.queued < LONGEST_BATCH ? s.queued : LONGEST_BATCH;
  bool curious = s.curious > 0 && s.curious % SAMPLE == 0;
  long waited = curious ? krait_thread_waits() : 0;
  s.busy = true;
  s.runner = krait_thread_id();
  s.excused = was_excused = false;
  bool slow = false;
  long long time = now();
  long long until = LLONG_MAX;
  for (size_t count = 0; something_to_do(); count++) {
    /* Where hooks block, one that does would keep what has ended before it,
     * unless a thread is on standby. */
    bool alone = s.wary > 0 && s.standby == 0;
    if (s.turn != turn || (count > 0 && (count >= most || alone))) {
      break;
    }
    if (time > until) {
      break;
    }
    struct krait_call *call = s.queue.first;
    if (time > call->begin_by) {
      end_first(KRAIT_TOO_LATE);
      continue;
    }
    leave_queue(call, KRAIT_RUNNING);
    s.running++;
    s.begun++;
    if (s.wary > 0) {
      call_worker();
    }
    pthread_mutex_unlock(&s.mutex);
    krait_run(call);
    pthread_mutex_lock(&s.mutex);
    leave_thread(call);
    long long start = time;
    time = now();
    if (until == LLONG_MAX && s.ended.first != NULL) {
      until = time + LONGEST_VISIT;
    }
    slow = slow || time > start + LONG;
  }
  if (s.wary == 0 && slow) {
    s.curious = CURIOUS;
    if (curious && !was_excused && krait_thread_waits() > waited) {
      expect_blocking();
    }
  } else if (s.curious > 0) {
    s.curious--;
  }
  if (s.turn != turn) {
    return true;
  }
  s.busy = false;
  return false;
}

/* Takes the interpreter's lock and runs calls; s.ended are those to hand over.
 * The mutex is held, but not all the time. Returns whether this thread is
 * attached. */
static bool take_over(void) {
  s.standby++;
  pthread_mutex_unlock(&s.mutex);
  bool attached = krait_attach();
  pthread_mutex_lock(&s.mutex);
  s.standby--;
  if (s.busy) {
    /* The thread before this one is in a hook that has given up the lock. */
    deliver(&s.ended);
  }
  if (attached) {
    /* After a hook that blocked, a worker has waited for the lock anyway. With
     * the next call it saves the thread on standby from doing so. */
    while (run_batch() && on_worker && something_to_do()) {
      deliver(&s.ended);
    }
  } else {
    end_first(KRAIT_NO_MEMORY); /* for a thread state */
  }
  return attached;
}

bool krait_serve(struct krait_call **ended) {
  *ended = NULL;
  pthread_mutex_lock(&s.mutex);
  s.coming--;
  if (s.wary > 0 || !needed(s.standby)) {
    call_worker();
    pthread_mutex_unlock(&s.mutex);
    return false;
  }
  bool attached = take_over();
  *ended = s.ended.first;
  s.ended.first = s.ended.last = NULL;
  bool again = s.wary == 0; /* else workers go on with the queue */
  if (again) {
    s.coming++;
  } else {
    call_worker();
  }
  pthread_mutex_unlock(&s.mutex);
  if (attached) {
    krait_detach();
  }
  return again;
}

/* Waits until a worker is wanted; false when this one has to end. */
static bool rest(void) {
  long long until = now() + longest_rest;
  while (s.wanted == 0) {
    if (s.stop) {
      return false;
    }
    s.resting++;
    bool in_time = await(&s.work, until);
    s.resting--;
    if (!in_time && s.wanted == 0) {
      return false;
    }
  }
  s.wanted--;
  return true;
}

static void leave(void) {
  s.threads--;
  pthread_cond_broadcast(&s.left);
  pthread_mutex_unlock(&s.mutex);
}

static void *run_worker(void *nothing) {
  on_worker = true;
  pthread_mutex_lock(&s.mutex);
  while (rest()) {
    while (needed(s.standby)) {
      bool attached = take_over();
      deliver(&s.ended);
      if (attached) {
        pthread_mutex_unlock(&s.mutex);
        krait_detach();
        pthread_mutex_lock(&s.mutex);
      }
    }
  }
  pthread_mutex_unlock(&s.mutex);
  krait_end_thread();
  pthread_mutex_lock(&s.mutex);
  leave();
  return nothing;
}

/* Whether the thread whose turn it is blocks. Only that one begins calls: when
 * it has begun none since the last tick, it has been in one hook since then.
 * The mutex is held, but not all the time. */
static bool blocks(void) {
  if (!s.busy || s.begun != s.seen) {
    s.same = 0;
    return false;
  }
  unsigned long begun = s.begun;
  pid_t runner = s.runner;
  if (++s.same >= LONGEST_TURN) {
    return true;
  }
  if (s.excused) {
    return false;
  }
  pthread_mutex_unlock(&s.mutex);
  bool asleep = krait_thread_sleeps(runner);
  pthread_mutex_lock(&s.mutex);
  return asleep && s.busy && s.begun == begun && !s.excused;
}

static void tick(void) {
  s.idle = s.begun == s.seen ? s.idle + 1 : 0;
  if (s.wary > 0) {
    s.wary--;
  }
  if (s.calm < CALM) {
    s.calm++;
  }
  if (blocks()) {
    s.busy = false;
    deliver(&s.ended);
    expect_blocking();
  }
  s.seen = s.begun;
  call_worker();
}

static void *run_watcher(void *nothing) {
  pthread_mutex_lock(&s.mutex);
  while (!s.stop) {
    if (s.idle < IDLE || s.queue.first != NULL) {
      /* A hook that is still the same one is watched closely. */
      bool calm = s.calm == CALM && s.same == 0;
      await(&s.wake, now() + (calm ? CALM_TICK : TICK));
    } else {
      s.asleep = true;
      while (s.asleep && !s.stop) {
        pthread_cond_wait(&s.wake, &s.mutex);
      }
      s.idle = 0;
    }
    tick();
  }
  leave();
  return nothing;
}

bool krait_schedule(size_t most_running) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&s.work, &monotonic);
  pthread_cond_init(&s.wake, &monotonic);
  pthread_cond_init(&s.left, &monotonic);
  pthread_condattr_destroy(&monotonic);
  pthread_mutex_lock(&s.mutex);
  s.most_running = most_running;
  bool started = start(run_watcher);
  pthread_mutex_unlock(&s.mutex);
  return started;
}

bool krait_unschedule(long long wait) {
  long long until = now() + wait;
  pthread_mutex_lock(&s.mutex);
  s.stop = true;
  pthread_cond_broadcast(&s.work);
  pthread_cond_broadcast(&s.wake);
  while (s.threads > 0 && await(&s.left, until)) {
  }
  bool ended = s.threads == 0;
  pthread_mutex_unlock(&s.mutex);
  return ended;
}

struct krait_call *krait_collect(void) {
  krait_bell_answered();
  pthread_mutex_lock(&s.mutex);
  struct krait_call *first = s.outbox.first;
  s.outbox.first = s.outbox.last = NULL;
  pthread_mutex_unlock(&s.mutex);
  return first;
}

size_t krait_queued(void) {
  pthread_mutex_lock(&s.mutex);
  size_t queued = s.queued;
  pthread_mutex_unlock(&s.mutex);
  return queued;
}

size_t krait_running(void) {
  pthread_mutex_lock(&s.mutex);
  size_t running = s.running;
  pthread_mutex_unlock(&s.mutex);
  return running;
}

static enum krait_state state_of(struct krait_call *call) {
  pthread_mutex_lock(&s.mutex);
  enum krait_state state = call->state;
  pthread_mutex_unlock(&s.mutex);
  return state;
}

bool krait_is_kept(struct krait_call *call) {
  enum krait_state state = state_of(call);
  return state == KRAIT_KEPT || state == KRAIT_SETTLED;
}

bool krait_is_awaited(struct krait_call *call) {
  return state_of(call) == KRAIT_AWAITED;
}

void krait_keep(struct krait_call *call) {
  pthread_mutex_lock(&s.mutex);
  call->state = KRAIT_KEPT;
  pthread_mutex_unlock(&s.mutex);
}

void krait_settle(struct krait_call *call) {
  pthread_mutex_lock(&s.mutex);
  if (call->state == KRAIT_KEPT) {
    call->state = KRAIT_SETTLED; /* its thread hands it over */
  } else {
    call->state = KRAIT_IDLE;
    append(&s.outbox, call);
    krait_bell_ring();
  }
  pthread_mutex_unlock(&s.mutex);
}
