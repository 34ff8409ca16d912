/* A vendored extension module in plain C: the sum of the bytes of its argument.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static PyObject *total(PyObject *self, PyObject *args) {
  const unsigned char *data;
  Py_ssize_t size;
  unsigned long sum = 0;
  (void)self;
  if (!PyArg_ParseTuple(args, "y#", &data, &size)) {
    return NULL;
  }
  for (Py_ssize_t i = 0; i < size; i++) {
    sum += data[i];
  }
  return PyLong_FromUnsignedLong(sum);
}

static PyMethodDef methods[] = {
    {"total", total, METH_VARARGS, "total(bytes) -> int"},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "fastsum", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_fastsum(void);
PyMODINIT_FUNC PyInit_fastsum(void) { return PyModule_Create(&module); }
