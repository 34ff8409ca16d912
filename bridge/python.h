/*
 * python.h: the part of CPython's C API that the bridge uses, as a table of
 * functions found at run time. There is no Python.h: one binary serves every
 * CPython from 3.9 on. All names are exported by each of those versions; the
 * shapes below are those of the stable ABI (PEP 384), except PyStatus and the
 * PyConfig functions (PEP 587), whose layout is not used.
 */
#ifndef KRAIT_PYTHON_H
#define KRAIT_PYTHON_H

#include <stddef.h>
#include <sys/types.h>

typedef struct py_object py_object;
typedef struct py_thread_state py_thread_state;
typedef struct py_interpreter py_interpreter;

/* PyStatus. */
typedef struct {
  int type;
  const char *func;    /* static text of libpython, may be NULL */
  const char *err_msg; /* static text of libpython, may be NULL */
  int exitcode;
} py_status;

typedef py_object *(*py_function)(py_object *self, py_object *args);

/* PyMethodDef. */
typedef struct {
  const char *ml_name;
  py_function ml_meth;
  int ml_flags;
  const char *ml_doc;
} py_method_def;

enum { PY_METH_VARARGS = 0x0001 };

/* PyConfig is opaque here: 3.9 to 3.14 need at most about 700 bytes. */
enum { PY_CONFIG_BYTES = 16384 };

#define KRAIT_PYTHON_FUNCTIONS(F)                                              \
  /* life cycle */                                                             \
  F(const char *, Py_GetVersion, (void))                                       \
  F(void, PyConfig_InitIsolatedConfig, (void *config))                         \
  F(py_status, PyConfig_SetBytesArgv,                                          \
    (void *config, ssize_t argc, char *const *argv))                           \
  F(void, PyConfig_Clear, (void *config))                                      \
  F(int, PyStatus_Exception, (py_status status))                               \
  F(py_status, Py_InitializeFromConfig, (const void *config))                  \
  F(int, Py_FinalizeEx, (void))                                                \
  /* thread states and the interpreter's lock */                               \
  F(py_interpreter *, PyInterpreterState_Get, (void))                          \
  F(py_thread_state *, PyThreadState_New, (py_interpreter * interpreter))      \
  F(void, PyThreadState_Clear, (py_thread_state * state))                      \
  F(void, PyThreadState_DeleteCurrent, (void))                                 \
  F(py_thread_state *, PyEval_SaveThread, (void))                              \
  F(void, PyEval_RestoreThread, (py_thread_state * state))                     \
  F(py_thread_state *, PyGILState_GetThisThreadState, (void))                  \
  F(unsigned long, PyThread_get_thread_ident, (void))                          \
  F(int, PyThreadState_SetAsyncExc, (unsigned long thread, py_object *exc))    \
  /* objects */                                                                \
  F(void, Py_IncRef, (py_object * object))                                     \
  F(void, Py_DecRef, (py_object * object))                                     \
  F(py_object *, PyObject_GetAttrString, (py_object * o, const char *name))    \
  F(py_object *, PyObject_GetItem, (py_object * o, py_object * key))           \
  F(py_object *, PyObject_CallObject,                                          \
    (py_object * callable, py_object * args))                                  \
  F(py_object *, PyObject_Str, (py_object * o))                                \
  F(int, PyObject_IsTrue, (py_object * o))                                     \
  F(py_object *, PyTuple_New, (ssize_t size))                                  \
  F(int, PyTuple_SetItem, (py_object * tuple, ssize_t i, py_object * item))    \
  F(py_object *, PyTuple_GetItem, (py_object * tuple, ssize_t i))              \
  F(ssize_t, PyTuple_Size, (py_object * tuple))                                \
  F(py_object *, PyList_New, (ssize_t size))                                   \
  F(int, PyList_Append, (py_object * list, py_object * item))                  \
  F(int, PyList_Insert, (py_object * list, ssize_t i, py_object * item))       \
  F(int, PyDict_SetItemString,                                                 \
    (py_object * dict, const char *key, py_object *value))                     \
  F(py_object *, PyBytes_FromStringAndSize, (const char *data, ssize_t size))  \
  F(int, PyBytes_AsStringAndSize,                                              \
    (py_object * bytes, char **data, ssize_t *size))                           \
  F(py_object *, PyUnicode_DecodeUTF8,                                         \
    (const char *data, ssize_t size, const char *errors))                      \
  F(py_object *, PyUnicode_AsEncodedString,                                    \
    (py_object * text, const char *encoding, const char *errors))              \
  F(py_object *, PyLong_FromLongLong, (long long value))                       \
  F(long long, PyLong_AsLongLong, (py_object * number))                        \
  F(py_object *, PyFloat_FromDouble, (double value))                           \
  /* modules */                                                                \
  F(py_object *, PyImport_ImportModule, (const char *name))                    \
  F(py_object *, PyImport_GetModuleDict, (void))                               \
  F(py_object *, PyModule_New, (const char *name))                             \
  F(py_object *, PyModule_GetDict, (py_object * module))                       \
  F(py_object *, PyCFunction_NewEx,                                            \
    (py_method_def * method, py_object * self, py_object * module))            \
  F(py_object *, PySys_GetObject, (const char *name))                          \
  /* errors */                                                                 \
  F(py_object *, PyErr_Occurred, (void))                                       \
  F(void, PyErr_Clear, (void))                                                 \
  F(py_object *, PyErr_NoMemory, (void))                                       \
  F(void, PyErr_Fetch,                                                         \
    (py_object * *type, py_object * *value, py_object * *tb))                  \
  F(void, PyErr_NormalizeException,                                            \
    (py_object * *type, py_object * *value, py_object * *tb))                  \
  F(void, PyErr_Restore,                                                       \
    (py_object * type, py_object * value, py_object * tb))                     \
  F(int, PyErr_GivenExceptionMatches, (py_object * error, py_object * type))   \
  F(int, PyException_SetTraceback, (py_object * error, py_object * tb))        \
  F(void, PyErr_SetString, (py_object * type, const char *message))            \
  F(void, PyErr_SetObject, (py_object * type, py_object * value))              \
  F(void *, PyLong_AsVoidPtr, (py_object * value))

/* The table; every member is set once krait_python_open returned NULL. */
struct krait_python {
#define KRAIT_MEMBER(result, name, parameters) result(*name) parameters;
  KRAIT_PYTHON_FUNCTIONS(KRAIT_MEMBER)
#undef KRAIT_MEMBER
  /* The attached thread state of this thread, NULL when there is none. */
  py_thread_state *(*current_state)(void);
  py_object *none; /* borrowed: None */
  /* borrowed: where libpython keeps its exception classes */
  py_object **type_error, **runtime_error;
};

extern struct krait_python py;

/*
 * Opens the shared library at path and fills the table. Returns NULL, or what
 * is wrong: allocated with malloc, freed by the caller. The library is never
 * closed. path: in, borrowed.
 */
char *krait_python_open(const char *path);

#endif
