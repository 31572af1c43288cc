/* What is done for every token and every request, compiled: else Python does the same.

   A Reader waits on an epoll, reads each ready socket once, stamps it and appends data, stamp and
   socket to the log. It comes back to Python for what is not one more plain read of an answer.
   send_all, in _native_send.c, sends what is due at one instant. */

#ifndef Py_LIMITED_API
#error "setup.py defines Py_LIMITED_API: one wheel serves every Python from 3.11 on"
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 512
#define READ_BYTES 65536
#define SHORTEST_SURE 7 /* a read this long cannot hide part of the last chunk's end */
#define FARTHEST_S 4e9 /* instants beyond it, a century from now, do not fit into nanoseconds */

enum { QUIET = -1, WOKEN = -2, FULL = -3 };

typedef struct {
    PyObject_HEAD
    int epoll, wake, timer, error, mask;
    int busy; /* a read is under way: it waits without the interpreter's lock */
    int found, next; /* events told by the kernel, and the first of them not yet dealt with */
    double alarm, waited_s;
    struct epoll_event events[EVENTS];
    char buffer[READ_BYTES];
} Reader;

typedef struct {
    PyObject *datas;
    char *fds, *stamps; /* of int and of double, anywhere in memory: the caller's may lie unaligned */
    Py_ssize_t count, limit;
} Log;

PyObject *send_all(PyObject *module, PyObject *arguments);
double now(void);

/* Exactly time.perf_counter(). */
double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)(t.tv_sec * 1000000000LL + t.tv_nsec) / 1e9;
}

static int append(Log *log, int fd, double stamp, const char *data, Py_ssize_t size)
{
    PyObject *bytes = PyBytes_FromStringAndSize(data, size);
    int failed = bytes == NULL || PyList_Append(log->datas, bytes);
    Py_XDECREF(bytes);
    if (failed)
        return -1;
    memcpy(log->fds + log->count * sizeof fd, &fd, sizeof fd);
    memcpy(log->stamps + log->count * sizeof stamp, &stamp, sizeof stamp);
    log->count++;
    return 0;
}

/* A head, an end, a close, a flood or a scrap: Python looks at it. */
static int noteworthy(const char *data, Py_ssize_t size)
{
    return size < SHORTEST_SURE || size == READ_BYTES || data[0] == 'H'
        || memcmp(data + size - 4, "\r\n\r\n", 4) == 0;
}

