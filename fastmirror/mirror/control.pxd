from fastmirror._counters cimport Counters


cdef class MirrorControl:
    cdef readonly long long limit       # bytes, all copies of this worker together
    cdef readonly long long used
    cdef readonly double share          # of the copies that are admitted
    cdef readonly bint shedding         # whether that is less than all of them
    cdef Counters switch                # the region that every worker reads
    cdef Py_ssize_t switch_at

    cdef bint off(self) except -1
    cdef bint fits(self, long long size) except -1
    cdef int charge(self, long long change) except -1
