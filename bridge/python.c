#include "python.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct krait_python py;

static char *message(const char *format, ...) {
  char *text = NULL;
  va_list arguments;
  va_start(arguments, format);
  int length = vasprintf(&text, format, arguments);
  va_end(arguments);
  return length < 0 ? strdup("out of memory") : text;
}

/* Finds name and writes its address to target. 0 on success. */
static int find(void *library, const char *name, void *target) {
  void *address = dlsym(library, name);
  if (address == NULL) {
    return -1;
  }
  memcpy(target, &address, sizeof address);
  return 0;
}

char *krait_python_open(const char *path) {
  /* RTLD_GLOBAL: extension modules such as _ctypes look libpython's symbols
   * up in the global scope. */
  void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
  if (library == NULL) {
    return message("%s", dlerror());
  }
#define KRAIT_FIND(result, name, parameters)                                   \
  if (find(library, #name, &py.name) != 0) {                                   \
    return message("%s lacks the function %s; CPython 3.9 or later is needed", \
                   path, #name);                                               \
  }
  KRAIT_PYTHON_FUNCTIONS(KRAIT_FIND)
#undef KRAIT_FIND
  if (find(library, "PyThreadState_GetUnchecked", &py.current_state) != 0 &&
      find(library, "_PyThreadState_UncheckedGet", &py.current_state) != 0) {
    return message("%s has neither PyThreadState_GetUnchecked (3.13) nor "
                   "_PyThreadState_UncheckedGet; CPython 3.9 or later is "
                   "needed",
                   path);
  }
  if (find(library, "_Py_NoneStruct", &py.none) != 0 ||
      find(library, "PyExc_TypeError", &py.type_error) != 0 ||
      find(library, "PyExc_RuntimeError", &py.runtime_error) != 0) {
    return message("%s lacks None, TypeError or RuntimeError; it is not a "
                   "complete libpython",
                   path);
  }
  return NULL;
}
