#include "interpreter.h"

#include <locale.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct krait_runtime runtime;

static py_interpreter *interpreter;
static py_thread_state *main_state;
static pthread_key_t thread_key;
/* True between start and stop; threads that end outside of it must not touch
 * the interpreter. */
static atomic_bool alive;
/* True once the interpreter is being taken apart. */
static atomic_bool finalising;
/* True in a child that plugin code forked. */
static atomic_bool forked;

/* Ends a thread's thread state when the thread ends. */
static void thread_ended(void *state) {
  if (!atomic_load(&alive)) {
    return;
  }
  py.PyEval_RestoreThread(state);
  py.PyThreadState_Clear(state);
  py.PyThreadState_DeleteCurrent();
}

bool krait_attach(void) {
  py_thread_state *state = pthread_getspecific(thread_key);
  if (state == NULL) {
    state = py.PyThreadState_New(interpreter);
    if (state == NULL) {
      return false;
    }
    if (pthread_setspecific(thread_key, state) != 0) {
      py.PyEval_RestoreThread(state);
      py.PyThreadState_Clear(state);
      py.PyThreadState_DeleteCurrent();
      return false;
    }
  }
  py.PyEval_RestoreThread(state);
  return true;
}

void krait_detach(void) { py.PyEval_SaveThread(); }

void krait_end_thread(void) {
  void *state = pthread_getspecific(thread_key);
  if (state != NULL) {
    pthread_setspecific(thread_key, NULL);
    thread_ended(state);
  }
}

bool krait_touch(void) {
  bool attached = krait_attach();
  if (attached) {
    krait_detach();
  }
  return attached;
}

void *krait_lock_release(void) {
  if (!atomic_load(&alive)) {
    return NULL;
  }
  /* PyGILState_Check would not do: once there has been a sub-interpreter it
   * says yes to everybody. */
  py_thread_state *mine = py.PyGILState_GetThisThreadState();
  if (mine == NULL || mine != py.current_state()) {
    return NULL;
  }
  return py.PyEval_SaveThread();
}

void krait_lock_restore(void *state) {
  /* Taking the lock of an interpreter that is being taken apart ends the
   * thread (before 3.14), which must not happen below a Go frame. */
  while (atomic_load(&finalising)) {
    pause();
  }
  py.PyEval_RestoreThread(state);
}

static void in_child(void) { atomic_store(&forked, true); }

void krait_end_child(void) {
  if (atomic_load(&forked)) {
    _exit(KRAIT_CHILD_STATUS);
  }
}

/* Inserts directory into list at position, or appends it when it is < 0. */
static int add_directory(py_object *list, ssize_t position,
                         const char *directory) {
  py_object *text = py.PyUnicode_DecodeUTF8(
      directory, (ssize_t)strlen(directory), "surrogateescape");
  if (text == NULL) {
    return -1;
  }
  int status = position < 0 ? py.PyList_Append(list, text)
                            : py.PyList_Insert(list, position, text);
  py.Py_DecRef(text);
  return status;
}

static int extend_path(const char *const *directories, size_t front_count,
                       size_t back_count) {
  py_object *path = py.PySys_GetObject("path"); /* borrowed */
  if (path == NULL) {
    py.PyErr_SetString(*py.type_error, "sys.path is missing");
    return -1;
  }
  for (size_t i = 0; i < front_count + back_count; i++) {
    ssize_t position = i < front_count ? (ssize_t)i : -1;
    if (add_directory(path, position, directories[i]) != 0) {
      return -1;
    }
  }
  return 0;
}

/* Looks the functions of tyk._runtime up and calls its start(). */
static int start_runtime(void) {
  int status = -1;
  py_object *module = NULL, *start = NULL, *result = NULL;
  module = py.PyImport_ImportModule("tyk._runtime");
  if (module == NULL) {
    goto done;
  }
  struct {
    const char *name;
    py_object **object;
  } wanted[] = {
      /* describe comes first: it renders the errors of all that follows */
      {"describe", &runtime.describe},
      {"HookTimeout", &runtime.hook_timeout},
      {"HookNotFoundError", &runtime.hook_not_found},
      {"load", &runtime.load},
      {"unload", &runtime.unload},
      {"dispatch", &runtime.dispatch},
      {"dispatch_event", &runtime.dispatch_event},
      {"cancel", &runtime.cancel},
      {"where", &runtime.where},
      {"absorb", &runtime.absorb},
      {"stack", &runtime.stack},
      {"versions", &runtime.versions},
      {"stop", &runtime.stop},
  };
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    *wanted[i].object = py.PyObject_GetAttrString(module, wanted[i].name);
    if (*wanted[i].object == NULL) {
      goto done;
    }
  }
  start = py.PyObject_GetAttrString(module, "start");
  if (start == NULL) {
    goto done;
  }
  result = py.PyObject_CallObject(start, NULL);
  status = result == NULL ? -1 : 0;
