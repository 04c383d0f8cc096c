cimport cython

from fastmirror.counts cimport ServiceCounts
from fastmirror.timers cimport Timed, Wheel


cdef class Health:
    cdef OutlierDetector detector
    cdef readonly str address
    # In a row.
    cdef long errors                    # answers of 500 to 599
    cdef long gateway_errors            # 502, 503 and 504
    cdef long local_failures            # no connection, reset, timeout; where they count apart
    cdef readonly bint ejected
    cdef readonly long ejections        # the multiplier of its time
    cdef double ejected_at

    cpdef int answered(self, int status) except -1
    cpdef int failed(self, int status) except -1


cdef class OutlierDetector(Timed):
    cdef str cluster
    cdef Wheel wheel
    cdef ServiceCounts counts
    cdef object changed
    # 0: does not count.
    cdef long max_errors
    cdef long max_gateway_errors
    cdef long max_local_failures
    cdef bint split
    cdef double interval
    cdef double base_time
    cdef long max_percent
    cdef readonly long min_health_percent
    cdef dict healths                   # address -> Health
    cdef readonly long ejected

    @cython.locals(health=Health)
    cpdef Health health(self, str address)
    cdef int suspect(self, Health health, str why) except -1
    cdef int bring_back(self, Health health) except -1
    cdef bint tend(self, Health health, double time) except -1
