cimport cython

from fastmirror.rules.request cimport KeyReader, Request
from fastmirror.upstream.pool cimport Pool

# Constants that are C integers.
cdef int ROUND_ROBIN, LEAST_REQUEST, RANDOM, HASH


cdef class Member:
    cdef readonly Pool pool
    cdef readonly bytes name            # Host for `host: target`
    cdef readonly long weight
    cdef long credit                    # round robin by weight


cdef class Cluster:
    cdef readonly str name
    cdef readonly list members          # of Member: every address of every endpoint
    cdef readonly bint weighted
    cdef int balance
    cdef readonly KeyReader key         # of HASH; else None
    cdef long next                      # round robin
    cdef long total

    @cython.locals(count=Py_ssize_t)
    cdef Member pick(self, Request request)
    cdef Member other(self, list tried)
    cdef Member _by_weight(self)
    cdef Member _least_loaded(self)
    cdef Member _random(self)
    cdef Member _by_key(self, bytes key)


cdef Member member_at(list members, Py_ssize_t index)
cdef long member_weight(Member member) except -1
