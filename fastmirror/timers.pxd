from fastmirror._core cimport now


cdef class Timed:
    cdef double deadline            # when expired() is due; 0: never
    cdef long long looked_at        # the tick at which the wheel looks next; 0: not in the wheel

    cdef int expired(self) except -1


cdef class Wheel:
    cdef readonly object loop
    cdef dict buckets               # tick -> [Timed]
    cdef object timer
    cdef long long timer_tick

    cdef int arm(self, Timed timed, double seconds) except -1
    cdef int _look_at(self, Timed timed, long long tick, double time) except -1
    cdef int _place(self, Timed timed, long long tick) except -1
