/*
 * schedule.h: which call runs when. Calls wait in one queue. A thread that
 * holds the interpreter's lock runs them one after the other.
 *
 * As long as hooks do not block, that thread is Go's: krait_serve is what a
 * goroutine does as long as there is something to do, so a call costs no switch
 * of threads. A watcher notices when a hook blocks. For a while workers,
 * threads of C's own, then run the calls, as many as there are hooks that
 * block, and one more that waits for the lock: it goes on with the queue as
 * soon as a hook gives the lock up. No goroutine waits in C for that, which
 * would keep its place from others.
 *
 * All functions may be called on any thread, without the interpreter's lock
 * where nothing else is said.
 */
#ifndef KRAIT_SCHEDULE_H
#define KRAIT_SCHEDULE_H

#include "call.h"

#include <stdbool.h>
#include <stddef.h>

/* Begins, with so many calls on threads at once. Once, before the first call.
 * False when there can be no thread. */
bool krait_schedule(size_t most_running);

/* Ends, when no calls are left, and waits for all threads of this file, for so
 * many nanoseconds at most. False when some are left. */
bool krait_unschedule(long long wait);

enum krait_submission {
  KRAIT_SUBMITTED,
  KRAIT_START,   /* and the caller starts a goroutine that calls krait_serve */
  KRAIT_REFUSED, /* the queue is closed, the call still the caller's */
};

/* Puts call into the queue. A call that has not begun after so many nanoseconds
 * ends with KRAIT_TOO_LATE, if nobody withdraws it before. */
enum krait_submission krait_submit(struct krait_call *call, long long wait);

/* Takes call out of the queue; false when it is not there (any more). */
bool krait_withdraw(struct krait_call *call);

/* Takes all calls out of the queue, linked by next, and lets none in again. */
struct krait_call *krait_close_queue(void);

/*
 * Runs calls for a while. ended: out, the calls that have ended, linked by
 * next; they are the caller's again. Returns whether to call it once more; when
 * it returned true it has to be called again, soon.
 */
bool krait_serve(struct krait_call **ended);

/* Returns calls that have ended beside krait_serve, linked by next. The bell
 * rings when there are some. */
struct krait_call *krait_collect(void);

/* Whether this thread is a worker. */
bool krait_on_worker(void);

/* While it is on, that this thread waits is no sign of a hook that blocks,
 * unless it takes long: Go runs on it, and has to wait for a place among the
 * goroutines that run. */
void krait_excuse(bool on);

/* How many calls wait in the queue. */
size_t krait_queued(void);

/* How many calls are on a thread. */
size_t krait_running(void);

/* Whether the outcome of the call that this thread has run comes later. */
bool krait_is_kept(struct krait_call *call);

/* Needs the interpreter's lock, as the rest does. Marks a call that is running
 * as one whose outcome comes later. */
void krait_keep(struct krait_call *call);
/* Hands over a call that was kept; reply or error are set. */
void krait_settle(struct krait_call *call);
/* Whether the call is awaited: no thread runs it. */
bool krait_is_awaited(struct krait_call *call);

#endif
