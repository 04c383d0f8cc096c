from fastmirror._head cimport Fields


cdef class Head:
    cdef bytearray taken
    cdef int empty_lines                # that may still come before it
    cdef Py_ssize_t line                # octets of the line so far
    cdef bint begun                     # a line that is not empty has
    cdef bint after_cr
    cdef readonly bint complete
    cdef readonly str wrong             # what, where something is

    cdef Py_ssize_t take(self, bytes data, Py_ssize_t at) except -2
    cdef Py_ssize_t size(self) except -1
    cdef bytes text(self)


cdef class Chunks:
    cdef int state
    cdef long long left                 # octets of the chunk's data to come
    cdef int digits                     # of its size
    cdef bint filled                    # an extension's name or value has an octet
    cdef Py_ssize_t cost                # octets beside the data, less what is free
    cdef Py_ssize_t max_trailers
    cdef bytearray section              # of trailers, so far
    # The piece of the body that was read last.
    cdef Py_ssize_t start
    cdef Py_ssize_t end
    cdef readonly bint complete
    cdef readonly Fields trailers       # None: there are none
    cdef readonly str wrong             # what, where something is
    cdef readonly bint too_large        # the trailer section is

    cdef Py_ssize_t next(self, bytes data, Py_ssize_t at) except -2
    cdef bint _extended(self, unsigned char octet) noexcept
    cdef Py_ssize_t _trailers(self, bytes data, Py_ssize_t at) except -2
    cdef Py_ssize_t _fail(self, str wrong) except -2
