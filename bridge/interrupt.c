#include "interrupt.h"

#include "schedule.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void krait_call_started(struct krait_call *call) {
  unsigned long thread = py.PyThread_get_thread_ident();
  pthread_mutex_lock(&call->mutex);
  call->running = true;
  call->thread = thread;
  pthread_mutex_unlock(&call->mutex);
}

/*
 * Takes an interrupt of this thread back that may be on its way. Removing it is
 * not enough before CPython 3.13: the whole interpreter goes on looking for it,
 * and in 3.11 a thread that is traced never gets past that. So it is raised
 * here.
 */
static void absorb(unsigned long thread) {
  py_object *type = NULL, *value = NULL, *traceback = NULL;
  py.PyErr_Fetch(&type, &value, &traceback);
  py.PyThreadState_SetAsyncExc(thread, runtime.hook_timeout);
  py_object *result = py.PyObject_CallObject(runtime.absorb, NULL);
  if (result != NULL) {
    py.Py_DecRef(result);
    py.PyThreadState_SetAsyncExc(thread, NULL);
  }
  py.PyErr_Restore(type, value, traceback); /* drops what was raised */
}

void krait_call_ended(struct krait_call *call) {
  pthread_mutex_lock(&call->mutex);
  call->running = false;
  bool interrupted = call->interrupted;
  pthread_mutex_unlock(&call->mutex);
  if (interrupted) {
    /* One that came too late must not hit what runs next on this thread. */
    absorb(call->thread);
  }
}

/* The thread that runs call; false when it has ended. */
static bool running_thread(struct krait_call *call, unsigned long *thread) {
  pthread_mutex_lock(&call->mutex);
  bool running = call->running;
  *thread = call->thread;
  pthread_mutex_unlock(&call->mutex);
  return running;
}

static void drop(py_object *object) {
  if (object != NULL) {
    py.Py_DecRef(object);
  }
}

/* function: stack or where; number: what it takes. */
static void take_stack(py_object *function, long long number,
                       struct krait_text *stack) {
  py_object *tuple = krait_arguments(1, py.PyLong_FromLongLong(number));
  py_object *result =
      tuple == NULL ? NULL : py.PyObject_CallObject(function, tuple);
  py_object *bytes =
      result == NULL ? NULL
                     : py.PyUnicode_AsEncodedString(result, "utf-8", "replace");
  if (bytes == NULL ||
      krait_bytes_copy(bytes, &stack->data, &stack->length) != 0) {
    py.PyErr_Clear(); /* a message without it is better than none */
  }
  drop(bytes);
  drop(result);
  drop(tuple);
}

void krait_call_stack(struct krait_call *call, struct krait_text *stack) {
  unsigned long thread = 0;
  if (!krait_attach()) {
    return;
  }
  if (running_thread(call, &thread)) {
    take_stack(runtime.stack, (long long)thread, stack);
  } else if (krait_is_awaited(call)) {
    take_stack(runtime.where, (long long)(uintptr_t)call, stack);
  }
  krait_detach();
}

/* Code that takes a lock in one statement and enters "try" in the next: an
 * exception in between leaves the lock taken for ever, and the import lock
 * takes everybody with it. */
static const char *const fragile_always[] = {
    "<frozen importlib", "/tyk/_imports.py", "/tyk/_message.py", NULL};
static const char *const fragile[] = {"/threading.py", "/logging/", "/queue.py",
                                      "/concurrent/futures/", NULL};

static bool contains(const char *text, const char *const *parts) {
  for (; *parts != NULL; parts++) {
    if (strstr(text, *parts) != NULL) {
      return true;
    }
  }
  return false;
}

/* Copies the file name of the code that thread is in; NULL when it cannot be
 * told. Only C functions run here, so the lock is not given up in between. */
static char *current_file(unsigned long thread) {
  char *file = NULL;
  size_t length = 0;
  py_object *frames = NULL, *key = NULL, *frame = NULL, *code = NULL,
            *name = NULL, *bytes = NULL;
  py_object *function = py.PySys_GetObject("_current_frames"); /* borrowed */
  if (function == NULL ||
      (frames = py.PyObject_CallObject(function, NULL)) == NULL ||
      (key = py.PyLong_FromLongLong((long long)thread)) == NULL ||
      (frame = py.PyObject_GetItem(frames, key)) == NULL ||
      (code = py.PyObject_GetAttrString(frame, "f_code")) == NULL ||
      (name = py.PyObject_GetAttrString(code, "co_filename")) == NULL ||
      (bytes = py.PyUnicode_AsEncodedString(name, "utf-8", "replace")) ==
          NULL ||
      krait_bytes_copy(bytes, &file, &length) != 0) {
    py.PyErr_Clear();
  }
  drop(bytes);
  drop(name);
  drop(code);
  drop(frame);
  drop(key);
  drop(frames);
  return file;
}

static bool may_interrupt(unsigned long thread, bool insist) {
  char *file = current_file(thread);
  bool may = file == NULL || !(contains(file, fragile_always) ||
                               (!insist && contains(file, fragile)));
  free(file);
  return may;
}

enum krait_interruption krait_interrupt(struct krait_call *call, bool insist) {
  unsigned long thread = 0;
  if (!krait_attach()) {
    return KRAIT_INTERRUPTED;
  }
  if (krait_is_awaited(call)) {
    krait_cancel_awaited(call);
    krait_detach();
    return KRAIT_INTERRUPTED;
  }
  bool may = running_thread(call, &thread) && may_interrupt(thread, insist);
  /* The mutex keeps the thread from going on to another call in between;
   * nobody takes the interpreter's lock while holding it. */
  pthread_mutex_lock(&call->mutex);
  bool running = call->running;
  if (running && may) {
    call->interrupted = true;
    py.PyThreadState_SetAsyncExc(call->thread, runtime.hook_timeout);
  }
  pthread_mutex_unlock(&call->mutex);
  krait_detach();
  return running && !may ? KRAIT_NOT_NOW : KRAIT_INTERRUPTED;
}
