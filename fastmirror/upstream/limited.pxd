cimport cython

from fastmirror.counts cimport ServiceCounts
from fastmirror.upstream.connection cimport ResponseHandler, UpstreamConnection
from fastmirror.upstream.pool cimport Pool, close_connection, is_open, tell_connected

cdef int PASSED_MOST
cdef long NO_LIMIT


cdef class Waiter:
    cdef LimitedPool pool
    cdef ResponseHandler handler
    cdef double timeout                 # of connecting


cdef class Limits:
    cdef object __weakref__             # the registry knows those that something has
    cdef ServiceCounts counts
    cdef readonly long max_connections
    cdef readonly long max_pending
    cdef readonly long max_requests
    cdef readonly long max_retries
    cdef readonly long connections      # open, or being opened
    cdef readonly long pending          # requests that wait, or for which one is being opened
    cdef readonly long requests
    cdef readonly long retries
    cdef object line                    # OrderedDict: handler -> Waiter, the oldest first
    cdef list pools                     # of LimitedPool
    cdef int passed                     # how often the oldest had to let a later one go first

    cdef bint admits(self, Pool pool) except -1
    cdef int request_ended(self) except -1
    cdef bint retry_begins(self) except -1
    cdef int retry_ended(self) except -1
    cdef Waiter next_for(self, LimitedPool pool)
    cdef int make_room(self) except -1

    @cython.locals(waiter=Waiter)
    cdef int use_room(self) except -1


cdef class LimitedPool(Pool):
    cdef Limits limits
    cdef object line                    # OrderedDict: the waiters for this address
    cdef double connect_timeout         # 0: the caller's
    cdef long max_exchanges
    cdef double max_age
    cdef list socket_options            # of (level, option, value)

    cdef int start(self, Waiter waiter) except -1
    cdef bint _is_worn(self, UpstreamConnection connection) except -1


cdef Waiter first_of(object line)
cdef bint close_an_idle(LimitedPool pool) except -1
cpdef object refuse(ResponseHandler handler)
