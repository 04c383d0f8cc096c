from fastmirror.rules.request cimport Request


cdef class Condition:
    cdef readonly int kind
    cdef readonly bytes text
    cdef object pattern

    cdef bint holds(self, bytes value) except -1


cdef class MatchBlock:
    cdef readonly Condition path
    cdef Condition method
    cdef list headers           # [(name in lower case, Condition)]
    cdef list query             # [(name, Condition)]

    cdef bint holds(self, Request request) except -1


cdef bint condition_holds(Condition condition, bytes value) except -1
cdef bytes header_value(Request request, bytes name)
cdef bytes query_value(Request request, bytes name)
