cimport cython

from fastmirror._core cimport chunk_head, new_request_id, write_request, write_trailers
from fastmirror._head cimport Fields
from fastmirror.mirror.copy cimport Copy
from fastmirror.mirror.tee cimport abort_copies, end_copies, feed_copies, mirror_at, refuse_copies
from fastmirror.proxy.attempts cimport Attempts
from fastmirror.proxy.context cimport ProxyContext, RouteAction, Target
from fastmirror.proxy.forwarding cimport Forwarding
from fastmirror.rules.entry cimport RouteEntry
from fastmirror.rules.request cimport Request

# Imported constants that are C integers here.
cdef int BODY_TOO_LARGE, NO_ENDPOINT, NOT_ROUTED, OVERFLOW
cdef int CHUNKED, NO_BODY


cdef class Exchange(Forwarding):
    cdef int begin(self) except -1

    @cython.locals(
        request=Request, entry=RouteEntry, action=RouteAction)
    cdef int _route(self) except -1
    cpdef object go_on(self, RouteEntry entry)

    @cython.locals(
        request=Request, target=Target, context=ProxyContext, fields=Fields, wanted=bytes,
        host=bytes, early=list, lines=bytes, forwarded=bint)
    cdef int _send_on(self, RouteAction action, RouteEntry entry) except -1

    @cython.locals(tries=Attempts)
    cdef int _keep_for_retries(self, list early) except -1
    cdef int _refuse_copies(self, list mirrors, int reason) except -1
    cdef int _answer_by_rule(self, RouteAction action, RouteEntry entry) except -1

    @cython.locals(index=Py_ssize_t, length="long long", copy=Copy)
    cdef int _open_copies(self, list mirrors, bytes early) except -1
    cdef int request_data(self, bytes data) except -1
    cdef int _feed(self, bytes data, Py_ssize_t size) except -1
    cdef int request_end(self) except -1
    cdef int client_gone(self) except -1
    cdef int bad_body(self, str text) except -1
    cdef int client_paused(self, bint paused) except -1
    cdef int client_data(self, bytes data) except -1
    cdef int client_eof(self) except -1
    cdef int client_timed_out(self) except -1


cdef RouteAction action_of(object action)
