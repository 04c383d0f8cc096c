cimport cython

from fastmirror._head cimport Fields, part, position


cdef class Request:
    cdef readonly bytes method
    cdef readonly bytes target      # as it is forwarded: origin-form, or "*"
    cdef readonly bytes path        # its path alone
    cdef readonly bytes query       # without the question mark; None: there is none
    cdef readonly bytes host        # as routes are compared: lower case, no port, no trailing dot
    cdef readonly int port          # where the client wanted to go: Host's, else 80
    cdef readonly Fields fields
    cdef readonly bytes source_ip   # b"" where there is none (a Unix socket)

    @cython.locals(at=Py_ssize_t)
    cdef int set_up(
        self, bytes method, bytes target, bytes host, int port, Fields fields,
        bytes source_ip) except -1

    cdef bytes cookie(self, bytes name)
    cdef bytes query_value(self, bytes name)


cdef class KeyReader:
    cdef readonly int source
    cdef bytes name

    cpdef bytes read(self, Request request)
