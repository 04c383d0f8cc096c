from fastmirror.rules.request cimport KeyReader, Request
from fastmirror.upstream.pool cimport Pool


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
    cdef KeyReader key
    cdef long next                      # round robin
    cdef long total

    cdef Member pick(self, Request request)
    cdef Member other(self, Pool than)
    cdef Member _by_weight(self)
    cdef Member _least_loaded(self)
    cdef Member _random(self)
    cdef Member _by_key(self, bytes key)


cdef Member member_at(list members, Py_ssize_t index)
cdef long member_weight(Member member) except -1
