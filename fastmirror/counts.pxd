from fastmirror._counters cimport Counters


cdef class RouteCounts:
    cdef Counters counters
    cdef Py_ssize_t codes
    cdef Py_ssize_t durations

    cdef int request(self, int status, double seconds) except -1
    cdef int retried(self) except -1


cdef class ServiceCounts:
    cdef Counters counters
    cdef Py_ssize_t base

    cdef int ejected(self) except -1
    cdef int overflowed(self) except -1


cdef class MirrorCounts:
    cdef Counters counters
    # The slots, computed once: a C addition per count.
    cdef Py_ssize_t completed_at
    cdef Py_ssize_t failed_at
    cdef Py_ssize_t sent_at
    cdef Py_ssize_t dropped_at
    cdef Py_ssize_t not_sampled_at
    cdef Py_ssize_t buffered_at
    cdef Py_ssize_t durations

    cdef int not_sampled(self) except -1
    cdef int dropped(self, int reason) except -1
    cdef int sent(self) except -1
    cdef int completed(self, int status, double seconds) except -1
    cdef int failed(self, int kind) except -1
    cdef int buffered(self, long long change) except -1


cdef class WorkerCounts:
    cdef readonly Counters counters

    cpdef int connection(self, int side, int change) except -1
    cpdef int tunnel(self, int kind) except -1
    cpdef int connection_refused(self) except -1
    cpdef int access_lines_lost(self) except -1
