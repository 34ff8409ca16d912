/*
 * os_thread.h: what the system knows of a thread. Linux.
 */
#ifndef KRAIT_OS_THREAD_H
#define KRAIT_OS_THREAD_H

#include <stdbool.h>
#include <sys/types.h>

/* The calling thread's number. */
pid_t krait_thread_id(void);

/* How often the calling thread has given its processor up of its own accord,
 * that is, has waited for something. */
long krait_thread_waits(void);

/* Whether a thread of this process sleeps: it neither runs nor waits for a
 * processor. One of which nothing is known may well do. */
bool krait_thread_sleeps(pid_t thread);

#endif
