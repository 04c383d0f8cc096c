cimport cython

from fastmirror.rules.conditions cimport MatchBlock, header_value
from fastmirror.rules.request cimport Request


cdef class Bucket:
    cdef readonly bytes text            # the key
    cdef readonly Bucket parent         # of the longest other prefix that the key begins with
    cdef list routes                    # [RouteEntry] in order
    cdef bytes header                   # that the others want an exact value of
    cdef dict by_value                  # value -> [RouteEntry] in order; None: there are none

    @cython.locals(value=bytes)
    cdef int give(self, Request request, list lists) except -1


cdef class Index:
    cdef dict exact                     # path -> Bucket
    cdef list texts                     # the prefixes, sorted
    cdef list prefixes                  # a Bucket of each

    @cython.locals(bucket=Bucket)
    cdef int give(self, Request request, list lists) except -1

    @cython.locals(at=Py_ssize_t, bucket=Bucket, same=Py_ssize_t)
    cdef Bucket _longest(self, bytes path)


@cython.locals(size=Py_ssize_t, at=Py_ssize_t)
cdef Py_ssize_t shared(bytes one, bytes other) except -1
