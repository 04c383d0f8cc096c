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


cdef class RouteTable:
    cdef dict exact                     # host -> [RouteEntry] in order
    cdef dict suffixes                  # ".suffix" -> [RouteEntry]
    cdef list everything                # hosts: ["*"]
    cdef dict merged                    # host -> what it and all wider ones hold
    cdef dict merged_suffixes           # ".suffix" -> the same
    cdef dict defaults                  # host -> RouteEntry of a service that no route names
    cdef dict default_suffixes
    cdef readonly list entries

    cdef list _candidates(self, bytes host)
    cpdef RouteEntry find(self, Request request)


cdef bint block_holds(MatchBlock block, Request request) except -1
cdef bint entry_holds(RouteEntry entry, Request request) except -1
