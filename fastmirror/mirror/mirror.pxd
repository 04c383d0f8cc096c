cimport cython

from fastmirror._core cimport RequestHead, Sampler, now
from fastmirror.mirror.batch cimport Batch
from fastmirror.mirror.copy cimport Copy, CopyOwner
from fastmirror.mirror.limits cimport Breaker, RateLimit
from fastmirror.rules.request cimport KeyReader, Request
from fastmirror.upstream.cluster cimport Cluster
from fastmirror.upstream.connection cimport UpstreamConnection
from fastmirror.upstream.pool cimport Pool

# Constants that are C integers here.
cdef int KEEP, TARGET, SUFFIX, LITERAL
cdef int HEALTH_BAD, HEALTH_GOOD, STARTS
cdef double RETRY
cdef int BODY_TOO_LARGE, BREAKER, BYTES_FULL, LOOP, NO_ENDPOINT, OFF, OVERLOAD, QUEUE_FULL, RATE
cdef int UNSAFE_METHOD, UPGRADE


cdef class Mirror(CopyOwner):
    cdef readonly str route
    cdef readonly object spec
    cdef public Cluster cluster
    # Which requests.
    cdef Sampler sampler
    cdef KeyReader key
    cdef int missing
    cdef frozenset methods              # None: all
    cdef RateLimit rate                 # None: no limit
    # What the copy looks like.
    cdef bytes marker
    cdef int host_policy
    cdef bytes host_text
    cdef bytes last_host                # of the request before; most are the same
    cdef bytes last_copy_host
    # How much it may cost.
    cdef long max_in_flight
    cdef readonly long in_flight
    cdef bint resuming                  # a call of resume() is due
    cdef long pipeline                  # copies that may share a connection; 1: none do
    cdef dict batches                   # Pool -> Batch: what this turn of the loop has made
    cdef Breaker breaker

    cdef bint _sampled(self, Request request) except -1
    cdef int _refusal(self, Request request, long long length, bint upgrade) except -2
    cdef bint _sheds(self, Request request) except -1
    cdef bytes _copy_host(self, bytes host, bytes target)

    @cython.locals(copy=Copy, reason=int)
    cdef Copy open(
        self, Request request, RequestHead head, bytes host, long long length, bint upgrade)
    cdef int refuse(self, Request request, int reason) except -1

    @cython.locals(size=Py_ssize_t)
    cdef int admit(self, Copy copy) except -1
    cdef int ended(self, Copy copy, int health) except -1
    cdef bint _may_start(self, Copy copy) except -1
    cdef int _start(self, Copy copy) except -1
    cdef int _resume_later(self, double delay) except -1

    @cython.locals(pool=Pool, batch=Batch, connection=UpstreamConnection)
    cdef bint _join(self, Copy copy) except -1

    @cython.locals(started=int, copy=Copy)
    cdef int _send_waiting(self) except -1


cdef int drop_copy(Copy copy, int reason) except -1
cdef int abandon_copy(Copy copy, int kind) except -1
cdef Copy as_copy(object item)
cdef Batch as_batch(object item)
cdef int dispatch_batch(Batch batch) except -1
