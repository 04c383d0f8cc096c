cimport cython

from fastmirror._core cimport now
from fastmirror._head cimport Fields
from fastmirror._outlet cimport Outlet
from fastmirror._sockets cimport peer_ip
from fastmirror.proxy.context cimport ProxyContext, RouteAction
from fastmirror.proxy.exchange cimport Exchange
from fastmirror.proxy.reading cimport RequestReader
from fastmirror.upstream.connection cimport ResponseHandler

# An imported constant that is a C integer here.
cdef int NO_BODY


cdef class Downstream(RequestReader):
    cdef object taken                   # who may have it instead of us; None: nobody
    cdef object transport
    cdef Outlet outlet
    cdef readonly double since
    cdef bint passing                   # it is to be relayed, once what came before is answered
    cdef long long unsent               # when it was last looked at, in lingering
    # The line of exchanges: the one that is served, and those that wait.
    cdef Exchange current
    cdef object waiting                 # deque of Exchange; None: none ever waited
    # Why reading is paused, beside the line.
    cdef bint paused_by_upstream
    cdef bint reading_paused
    cdef bint writing_paused
    cdef bint half_closed

    cdef int _switch_reading(self) except -1

    @cython.locals(exchange=Exchange)
    cdef int _refuse(self, int status, str flags, str text) except -1
    cdef int _next(self) except -1

    @cython.locals(timeout=double)
    cdef int _read_on(self) except -1

    @cython.locals(more=bint, closing=bint)
    cdef int _linger(self) except -1
    cdef int _give_up(self) except -1
    cdef int _close(self) except -1


cdef Exchange as_exchange(object item)
