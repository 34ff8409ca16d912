#include "os_thread.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

pid_t krait_thread_id(void) {
  static _Thread_local pid_t thread;
  if (thread == 0) {
    thread = (pid_t)syscall(SYS_gettid);
  }
  return thread;
}

long krait_thread_waits(void) {
  struct rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

bool krait_thread_sleeps(pid_t thread) {
  char path[64], text[128] = "";
  snprintf(path, sizeof path, "/proc/self/task/%ld/stat", (long)thread);
  int file = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t size = file == -1 ? -1 : read(file, text, sizeof text - 1);
  if (file != -1) {
    close(file);
  }
  /* proc_pid_stat(5): the state follows the name, which may contain anything.
   */
  const char *end = size > 0 ? strrchr(text, ')') : NULL;
  return end == NULL || strncmp(end, ") R", 3) != 0;
}
