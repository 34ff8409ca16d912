#include "schedule.h"

#include "interpreter.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* A thread hands over what it has after so many calls, or nanoseconds: who
 * waits for the first of them should not wait for all, and a thread that is in
 * C for longer loses its place among those that run Go. */
enum { LONGEST_BATCH = 16, LONGEST_VISIT = 10000 };

/* Where hooks block, so many threads wait for the interpreter's lock at most:
 * the next call begins without waiting until a thread has woken up. */
enum { MOST_STANDBY = 4 };

/* What krait_attend looks at is looked at once in TICK nanoseconds. A hook that
 * is still the same one after a tick counts as blocking: for WARY ticks threads
 * then stand by whenever calls wait. When none has begun for IDLE ticks, and
 * none waits, there are no more ticks. */
enum { TICK = 1000000, WARY = 200, IDLE = 100 };

struct list {
  struct krait_call *first, *last;
};

/*
 * A call that may begin has somebody at any time: a thread that is coming or on
 * standby, or one that is busy and looks at the queue when it has run its call.
 * Whether that ends is what krait_attend looks at, as long as a thread is busy
 * or calls wait.
 *
 * Guarded by mutex, which is never held while waiting for the interpreter's
 * lock.
 */
static struct {
  pthread_mutex_t mutex;
  struct list queue; /* linked both ways */
  size_t queued;
  size_t running, most_running;
  /* So many threads wait for the interpreter's lock to go on with the queue. */
  size_t standby;
  /* So many threads are about to call krait_serve. */
  size_t coming;
  /* Which thread goes on with the queue; it grows with each that takes over. */
  unsigned long turn;
  /* That thread runs calls, none of which has been found to block. */
  bool busy;
  /* Ended calls that the thread whose turn it is has not handed over yet. */
  struct list ended;

  /* For krait_attend. */
  pthread_cond_t wake;
  struct list orphans; /* ended calls that no thread hands over */
  size_t start;        /* so many threads, which coming counts already */
  bool stop;
  unsigned long begun; /* calls */
  unsigned long seen;  /* begun at the last tick */
  size_t wary, idle;   /* ticks */
  long long next_tick; /* nanoseconds of CLOCK_MONOTONIC */
  bool asleep;         /* there are no ticks */
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

/* Whether one more thread is needed, beside so many that wait for the
 * interpreter's lock or are on their way to it. One that is busy comes back
 * soon: waiting for it is cheaper than another thread. */
static bool another(size_t threads) {
  if (!something_to_do()) {
    return false;
  }
  if (s.wary == 0) {
    return threads == 0 && !s.busy;
  }
  return threads < s.queued && threads < MOST_STANDBY;
}

static bool needs_thread(void) { return another(s.standby + s.coming); }

/* Asks krait_attend for a thread, if one is needed. */
static void ask_for_thread(void) {
  if (needs_thread()) {
    s.coming++;
    s.start++;
    pthread_cond_signal(&s.wake);
  }
}

void krait_schedule(size_t most_running) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&s.wake, &monotonic);
  pthread_condattr_destroy(&monotonic);
  pthread_mutex_lock(&s.mutex);
  s.most_running = most_running;
  pthread_mutex_unlock(&s.mutex);
}

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (long long)time.tv_sec * 1000000000 + time.tv_nsec;
}

