from libc.stdint cimport uint8_t, uint64_t

from fastmirror._head cimport Fields


# A written request head, and where its parts lie, so that a copy is made of it with memcpy.
cdef class RequestHead:
    cdef readonly bytes data
    cdef Py_ssize_t host_start
    cdef Py_ssize_t host_end
    cdef Py_ssize_t common_end      # what follows is for the primary alone (Expect, TE, Upgrade)

    cpdef bytes copy(self, bytes host, bytes marker)


cpdef RequestHead write_request(
    bytes method, bytes target, Fields fields, bytes host, bytes forwarded, bint request_id,
    bytes upgrade)
cpdef bytes write_response(
    int status, bytes reason, Fields fields, bint with_length, bint chunked, bytes connection)
cpdef bytes write_reply(
    int status, bytes reason, bytes kind, bytes more, bytes connection, bytes text, bint to_head)
cpdef bytes write_trailers(Fields trailers)
cpdef bytes chunk_head(Py_ssize_t size)

cdef uint64_t hash64(const uint8_t* data, size_t length, uint64_t seed) noexcept nogil
cpdef uint64_t random64() except? 0
cpdef double now() noexcept
cpdef bytes new_request_id()


cdef class Sampler:
    cdef readonly uint64_t seed
    cdef readonly uint64_t threshold
    cdef readonly bint always

    cdef bint decide(self, bytes key) except -1
    cdef bint decide_random(self) except -1
    cdef bint keeps(self, bytes key, double part) except -1
