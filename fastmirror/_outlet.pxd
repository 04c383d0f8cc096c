cdef class Outlet:
    cdef object transport               # None: not open yet, or shut
    cdef int descriptor                 # -1: not to be written to
    cdef bint spilled                   # the transport was given bytes, and may still have some
    cdef list held                      # until flush(); None: none ever were

    cdef int limit_reading(self, int size) except -1
    cdef int open(self, object transport) except -1
    cdef int shut(self) except -1
    cdef int hold(self, bytes data) except -1
    cdef int write(self, bytes data) except -1
    cdef bint take_back(self) except -1
    cdef int flush(self) except -1
    cdef int finish(self) except -1
    cdef int _flush(self, int flags) except -1
    cdef Py_ssize_t unsent(self) except -1
    cdef bint _is_direct(self) except -1
    cdef int _send(self, const char* data, Py_ssize_t size, bytes whole, int flags) except -1
