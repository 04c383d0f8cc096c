from fastmirror._head cimport Fields
from fastmirror.rules.conditions cimport Condition


cdef class CorsPolicy:
    cdef list origins           # of Condition
    cdef bint credentials
    cdef bytes methods          # joined by commas; empty: the field is not sent
    cdef bytes headers
    cdef bytes exposed
    cdef bytes max_age          # None: the field is not sent

    cpdef bytes allowed(self, Fields fields)
    cpdef bytes preflight(self, bytes method, Fields fields, bytes origin)
    cpdef Fields apply(self, Fields fields, bytes origin)


cdef bint origin_is(Condition condition, bytes origin) except -1
