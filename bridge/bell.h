/*
 * bell.h: how C calls Go without a goroutine that waits in C for it. Go reads a
 * file descriptor, which its network poller watches, and then looks what there
 * is. Any number of rings before Go looks are one.
 */
#ifndef KRAIT_BELL_H
#define KRAIT_BELL_H

/* Makes the bell. Returns what Go reads and closes, or -1 with errno set. */
int krait_bell_new(void);

void krait_bell_ring(void);

/* Go is about to look: what comes from now on rings again. */
void krait_bell_answered(void);

#endif
