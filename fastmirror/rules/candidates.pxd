cimport cython

from fastmirror.rules.entry cimport RouteEntry
from fastmirror.rules.index cimport Index
from fastmirror.rules.request cimport Request


cdef class RouteList:
    cdef readonly list routes           # [RouteEntry] in order
    cdef Index index                    # None: they are few


cdef class Candidates:
    cdef list parts                     # [RouteList]
    cdef list few                       # [RouteEntry] of all parts; None: they are many

    cpdef list lists(self, Request request)

    @cython.locals(routes=list, lists=list, entry=RouteEntry)
    cdef RouteEntry find(self, Request request)


cdef int give(RouteList part, Request request, list lists) except -1


@cython.locals(
    count=Py_ssize_t, number=Py_ssize_t, heap=list, at=list, routes=list, entry=RouteEntry,
    last=RouteEntry)
cdef RouteEntry first_of_all(list lists, Request request)


@cython.locals(entry=RouteEntry, routes=list)
cdef Py_ssize_t place(list lists, Py_ssize_t number, Py_ssize_t at) except -1