done:
  if (result != NULL) {
    py.Py_DecRef(result);
  }
  if (start != NULL) {
    py.Py_DecRef(start);
  }
  if (module != NULL) {
    py.Py_DecRef(module);
  }
  return status;
}

static int initialise(const char *executable, struct krait_error *error) {
  /* Aligned and zeroed for whatever PyConfig of this version is. */
  void *config = calloc(1, PY_CONFIG_BYTES);
  if (config == NULL) {
    error->kind = KRAIT_NO_MEMORY;
    return -1;
  }
  /* An isolated interpreter takes the encoding of the C locale, ASCII, unless
   * the process has set another; plugins read UTF-8 files. */
  if (setlocale(LC_CTYPE, "C.UTF-8") == NULL) {
    setlocale(LC_CTYPE, "en_US.UTF-8");
  }
  char *argv[] = {(char *)executable};
  py.PyConfig_InitIsolatedConfig(config);
  py_status status = py.PyConfig_SetBytesArgv(config, 1, argv);
  if (!py.PyStatus_Exception(status)) {
    status = py.Py_InitializeFromConfig(config);
  }
  py.PyConfig_Clear(config);
  free(config);
  if (py.PyStatus_Exception(status)) {
    krait_error_set(error, "InitError",
                    status.err_msg == NULL ? "the interpreter did not start"
                                           : status.err_msg);
    return -1;
  }
  return 0;
}

int krait_interpreter_start(const char *library, const char *executable,
                            const char *const *directories, size_t front_count,
                            size_t back_count, struct krait_error *error) {
  char *problem = krait_python_open(library);
  if (problem != NULL) {
    krait_error_set(error, "ImportError", problem);
    free(problem);
    return -1;
  }
  if (pthread_key_create(&thread_key, thread_ended) != 0) {
    error->kind = KRAIT_NO_MEMORY;
    return -1;
  }
  if (initialise(executable, error) != 0 ||
      pthread_atfork(NULL, NULL, in_child) != 0) {
    pthread_key_delete(thread_key);
    return -1;
  }
  interpreter = py.PyInterpreterState_Get();
  int status = 0;
  if (extend_path(directories, front_count, back_count) != 0 ||
      krait_host_module_register() != 0 || start_runtime() != 0) {
    krait_error_take(error);
    status = -1;
  }
  if (status == 0) {
    atomic_store(&alive, true);
  }
  main_state = py.PyEval_SaveThread();
  return status;
}

/* Calls tyk._runtime.stop(timeout). */
static bool stop_threads(double timeout, struct krait_error *error) {
  bool safe = false;
  py_object *result = NULL;
  py_object *arguments = py.PyTuple_New(1);
  if (arguments != NULL) {
    py.PyTuple_SetItem(arguments, 0, py.PyFloat_FromDouble(timeout));
    result = py.PyObject_CallObject(runtime.stop, arguments);
  }
  if (result == NULL) {
    krait_error_take(error);
  } else {
    safe = py.PyObject_IsTrue(result) == 1;
    py.Py_DecRef(result);
  }
  if (arguments != NULL) {
    py.Py_DecRef(arguments);
  }
  return safe;
}

bool krait_interpreter_stop(double timeout, struct krait_error *error) {
  py.PyEval_RestoreThread(main_state);
  bool safe = stop_threads(timeout, error);
  /* From here on threads that end leave their thread states alone: either
   * finalisation frees them, or the process ends soon. */
  atomic_store(&alive, false);
  if (!safe) {
    py.PyEval_SaveThread();
    return false;
  }
  atomic_store(&finalising, true);
  if (py.Py_FinalizeEx() != 0) {
    krait_error_set(
        error, "RuntimeError",
        "the interpreter could not flush its buffers while it ended");
  }
  return true;
}
