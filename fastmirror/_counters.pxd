from libc.stdint cimport uint64_t


cdef enum:
    BUCKETS = 16    # of a duration histogram, +Inf included


cdef class Counters:
    cdef uint64_t* slots
    cdef Py_ssize_t capacity
    cdef object owner

    cpdef int add(self, Py_ssize_t slot, long long amount) except -1
    cpdef int put(self, Py_ssize_t slot, uint64_t value) except -1
    cpdef uint64_t get(self, Py_ssize_t slot) except? 0
    cpdef int observe(self, Py_ssize_t slot, double seconds) except -1
