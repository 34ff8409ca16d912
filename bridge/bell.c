#include "bell.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A descriptor of C's own, open as long as the process lives: plugin code that
 * outlives a stop may still ring. */
static int bell = -1;
static atomic_bool rung;

int krait_bell_new(void) {
  int counter = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (counter == -1) {
    return -1;
  }
  bell = fcntl(counter, F_DUPFD_CLOEXEC, 0);
  if (bell == -1) {
    close(counter);
    return -1;
  }
  return counter;
}

void krait_bell_ring(void) {
  if (!atomic_exchange(&rung, true)) {
    /* It fails when the counter is full, and then the bell rings anyway. */
    (void)eventfd_write(bell, 1);
  }
}

void krait_bell_answered(void) { atomic_store(&rung, false); }
