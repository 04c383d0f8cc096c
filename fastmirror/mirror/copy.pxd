cimport cython

from fastmirror._core cimport now
from fastmirror.counts cimport MirrorCounts
from fastmirror.mirror.control cimport MirrorControl
from fastmirror.mirror.limits cimport CopyQueue, RateLimit
from fastmirror.timers cimport Wheel
from fastmirror.upstream.cluster cimport Member
from fastmirror.upstream.connection cimport ResponseHandler, UpstreamConnection

# Constants that are C integers here.
cdef int HEALTH_UNKNOWN, HEALTH_GOOD, HEALTH_BAD
cdef long long MAX_HEADS, STUCK


# What a copy knows of its mirror.
cdef class CopyOwner:
    cdef readonly str name
    cdef readonly MirrorCounts counts
    cdef MirrorControl control
    cdef Wheel wheel
    cdef CopyQueue queue
    cdef RateLimit connects             # how often a connection is opened
    cdef set live                       # every copy that waits or was sent, until its end
    cdef long long max_body             # -1: no limit
    cdef long long max_copy_bytes
    cdef long stuck                     # copies that are complete and lag by more than STUCK
    cdef long long max_response
    cdef double connect_timeout
    cdef double response_timeout

    cdef int admit(self, Copy copy) except -1
    cdef int ended(self, Copy copy, int health) except -1


# What a copy knows of a connection that it shares.
cdef class SharedConnection(ResponseHandler):
    cdef int left(self) except -1


cdef class Copy(ResponseHandler):
    cdef CopyOwner mirror
    cdef readonly Member member
    cdef readonly bytes head
    cdef bint to_head                   # the request is HEAD
    cdef bint has_body
    cdef int state
    cdef UpstreamConnection connection  # in ACTIVE alone
    cdef SharedConnection shared        # None: the connection is the copy's own
    # The request: what came before there was a connection, and whether all of it has come.
    cdef list waiting                   # None: nothing
    cdef bint whole
    cdef long long fed                  # bytes of the body so far, without framing
    cdef bint piecewise                 # some of it was written behind the head
    cdef bint held                      # waits until its length is known to be allowed
    cdef long long charged              # bytes held now, as far as is known
    cdef bint stuck                     # is one of its mirror's
    # The response.
    cdef double began
    cdef long long answer_size          # bytes of the body that were read
    cdef bint retried
    # For its own access log line.
    cdef public object on_end
    cdef readonly int status
    cdef readonly str outcome

    cdef int set_up(
        self, CopyOwner mirror, Member member, bytes head, bint to_head, bint has_body) except -1
    cdef int feed(self, bytes data, Py_ssize_t size) except -1
    cdef int flush(self) except -1
    cdef int end(self) except -1
    cdef int client_gone(self) except -1
    cdef int drop(self, int reason) except -1
    cdef int abandon(self, int kind) except -1
    cdef int begin(self) except -1
    cdef int start(self) except -1
    cdef int _connect(self) except -1
    cdef int _restart(self) except -1
    cdef int share(self, SharedConnection shared, UpstreamConnection connection) except -1
    cdef int reconnect(self) except -1
    cdef int send_again(self) except -1

    @cython.locals(change="long long")
    cdef int _charge(self, long long size) except -1
    cdef int _set_stuck(self) except -1

    @cython.locals(change="long long", limit="long long")
    cdef int _over_budget(self, long long held) except -1
    cdef int _complete(self, UpstreamConnection connection, bint reusable) except -1
    cdef int _let_go(self, str outcome) except -1
