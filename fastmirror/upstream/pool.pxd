from fastmirror.counts cimport WorkerCounts
from fastmirror.timers cimport Wheel
from fastmirror.upstream.connection cimport ConnectionOwner, ResponseHandler, UpstreamConnection


cdef class Pool(ConnectionOwner):
    cdef readonly object address
    cdef object loop
    cdef Wheel wheel
    cdef WorkerCounts counts
    cdef int side
    cdef double idle_timeout
    cdef list idle                      # of UpstreamConnection, the last used at the end
    cdef public long users              # clusters that have it
    cdef readonly long active           # exchanges under way, and connections being made
    cdef readonly long open             # connections
    cdef readonly set connecting        # tasks
    cdef bint retired
    cdef object dialer                  # Dialer
    cdef double pipeline_after          # when copies may share a connection again; 0: now

    cdef UpstreamConnection take(self)
    cdef int connect(self, ResponseHandler handler, double timeout) except -1
    cdef int open_for(self, ResponseHandler handler, double timeout) except -1
    cdef int leave(self, ResponseHandler handler) except -1
    cdef int made(self, UpstreamConnection connection) except -1
    cdef int not_made(self, UpstreamConnection connection) except -1
    cdef int give_back(self, UpstreamConnection connection) except -1
    cdef int discard(self, UpstreamConnection connection) except -1


cpdef bint is_open(UpstreamConnection connection) except -1
cpdef int close_connection(UpstreamConnection connection) except -1
cpdef int tell_connected(ResponseHandler handler, UpstreamConnection connection) except -1
cdef int tell_failed(ResponseHandler handler, str reason) except -1
