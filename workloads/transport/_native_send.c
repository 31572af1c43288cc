/* Requests that are due at one instant, sent one after the other, each stamped as it leaves. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

PyObject *send_all(PyObject *module, PyObject *arguments);
double now(void);

/* Keep what a send came to unless it took all: how much it took, or -errno. */
static int keep_short(PyObject *shorts, Py_ssize_t index, Py_ssize_t sent, Py_ssize_t size)
{
    if (sent == size)
        return 0;
    PyObject *kept = Py_BuildValue("(nn)", index, sent < 0 ? (Py_ssize_t)-errno : sent);
    int failed = kept == NULL || PyList_Append(shorts, kept);
    Py_XDECREF(kept);
    return failed ? -1 : 0;
}

/* A number of a file's descriptor, or -1 with the exception set. */
static int descriptor(PyObject *number)
{
    long fd = PyLong_AsLong(number);
    if (0 <= fd && fd <= INT_MAX)
        return (int)fd;
    if (!PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "a socket's number is 0 or more");
    return -1;
}

static int send_one(PyObject *fds, PyObject *payloads, Py_ssize_t index, PyObject *stamps, PyObject *shorts)
{
    int fd = descriptor(PyList_GetItem(fds, index));
    PyObject *stamp = fd < 0 ? NULL : PyFloat_FromDouble(now());
    int failed = stamp == NULL || PyList_Append(stamps, stamp);
    Py_XDECREF(stamp);
    /* An object that was asked for its number may have changed the lists: no index is sure. */
    PyObject *payload = failed ? NULL : PyList_GetItem(payloads, index);
    char *bytes;
    Py_ssize_t size;
    if (payload == NULL || PyBytes_AsStringAndSize(payload, &bytes, &size))
        return -1;
    return keep_short(shorts, index, send(fd, bytes, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL), size);
}

/* After an exception some may have been sent: it is one of memory or of the caller's types. */
PyObject *send_all(PyObject *module, PyObject *arguments)
{
    PyObject *fds, *payloads;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "O!O!", &PyList_Type, &fds, &PyList_Type, &payloads))
        return NULL;
    if (PyList_Size(fds) != PyList_Size(payloads))
        return PyErr_SetString(PyExc_ValueError, "as many sockets as payloads are sent"), NULL;
    PyObject *stamps = PyList_New(0), *shorts = PyList_New(0);
    int failed = stamps == NULL || shorts == NULL;
    for (Py_ssize_t index = 0; !failed && index < PyList_Size(fds); index++)
        failed = send_one(fds, payloads, index, stamps, shorts);
    PyObject *both = failed ? NULL : PyTuple_Pack(2, stamps, shorts);
    Py_XDECREF(stamps);
    Py_XDECREF(shorts);
    return both;
}
