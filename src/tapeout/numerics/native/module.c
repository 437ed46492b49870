/* The Python module: each kernel as a function of integers, floats, None and buffers (their addresses are passed).
 *
 * A decode step of a small model is a hundred calls of a few microseconds, which ctypes would double. Shapes and types
 * are the business of fast.py, the only caller.
 */
#include <Python.h>

#include "kernels.h"

#define MAX_ARGUMENTS 24

typedef union { int64_t i; double d; void *p; } argument;
typedef void kernel(const argument *a);

static PyObject *call(kernel *function, Py_ssize_t expected, PyObject *const *objects, Py_ssize_t count) {
    argument a[MAX_ARGUMENTS];
    Py_buffer views[MAX_ARGUMENTS];
    int held = 0;
    if (count != expected) {
        PyErr_Format(PyExc_TypeError, "%zd arguments given for %zd", count, expected);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *o = objects[i];
        if (o == Py_None) a[i].p = NULL;
        else if (PyLong_Check(o)) a[i].i = PyLong_AsLongLong(o);
        else if (PyFloat_Check(o)) a[i].d = PyFloat_AsDouble(o);
        else if (PyObject_GetBuffer(o, &views[held], PyBUF_SIMPLE) == 0) a[i].p = views[held++].buf;
        if (PyErr_Occurred()) break;
    }
    if (!PyErr_Occurred()) {
        Py_BEGIN_ALLOW_THREADS
        function(a);
        Py_END_ALLOW_THREADS
    }
    while (held) PyBuffer_Release(&views[--held]);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

#define I(n) ((int)a[n].i)
#define L(n) (a[n].i)
#define F(n) ((float)a[n].d)
#define P(n) (a[n].p)
#define KERNEL(name, count, ...)                                                                   \
    static void run_##name(const argument *a) { tp_##name(__VA_ARGS__); }                          \
    static PyObject *call_##name(PyObject *self, PyObject *const *objects, Py_ssize_t given) {      \
        (void)self;                                                                                \
        return call(run_##name, count, objects, given);                                            \
    }
#define METHOD(name) {#name, (PyCFunction)(void (*)(void))call_##name, METH_FASTCALL, NULL}

KERNEL(set_threads, 1, I(0))
KERNEL(set_tables, 3, P(0), P(1), P(2))
KERNEL(map, 4, I(0), P(1), P(2), L(3))
KERNEL(quantise, 8, I(0), I(1), P(2), L(3), L(4), L(5), P(6), P(7))
KERNEL(append, 9, I(0), P(1), L(2), L(3), L(4), L(5), L(6), P(7), P(8))
KERNEL(matmul, 20, I(0), P(1), P(2), L(3), I(4), P(5), P(6), L(7), L(8), L(9), L(10), L(11), L(12), P(13), P(14), P(15),
       L(16), L(17), P(18), P(19))
KERNEL(rms_norm, 9, P(0), P(1), F(2), L(3), L(4), P(5), I(6), P(7), P(8))
KERNEL(rope, 8, P(0), P(1), P(2), L(3), L(4), L(5), L(6), I(7))
KERNEL(softmax, 4, P(0), L(1), L(2), P(3))
KERNEL(gate, 10, I(0), I(1), P(2), F(3), L(4), L(5), P(6), I(7), P(8), P(9))
KERNEL(combine, 8, P(0), P(1), P(2), P(3), L(4), L(5), L(6), P(7))
KERNEL(top_k, 5, P(0), L(1), L(2), L(3), P(4))
KERNEL(add, 4, P(0), P(1), L(2), P(3))
KERNEL(attention, 20, P(0), P(1), P(2), P(3), P(4), P(5), P(6), P(7), L(8), L(9), L(10), L(11), L(12), L(13), L(14), L(15),
       I(16), I(17), F(18), P(19))

static PyObject *set_level(PyObject *self, PyObject *level) {
    (void)self;
    return PyLong_FromLong(tp_set_level((int)PyLong_AsLong(level)));
}

static PyMethodDef methods[] = {
    METHOD(set_threads), METHOD(set_tables), METHOD(map), METHOD(quantise), METHOD(append), METHOD(matmul),
    METHOD(rms_norm), METHOD(rope), METHOD(softmax), METHOD(gate), METHOD(combine), METHOD(top_k), METHOD(add),
    METHOD(attention), {"set_level", set_level, METH_O, NULL}, {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Native kernels; see fast.py.", -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&definition); }
