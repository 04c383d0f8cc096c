cimport cython

from fastmirror._core cimport chunk_head, now, write_response, write_trailers
from fastmirror.mirror.tee cimport abort_copies
from fastmirror.proxy.answering cimport Answering
from fastmirror.proxy.attempts cimport Attempts, RetryPolicy
from fastmirror.upstream.cluster cimport Member
from fastmirror.upstream.connection cimport UpstreamConnection

# Imported constants that are C integers here.
cdef int CONNECTED, UPGRADED
cdef int CHUNKED, LENGTH, NO_BODY, UNTIL_CLOSE


cdef class Forwarding(Answering):
    cdef int _dispatch(self) except -1
    cdef int _all_sent(self) except -1
    cdef int _open_tunnel(self, UpstreamConnection connection) except -1
    cdef int _arm(self) except -1
    cdef int _progress(self) except -1

    @cython.locals(policy=RetryPolicy, tries=Attempts, other=Member)
    cdef bint _retry(self, bint untouched) except -1
    cpdef object try_again(self)
    cdef str _exhausted(self, str flags, bint wanted)
    cpdef object timed_out(self)
    cdef int _blame(self, int kind) except -1
    cdef bint _cut(self, int kind, str reason) except -1
    cdef int _give_up(self, int kind, str reason, str more) except -1
    cdef bint _retry_answer(self, int status) except -1
