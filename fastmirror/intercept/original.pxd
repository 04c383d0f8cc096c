from fastmirror._sockets cimport destination


cdef class Kernel:
    cdef readonly bint transparent
    cdef readonly object ports          # frozenset of int
    cdef readonly object taken
