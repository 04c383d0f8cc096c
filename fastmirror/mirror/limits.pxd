from fastmirror._core cimport now


cdef class CopyQueue:
    cdef readonly long max_copies
    cdef readonly long long max_bytes
    cdef readonly long long size
    cdef object copies

    cdef bint has_room(self) except -1
    cdef bint has_room_for(self, long long size) except -1
    cdef int push(self, object copy) except -1
    cdef object pop(self)
    cdef object first(self)
    cdef int remove(self, object copy) except -1


cdef class Breaker:
    cdef long threshold                 # 0: never opens
    cdef double open_time
    cdef long failures
    cdef double open_until
    cdef bint probing

    cdef bint refuses(self) except -1
    cdef bint is_open(self) except -1
    cdef int inconclusive(self) except -1
    cdef int succeeded(self) except -1
    cdef int failed(self) except -1


cdef class RateLimit:
    cdef double rate
    cdef double burst
    cdef double tokens
    cdef double at

    cdef bint has(self) except -1
    cdef int spend(self) except -1
    cdef bint take(self) except -1
