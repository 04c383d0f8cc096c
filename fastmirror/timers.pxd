cimport cython

from fastmirror._core cimport now


cdef class Timed:
    cdef double deadline            # when expired() is due; 0: never
    cdef long long looked_at        # the tick at which the wheel looks next; 0: not in the wheel
    cdef Py_ssize_t place           # in that tick's bucket

    cdef int expired(self) except -1


cdef class Wheel:
    cdef readonly object loop
    cdef dict buckets               # tick -> [Timed]
    cdef object timer
    cdef long long timer_tick
    cdef double tick, ahead

    @cython.locals(time=double)
    cdef int arm(self, Timed timed, double seconds) except -1
    cdef int forget(self, Timed timed) except -1
    cdef int _look_at(self, Timed timed, long long tick, double time) except -1

    @cython.locals(tick="long long", bucket=list)
    cdef int _place(self, Timed timed, double time) except -1

    @cython.locals(bucket=list, place=Py_ssize_t, last=Timed)
    cdef int _take_out(self, Timed timed) except -1
