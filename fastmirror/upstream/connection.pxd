cimport cython

from fastmirror._core cimport now
from fastmirror._framing cimport Chunks, Head
from fastmirror._head cimport Fields, part
from fastmirror._outlet cimport Outlet
from fastmirror.http1.framing cimport response_body
from fastmirror.http1.heads cimport ParsedHead, parse_response
from fastmirror.timers cimport Timed, Wheel

# Constants that are C integers here.
cdef long MAX_HEAD, MAX_INTERIM
cdef int CHUNKED, INVALID, LENGTH, NO_BODY, UNTIL_CLOSE


# What a connection tells whoever sent the request. One of response_end and failed is the last.
cdef class ResponseHandler:
    cdef int connected(self, UpstreamConnection connection) except -1
    cdef int connect_failed(self, str reason) except -1
    cdef int refused(self, str reason) except -1
    cdef int informational(self, UpstreamConnection connection) except -1
    cdef int response_head(self, UpstreamConnection connection) except -1
    cdef int response_data(self, bytes data) except -1
    cdef int response_end(self, UpstreamConnection connection) except -1
    cdef int switched(self, UpstreamConnection connection, bytes rest) except -1
    cdef int failed(self, UpstreamConnection connection, int kind, str reason) except -1
    cdef int received(self) except -1
    cdef int write_paused(self, bint paused) except -1


cdef class ConnectionOwner:
    cdef int receive_buffer             # bytes; 0: as the system sees fit

    cdef int opened(self) except -1
    cdef int lost(self, UpstreamConnection connection) except -1


cdef class UpstreamConnection(Timed):
    cdef ConnectionOwner owner
    cdef Wheel wheel
    cdef readonly object transport
    cdef readonly double since          # when it was made; 0: not yet
    cdef Outlet outlet
    cdef ResponseHandler handler        # None: idle
    # The exchange under way.
    cdef bint to_head                   # the request was HEAD
    cdef readonly bint started          # a byte of the response has come
    cdef readonly int status
    cdef readonly bytes reason
    cdef readonly Fields fields         # of the head
    cdef readonly Fields trailers       # None: there are none
    cdef readonly int body              # framing.NO_BODY and so on
    cdef Head head                      # one that is not plain or not complete; else None
    cdef long long body_left            # of a LENGTH
    cdef Chunks chunks                  # of a CHUNKED
    cdef bint headed                    # the final head is complete
    cdef bint ended                     # the response is complete
    cdef bint reusable
    cdef readonly long long wire        # bytes of the response, framing included
    cdef long long interim              # bytes of 1xx heads
    cdef readonly long long exchanges   # begun on this connection
    cdef long behind                    # answers that are to come after this one
    cdef bint reading_paused
    cdef bint tunnel
    cdef readonly bint writing_paused

    cdef int send(
        self, ResponseHandler handler, bytes head, bint to_head, bint more) except -1
    cdef int send_together(
        self, ResponseHandler handler, bytes heads, long count) except -1
    cdef int expect(self, ResponseHandler handler) except -1
    cdef int begin_tunnel(self, ResponseHandler handler) except -1
    cdef int flush(self) except -1
    cdef int write(self, bytes data) except -1
    cdef Py_ssize_t unsent(self) except -1
    cdef int pause_reading(self) except -1
    cdef int resume_reading(self) except -1
    cdef int close(self) except -1

    @cython.locals(
        at=Py_ssize_t, size=Py_ssize_t, handler=ResponseHandler, current=ResponseHandler)
    cpdef object data_received(self, bytes data)

    @cython.locals(head=Head, end=Py_ssize_t, text=bytes, parsed=ParsedHead)
    cdef Py_ssize_t _read_head(
        self, ResponseHandler handler, bytes data, Py_ssize_t at) except -1

    @cython.locals(fields=Fields, end=Py_ssize_t, body=int)
    cdef Py_ssize_t _scanned(self, bytes data, Py_ssize_t at) except -1
    cdef Py_ssize_t _headed(self, ResponseHandler handler, Py_ssize_t at) except -1
    cdef Py_ssize_t _informed(
        self, ResponseHandler handler, bytes data, Py_ssize_t at, Py_ssize_t size) except -1

    @cython.locals(left=Py_ssize_t)
    cdef Py_ssize_t _counted(self, ResponseHandler handler, bytes data, Py_ssize_t at) except -1

    @cython.locals(chunks=Chunks)
    cdef Py_ssize_t _chunked(self, ResponseHandler handler, bytes data, Py_ssize_t at) except -1
    cdef Py_ssize_t _invalid(self, str what, Py_ssize_t end) except -1
    cdef int _finish(self) except -1
    cdef int _fail(self, int kind, str reason) except -1
