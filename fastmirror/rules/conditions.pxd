from fastmirror._regex cimport Pattern
from fastmirror.rules.request cimport Request


cdef class Condition:
    cdef readonly int kind
    cdef readonly bytes text
    cdef readonly Pattern pattern       # of a REGEX; else None

    cdef bint holds(self, bytes value) except -1


cdef class MatchBlock:
    cdef readonly Condition path
    cdef readonly Condition method
    cdef readonly int port              # 0: every port
    cdef readonly list headers          # [(name in lower case, Condition)]
    cdef readonly list without          # the same: none of these may hold
    cdef readonly list query            # [(name, Condition)]

    cdef bint holds(self, Request request) except -1


cpdef bint condition_holds(Condition condition, bytes value) except -1
cpdef bytes header_value(Request request, bytes name)
cpdef bytes query_value(Request request, bytes name)
