from fastmirror.rules.conditions cimport MatchBlock
from fastmirror.rules.request cimport Request


cdef class RouteEntry:
    cdef readonly long index            # its place in the document
    cdef readonly str name
    cdef readonly list all_blocks       # [MatchBlock]
    cdef readonly list blocks           # the same; empty: every request
    cdef public object action           # whoever serves the route puts it here

    cpdef MatchBlock matched(self, Request request)
    cdef bint holds(self, Request request) except -1


cdef bint block_holds(MatchBlock block, Request request) except -1
