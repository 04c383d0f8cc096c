cimport cython

from fastmirror._core cimport now
from fastmirror._framing cimport Chunks, Head
from fastmirror._head cimport Fields, is_plain_target, part
from fastmirror.http1.framing cimport request_body
from fastmirror.http1.heads cimport ParsedHead, parse_request
from fastmirror.proxy.client cimport Client
from fastmirror.proxy.context cimport ProxyContext
from fastmirror.proxy.exchange cimport Exchange
from fastmirror.rules.request cimport Request

# Imported constants that are C integers here.
cdef int CHUNKED, INVALID, LENGTH, NO_BODY


cdef class RequestReader(Client):
    cdef public bytes source_ip         # empty: not known
    cdef public object captured         # of an intercepted connection; None: it was made to us
    cdef list raw                       # its head that comes in, and what is behind it; or None
    # The request whose head or body is coming in.
    cdef Head head                      # one that is not plain or not complete; else None
    cdef Exchange receiving             # whose body is coming in
    cdef long long body_left            # of a LENGTH
    cdef Chunks chunks                  # of a CHUNKED
    cdef bint refused                   # nothing more is read as requests
    cdef bint upgrading                 # the request taken last asks for another protocol
    cdef bint last                      # the connection closes with the request taken last
    cdef list unread                    # bytes not yet parsed; None: nothing
    cdef bint paused_by_line            # what comes in has to wait
    cdef bint tunnel                    # what comes in is no requests any more
    cdef bint lingering                 # all is answered; what comes is thrown away
    cdef bytes raw_host                 # of the request before; most are the same
    cdef bytes host                     # its name, as routes are compared
    cdef int port

    cdef int _read_for(self, ProxyContext context) except -1
    cdef int _take(self, Exchange exchange) except -1
    cdef int _refuse(self, int status, str flags, str text) except -1

    @cython.locals(at=Py_ssize_t, size=Py_ssize_t, timeout=double, left=double)
    cdef int _feed(self, bytes data) except -1

    @cython.locals(at=Py_ssize_t, size=Py_ssize_t)
    cdef int _take_in(self, bytes data) except -1

    @cython.locals(head=Head, size=Py_ssize_t, fields=Fields, end=Py_ssize_t)
    cdef Py_ssize_t _read_head(self, bytes data, Py_ssize_t at) except -1

    @cython.locals(fields=Fields, parsed=ParsedHead)
    cdef int _parse(self, bytes head) except -1

    @cython.locals(
        context=ProxyContext, body=int, host=bytes, upgrade=bytes, request=Request,
        exchange=Exchange, asked=bytes, passed=bint)
    cdef int _requested(
        self, bytes method, bytes target, Fields fields, bint http10, bint plain) except -1

    @cython.locals(left=Py_ssize_t)
    cdef Py_ssize_t _counted(self, bytes data, Py_ssize_t at) except -1

    @cython.locals(chunks=Chunks, receiving=Exchange)
    cdef Py_ssize_t _chunked(self, bytes data, Py_ssize_t at) except -1
    cdef int _keep_raw(self, bytes data, Py_ssize_t at) except -1
    cdef int _set_aside(self, bytes data) except -1
    cdef int _complete(self) except -1
