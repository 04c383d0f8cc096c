cimport cython
from libc.stdint cimport uint64_t

from fastmirror.rules.request cimport KeyReader, Request
from fastmirror.upstream.limited cimport Limits
from fastmirror.upstream.outliers cimport Health, OutlierDetector
from fastmirror.upstream.pool cimport Pool
from fastmirror.upstream.sticky cimport StickyCookie
from fastmirror.upstream.tables cimport HashTable

# Constants that are C integers.
cdef int ROUND_ROBIN, LEAST_REQUEST, RANDOM, HASH


cdef class Member:
    cdef readonly Pool pool
    cdef readonly bytes name            # Host for `host: target`
    cdef readonly long weight
    cdef readonly bytes key             # what hashing knows it by
    cdef public Health health           # None: nobody looks whether it is well
    cdef long credit                    # round robin by weight

    cdef int answered(self, int status) except -1
    cdef int failed(self, int status) except -1


cdef class Cluster:
    cdef readonly str name
    cdef readonly list members          # of Member: every address of every endpoint
    cdef readonly list usable           # those that are not ejected; or all
    cdef readonly bint weighted
    cdef int balance
    cdef readonly KeyReader key         # of HASH; else None
    cdef readonly object hashing        # HashBalance
    cdef HashTable table                # of its members, by their index; None: by rendezvous
    cdef readonly StickyCookie sticky   # None: no answer sets a cookie
    cdef public OutlierDetector outliers    # None: none is ejected
    cdef readonly Limits limits         # None: there are none
    cdef long next                      # round robin
    cdef long total

    @cython.locals(count=Py_ssize_t)
    cdef Member pick(self, Request request, bytes made)
    cdef Member other(self, list tried)
    cdef Member _by_weight(self)
    cdef Member _least_loaded(self)
    cdef Member _random(self)

    @cython.locals(table=HashTable, at=Py_ssize_t)
    cdef Member _by_key(self, bytes key)

    @cython.locals(best=Member, member=Member, seed=uint64_t)
    cdef Member _by_rendezvous(self, bytes key)
    cdef bint retry_begins(self) except -1
    cdef int retry_ended(self) except -1


cdef Member member_at(list members, Py_ssize_t index)
cdef long member_weight(Member member) except -1
cdef bint member_is_well(Member member) except -1
cdef int forget_credit(Member member) except -1