/* One timer for many waits: a time-out of its own would be set and taken back for every token. */
static int set_alarm(Reader *self, double instant)
{
    struct itimerspec spec = {{0, 0}, {0, 0}};
    long long nanoseconds = (long long)(instant * 1e9) + 1;
    spec.it_value.tv_sec = nanoseconds / 1000000000;
    spec.it_value.tv_nsec = nanoseconds % 1000000000;
    self->alarm = instant;
    return timerfd_settime(self->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

/* Take what has happened, or wait for it if `until` is not over; return -1 for a system's error. */
static int poll_events(Reader *self, double until)
{
    double begin = until > 0 ? now() : 0;
    self->next = self->found = 0;
    if (until <= begin) {
        self->found = epoll_wait(self->epoll, self->events, EVENTS, 0);
    } else {
        if (self->alarm != until && set_alarm(self, until))
            return -1;
        Py_BEGIN_ALLOW_THREADS
        self->found = epoll_wait(self->epoll, self->events, EVENTS, -1);
        Py_END_ALLOW_THREADS
        self->waited_s += now() - begin;
    }
    if (self->found >= 0)
        return 0;
    self->found = 0;
    return errno == EINTR ? 0 : -1;
}

/* Deal with the events at hand; return a socket that Python must see to, or QUIET, WOKEN, FULL. */
static int read_events(Reader *self, Log *log)
{
    int woken = 0;
    while (self->next < self->found) {
        struct epoll_event *event = &self->events[self->next];
        int fd = event->data.fd;
        if (fd == self->wake || fd == self->timer) {
            woken |= fd == self->wake;
            self->next++;
            continue;
        }
        if (log->count >= log->limit)
            return FULL;
        self->error = 0;
        self->mask = (int)event->events;
        if (event->events != EPOLLIN) {
            event->events = EPOLLIN; /* Python sees to the rest, and comes back for the reading */
            return fd;
        }
        self->next++;
        ssize_t size = recv(fd, self->buffer, READ_BYTES, MSG_DONTWAIT);
        if (size < 0) {
            if (errno == EAGAIN || errno == EINTR)
                continue;
            self->error = errno;
            return fd;
        }
        if (append(log, fd, now(), self->buffer, size))
            return FULL; /* with the exception set */
        if (noteworthy(self->buffer, size))
            return fd;
    }
    return woken ? WOKEN : QUIET;
}

static int read_until(Reader *self, Log *log, double until)
{
    int told, rest = self->next < self->found;
    for (;;) {
        if (!rest && poll_events(self, until))
            return PyErr_SetFromErrno(PyExc_OSError), QUIET;
        rest = 0;
        told = read_events(self, log);
        if (told != QUIET || PyErr_Occurred() || until <= 0 || now() >= until)
            return told;
        if (PyErr_CheckSignals())
            return QUIET;
    }
}

/* An instant that a timer can be set to; what is no number has passed. */
static double clamped(double instant)
{
    return instant > FARTHEST_S ? FARTHEST_S : instant > 0 ? instant : 0;
}

static int writable(PyObject *array, Py_buffer *view, Py_ssize_t item, Py_ssize_t limit)
{
    if (PyObject_GetBuffer(array, view, PyBUF_WRITABLE))
        return -1;
    if (0 <= limit && limit <= view->len / item) /* limit * item could overflow */
        return 0;
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_ValueError, "the log has fewer entries than its limit, or it is below 0");
    return -1;
}

/* Another thread, or a signal's handler, could begin a second read while one waits. */
static int is_busy(Reader *self)
{
    if (self->busy)
        PyErr_SetString(PyExc_RuntimeError, "the reader is reading already");
    return self->busy;
}

static PyObject *reader_read(Reader *self, PyObject *arguments)
{
    PyObject *fds, *stamps;
    Py_buffer fds_view, stamps_view;
    Log log;
    double until;
    if (!PyArg_ParseTuple(arguments, "O!OOnd", &PyList_Type, &log.datas, &fds, &stamps, &log.limit,
                          &until))
        return NULL;
    if (writable(fds, &fds_view, sizeof(int), log.limit))
        return NULL;
    if (writable(stamps, &stamps_view, sizeof(double), log.limit)) {
        PyBuffer_Release(&fds_view);
        return NULL;
    }
    log.fds = fds_view.buf;
    log.stamps = stamps_view.buf;
    log.count = PyList_Size(log.datas);
    int told = QUIET;
    if (!is_busy(self)) {
        self->busy = 1;
        told = read_until(self, &log, clamped(until));
        self->busy = 0;
    }
    PyBuffer_Release(&fds_view);
    PyBuffer_Release(&stamps_view);
    return PyErr_Occurred() ? NULL : PyLong_FromLong(told);
}

static PyObject *reader_forget(Reader *self, PyObject *nothing)
{
    (void)nothing;
    self->next = self->found = 0;
    Py_RETURN_NONE;
}

static PyObject *reader_new(PyTypeObject *type, PyObject *arguments, PyObject *names)
{
    Reader *self = (Reader *)PyType_GenericNew(type, arguments, names);
    if (self != NULL)
        self->epoll = self->wake = self->timer = -1; /* 0 is a file, and not ours */
    return (PyObject *)self;
}

/* A second time it may be given other files; its timer stays, which an epoll may know. */
static int reader_init(Reader *self, PyObject *arguments, PyObject *names)
{
    static char *known[] = {"epoll", "wake", NULL};
    int epoll, wake;
    if (is_busy(self) || !PyArg_ParseTupleAndKeywords(arguments, names, "ii", known, &epoll, &wake))
        return -1;
    if (self->timer < 0)
        self->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (self->timer < 0)
        return PyErr_SetFromErrno(PyExc_OSError), -1;
    self->epoll = epoll, self->wake = wake;
    self->next = self->found = self->error = self->mask = 0;
    return 0;
}

static PyObject *reader_close(Reader *self, PyObject *nothing)
{
    (void)nothing;
    if (is_busy(self))
        return NULL;
    if (self->timer >= 0)
        close(self->timer);
    self->timer = -1;
    self->alarm = 0; /* a timer made later is not set */
    Py_RETURN_NONE;
}

static void reader_dealloc(Reader *self)
{
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    Py_XDECREF(reader_close(self, NULL)); /* who reads holds a reference: it is not busy */
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMethodDef methods[] = {
    {"read", (PyCFunction)reader_read, METH_VARARGS, NULL},
    {"forget", (PyCFunction)reader_forget, METH_NOARGS, NULL},
    {"close", (PyCFunction)reader_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef attributes[] = {
    {"error", T_INT, offsetof(Reader, error), READONLY, NULL},
    {"mask", T_INT, offsetof(Reader, mask), READONLY, NULL},
    {"timer", T_INT, offsetof(Reader, timer), READONLY, NULL},
    {"waited_s", T_DOUBLE, offsetof(Reader, waited_s), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_new, reader_new},
    {Py_tp_init, reader_init},
    {Py_tp_dealloc, reader_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_members, attributes},
    {0, NULL},
};
static PyType_Spec spec = {"workloads.transport._native.Reader", sizeof(Reader), 0, Py_TPFLAGS_DEFAULT, slots};

static PyMethodDef functions[] = {{"send_all", send_all, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static int fill(PyObject *module)
{
    PyObject *type = PyType_FromSpec(&spec);
    int failed = type == NULL || PyModule_AddObjectRef(module, "Reader", type);
    Py_XDECREF(type);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, fill}, {0, NULL}};
static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", NULL, 0, functions, module_slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModuleDef_Init(&module);
}
