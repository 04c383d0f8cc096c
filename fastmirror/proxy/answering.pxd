from fastmirror._core cimport RequestHead, now
from fastmirror._head cimport Fields
from fastmirror.mirror.copy cimport Copy
from fastmirror.mirror.tee cimport abort_copies, flush_copies
from fastmirror.proxy.attempts cimport Attempts
from fastmirror.proxy.client cimport Client
from fastmirror.proxy.context cimport RouteAction, Target
from fastmirror.rules.request cimport Request
from fastmirror.upstream.cluster cimport Cluster, Member
from fastmirror.upstream.connection cimport ResponseHandler, UpstreamConnection

# Imported constants that are C integers here.
cdef int NO_BODY


cdef class Answering(ResponseHandler):
    # The request.
    cdef readonly Client client
    cdef readonly bytes method
    cdef readonly Fields fields
    cdef readonly Request request       # None: it was refused before it could be routed
    cdef readonly bytes host            # as the client sent it
    cdef readonly bint http10
    cdef readonly int body              # framing.NO_BODY, LENGTH or CHUNKED
    cdef readonly bytes upgrade         # the protocol to change to; None: none
    cdef public Fields trailers
    cdef public bint keep_alive         # the client wants it
    cdef bint whole                     # all of it has come
    cdef bint begun
    cdef list waiting                   # of its body, until it is begun and connected; or None
    cdef readonly long long bytes_in
    # Where it goes.
    cdef readonly RouteAction action
    cdef readonly Member member
    cdef readonly Cluster cluster
    cdef readonly Target target                  # None: not routed yet
    cdef bint admitted                  # it counts among its cluster's limits
    cdef bint retrying                  # and among its cluster's retries
    cdef bytes cookie                   # the value that the answer sets; None: none
    cdef bytes sent_host                # as the primary gets it
    cdef bytes origin                   # of a cross-origin request that the route allows; or None
    cdef object own                     # (media type, field lines, body) of the route's answer
    cdef readonly RequestHead head      # as the primary gets it; None: it gets none
    cdef UpstreamConnection connection
    cdef bint connecting
    cdef int attempts
    cdef list tried                     # of Pool, where it was sent to before; None: nowhere
    cdef Attempts tries                 # None: nothing is kept, no timer runs
    cdef bint retried
    cdef list copies                    # of Copy; None: none
    # The response.
    cdef readonly int status
    cdef readonly bint answered         # its head is on the way to the client
    cdef bint under_way                 # and some of it has been sent
    cdef bint chunked                   # towards the client
    cdef bint continued                 # 100 Continue went to the client
    cdef bint responded                 # all of it is on the way
    cdef bint tunnel
    cdef bint over
    cdef readonly long long bytes_out
    cdef readonly str flags             # Envoy's response flags
    cdef readonly str details
    cdef readonly double began
    cdef readonly double answered_at
    # What the proxy itself answers: refused before it is begun.
    cdef int refusal
    cdef str refusal_text

    cdef int set_up(
        self, Client client, bytes method, Fields fields, Request request, bytes host,
        bint http10, int body, bytes upgrade) except -1
    cdef int refuse(self, int status, str flags, str text) except -1
    cdef int _reply(self, int status, str flags, str text) except -1
    cdef int _send_reply(self) except -1
    cdef bytes _option(self)
    cdef int _answer(self, int status, bytes answer) except -1
    cdef int _release(self, bint reusable) except -1
    cdef int _stop_trying(self) except -1
    cdef int _maybe_done(self) except -1
    cdef int _done(self, bint keep) except -1
    cdef int request_fed(self) except -1
