from fastmirror.proxy.context cimport ProxyContext, RouteAction
from fastmirror.timers cimport Timed
from fastmirror.upstream.connection cimport ResponseHandler


# What an exchange asks of the client's connection.
cdef class Client(Timed):
    cdef ProxyContext context
    cdef double idle_timeout            # seconds without a byte, either way
    cdef RouteAction unmatched(self)
    cdef bint leaves(self) except -1
    cdef int send(self, bytes data) except -1
    cdef int send_later(self, bytes data) except -1
    cdef int flush(self) except -1
    cdef bint take_back(self) except -1
    cdef int pause_reading(self) except -1
    cdef int resume_reading(self) except -1
    cdef int exchange_done(self, ResponseHandler exchange, bint keep) except -1
    cdef int reset(self) except -1
    cdef int become_tunnel(self) except -1
    cdef int upstream_closed(self) except -1
