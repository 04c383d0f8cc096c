cimport cython

from fastmirror._core cimport now
from fastmirror._head cimport Fields, is_plain_target, part
from fastmirror._outlet cimport Outlet
from fastmirror.http1.framing cimport request_body
from fastmirror.proxy.exchange cimport Client, Exchange
from fastmirror.rules.request cimport Request

# Imported constants that are C integers here.
cdef int INVALID, NO_BODY


cdef class Downstream(Client):
    cdef object transport
    cdef Outlet outlet
    cdef object parser                  # None: no request has needed it yet
    cdef readonly bytes source_ip
    cdef readonly double since
    # The request whose head or body is coming in.
    cdef Fields fields
    cdef bytes url
    cdef long long body_left            # of a body whose head was scanned
    cdef Exchange receiving
    cdef Exchange latest                # whose head the parser took in this piece
    cdef bint in_head
    cdef bint head_timed
    cdef long long unframed             # bytes since the head's start, or the body's last
    cdef long long unsent               # when it was last looked at, in lingering
    cdef object rejection               # a RefusedError that a callback has raised
    cdef bint refused                   # nothing more is read as requests
    cdef bint last                      # the connection closes with the request taken last
    # The line of exchanges: the one that is served, those that wait, bytes not yet parsed.
    cdef Exchange current
    cdef object waiting                 # deque of Exchange; None: none ever waited
    cdef list unread                    # None: nothing
    # Why reading is paused.
    cdef bint paused_by_upstream
    cdef bint paused_by_line
    cdef bint reading_paused
    cdef bint writing_paused
    cdef bint tunnel
    cdef bint lingering                 # all is answered; what comes is thrown away
    cdef bint half_closed
    cdef bytes raw_host                 # of the request before; most are the same
    cdef bytes host

    @cython.locals(at=Py_ssize_t, size=Py_ssize_t)
    cdef int _feed(self, bytes data) except -1

    @cython.locals(at=Py_ssize_t, size=Py_ssize_t, end=Py_ssize_t, fields=Fields)
    cdef int _take_in(self, bytes data) except -1
    cdef int _set_aside(self, bytes data) except -1
    cdef int _scanned(self, Fields fields) except -1
    cdef int _body(self, bytes data) except -1
    cdef int _complete(self) except -1
    cdef int _parse(self, bytes data) except -1
    cdef int _switch_reading(self) except -1
    cdef int _take(self, Exchange exchange) except -1

    @cython.locals(exchange=Exchange)
    cdef int _refuse(self, int status, str flags, str text) except -1
    cdef int _next(self) except -1
    cdef int _read_on(self) except -1
    cdef int _linger(self) except -1
    cdef int _give_up(self) except -1
    cdef int _close(self) except -1

    @cython.locals(request=Request, exchange=Exchange)
    cdef Exchange _exchange(
        self, bytes method, bytes target, Fields fields, bint http10, bint plain)
    cdef Exchange _parsed(self)
    cdef int _upgraded(self, bytes rest) except -1


cdef Exchange as_exchange(object item)
