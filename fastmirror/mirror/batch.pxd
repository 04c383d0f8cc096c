cimport cython

from fastmirror._core cimport now
from fastmirror.mirror.copy cimport Copy, SharedConnection
from fastmirror.timers cimport Wheel
from fastmirror.upstream.connection cimport UpstreamConnection
from fastmirror.upstream.pool cimport Pool, is_open

# Constants that are C integers here.
cdef int PROTOCOL
cdef double HOLD_OFF


cdef class Batch(SharedConnection):
    cdef Pool pool
    cdef UpstreamConnection connection  # None: given back, or closed
    cdef Wheel wheel
    cdef double timeout
    cdef list copies                    # of Copy
    cdef Py_ssize_t turn                # whose answer is read, or comes next

    cdef Py_ssize_t add(self, Copy copy) except -1

    @cython.locals(count=Py_ssize_t, connection=UpstreamConnection)
    cdef int dispatch(self) except -1

    @cython.locals(index=Py_ssize_t)
    cdef int left(self) except -1
    cdef int _cut(self) except -1
    cdef int _release(self, bint reusable) except -1

    @cython.locals(rest=list)
    cdef int _send_rest(self) except -1


cdef Copy copy_at(list copies, Py_ssize_t index)
cdef bint is_connecting(Copy copy) except -1
cdef bytes head_of(Copy copy)
cdef int share(Copy copy, Batch batch, UpstreamConnection connection) except -1
cdef int reconnect(Copy copy) except -1
cdef int send_again(Copy copy) except -1