bool krait_submit(struct krait_call *call, long long wait) {
  call->begin_by = now() + wait;
  pthread_mutex_lock(&s.mutex);
  call->state = KRAIT_QUEUED;
  append(&s.queue, call);
  s.queued++;
  bool start = needs_thread();
  if (start) {
    s.coming++;
  }
  if (s.asleep) {
    s.asleep = false;
    pthread_cond_signal(&s.wake);
  }
  pthread_mutex_unlock(&s.mutex);
  return start;
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

struct krait_call *krait_withdraw_all(void) {
  pthread_mutex_lock(&s.mutex);
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

/* How many calls this thread runs before it hands them over. The callers of
 * half of them prepare their next ones while the other half runs. */
static size_t batch(void) {
  size_t half = (s.queued + 1) / 2;
  return half < LONGEST_BATCH ? half : LONGEST_BATCH;
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

/* Runs calls as long as it is this thread's turn. The mutex is held, and the
 * interpreter's lock. */
static void run_batch(void) {
  unsigned long turn = ++s.turn;
  size_t most = batch();
  long long until = now() + LONGEST_VISIT;
  s.busy = true;
  for (size_t count = 0; something_to_do(); count++) {
    /* Where hooks block, one that does would keep what has ended before it,
     * unless a thread is on standby. */
    bool alone = s.wary > 0 && s.standby == 0;
    if (s.turn != turn || (count > 0 && (count >= most || alone))) {
      break;
    }
    long long time = now();
    if (count > 0 && time > until) {
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
    ask_for_thread();
    pthread_mutex_unlock(&s.mutex);
    krait_run(call);
    pthread_mutex_lock(&s.mutex);
    leave_thread(call);
  }
  if (s.turn == turn) {
    s.busy = false;
  }
}

/* Has what the thread whose turn it is keeps handed over by krait_attend. */
static void take_from_it(void) {
  if (s.ended.first != NULL) {
    move_all(&s.ended, &s.orphans);
    pthread_cond_signal(&s.wake);
  }
}

/* Only the thread whose turn it is begins calls. When it is busy and has begun
 * none, it has been in one hook since the last tick. */
static void tick(void) {
  bool same = s.begun == s.seen;
  s.idle = same ? s.idle + 1 : 0;
  if (s.wary > 0) {
    s.wary--;
  }
  if (s.busy && same) {
    s.busy = false;
    s.wary = WARY;
    take_from_it();
    ask_for_thread();
  }
  s.seen = s.begun;
}

bool krait_serve(struct krait_call **ended) {
  *ended = NULL;
  pthread_mutex_lock(&s.mutex);
  s.coming--;
  if (!another(s.standby)) {
    pthread_mutex_unlock(&s.mutex);
    return false;
  }
  s.standby++;
  pthread_mutex_unlock(&s.mutex);
  bool attached = krait_attach();
  pthread_mutex_lock(&s.mutex);
  s.standby--;
  if (attached) {
    if (s.busy) {
      /* The thread before this one is in a hook that has given up the lock. */
      s.wary = WARY;
      take_from_it();
    }
    run_batch();
  } else {
    end_first(KRAIT_NO_MEMORY); /* for a thread state */
  }
  *ended = s.ended.first;
  s.ended.first = s.ended.last = NULL;
  s.coming++;
  pthread_mutex_unlock(&s.mutex);
  if (attached) {
    krait_detach();
  }
  return true;
}

/* Waits for a tick, or for something to do. */
static void await_tick(void) {
  struct timespec time = {s.next_tick / 1000000000, s.next_tick % 1000000000};
  pthread_cond_timedwait(&s.wake, &s.mutex, &time);
}

bool krait_attend(struct krait_call **ended, size_t *start) {
  pthread_mutex_lock(&s.mutex);
  for (;;) {
    if (now() >= s.next_tick) { /* also when something is always to do */
      tick();
      s.next_tick = now() + TICK;
    }
    if (s.orphans.first != NULL || s.start > 0 || s.stop) {
      break;
    }
    if (s.idle >= IDLE && s.queue.first == NULL && !s.busy) {
      s.asleep = true; /* until the next call is submitted */
      pthread_cond_wait(&s.wake, &s.mutex);
      s.asleep = false;
      s.idle = 0;
    } else {
      await_tick();
    }
  }
  *ended = s.orphans.first;
  s.orphans.first = s.orphans.last = NULL;
  *start = s.start;
  s.start = 0;
  bool more = *ended != NULL || *start > 0 || !s.stop;
  pthread_mutex_unlock(&s.mutex);
  return more;
}

void krait_attend_until(bool on) {
  pthread_mutex_lock(&s.mutex);
  s.stop = !on;
  pthread_cond_broadcast(&s.wake);
  pthread_mutex_unlock(&s.mutex);
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
    append(&s.orphans, call);
    pthread_cond_signal(&s.wake);
  }
  pthread_mutex_unlock(&s.mutex);
}
