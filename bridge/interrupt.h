/*
 * interrupt.h: ending calls that are overdue.
 */
#ifndef KRAIT_INTERRUPT_H
#define KRAIT_INTERRUPT_H

#include "call.h"

/* Bracket the Python code of a call, on the thread that runs it, with the
 * lock. */
void krait_call_started(struct krait_call *call);
void krait_call_ended(struct krait_call *call);

enum krait_interruption {
  KRAIT_INTERRUPTED, /* HookTimeout is on its way, or the call has ended */
  KRAIT_NOT_NOW,     /* the thread is where it must not be interrupted */
};

/*
 * Raises HookTimeout in the thread that runs call, if it still does. Called on
 * another thread; the call must not be freed meanwhile. insist also interrupts
 * code of the standard library that takes locks.
 */
enum krait_interruption krait_interrupt(struct krait_call *call, bool insist);

/* Tells where the thread that runs call is, as Python prints it. stack: out,
 * malloc'd, freed by the caller; empty when the call has ended. */
void krait_call_stack(struct krait_call *call, struct krait_text *stack);

#endif
