#include "api_thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic(krait_release_fn) release_fn;
static _Atomic(krait_restore_fn) restore_fn;

void krait_api_set_lock(krait_release_fn release, krait_restore_fn restore) {
  atomic_store(&release_fn, NULL);
  if (restore != NULL) {
    /* Never taken away: a call that gave the lock up has to get it back. */
    atomic_store(&restore_fn, restore);
  }
  atomic_store(&release_fn, release);
}

void *krait_api_release(void) {
  krait_release_fn fn = atomic_load(&release_fn);
  return fn == NULL ? NULL : fn();
}

void krait_api_restore(void *state) {
  if (state == NULL) {
    return;
  }
  krait_restore_fn fn = atomic_load(&restore_fn);
  if (fn != NULL) {
    fn(state);
  }
}

/* The buffer hangs on a pthread key so that a thread's end frees it. */
static pthread_key_t buffer_key;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;
static int buffer_usable;

static void make_key(void) {
  buffer_usable = pthread_key_create(&buffer_key, free) == 0;
}

char *krait_api_keep(const void *data, size_t length) {
  static char empty[1] = "";
  pthread_once(&buffer_once, make_key);
  if (!buffer_usable) {
    return empty;
  }
  char *old = pthread_getspecific(buffer_key);
  char *buffer = realloc(old, length + 1);
  if (buffer == NULL) {
    return empty;
  }
  if (length > 0) {
    memcpy(buffer, data, length);
  }
  buffer[length] = '\0';
  if (buffer != old && pthread_setspecific(buffer_key, buffer) != 0) {
    /* The key still names the old block, which realloc freed; setspecific
     * can only fail on a thread's first use, when there was none. */
    free(buffer);
    return empty;
  }
  return buffer;
}
