from fastmirror._core cimport random64
from fastmirror.timers cimport Timed, Wheel


cdef class RetryPolicy:
    cdef readonly long attempts         # beside the first
    cdef readonly double per_try        # seconds; 0: none
    cdef readonly bint on_connect
    cdef readonly bint on_reset
    cdef readonly frozenset statuses
    cdef readonly bint same_endpoint    # where there is no other
    cdef readonly double backoff        # seconds
    cdef readonly long long max_body
    cdef readonly bint replays          # what was sent may be sent again

    cdef bint wanted(self, int status) except -1
    cdef double wait(self, long attempts) except -1


cdef class Attempts(Timed):
    cdef object exchange                # None: it is over
    cdef readonly RetryPolicy policy
    cdef readonly list kept             # of the body; None: nothing is, or no more
    cdef long long left                 # that may still be kept
    cdef readonly bint whole            # all of the body so far is kept, or there is none
    cdef bint started

    cdef int keep(self, bytes data) except -1
    cdef int start(self, Wheel wheel, double timeout) except -1
    cdef int stop(self) except -1
