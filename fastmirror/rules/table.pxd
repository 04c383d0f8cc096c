from fastmirror.rules.candidates cimport Candidates
from fastmirror.rules.entry cimport RouteEntry
from fastmirror.rules.request cimport Request


cdef class RouteTable:
    cdef dict exact                     # host -> RouteList
    cdef dict suffixes                  # ".suffix" -> RouteList
    cdef Candidates everything          # hosts: ["*"]
    cdef dict merged                    # host -> Candidates: its own and all wider ones
    cdef dict merged_suffixes           # ".suffix" -> the same
    cdef dict defaults                  # host -> RouteEntry of a service that no route names
    cdef dict default_suffixes
    cdef readonly list entries

    cdef Candidates _candidates(self, bytes host)
    cpdef RouteEntry find(self, Request request)
