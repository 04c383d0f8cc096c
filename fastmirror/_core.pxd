from libc.stdint cimport uint8_t, uint64_t

# What a field name means to a proxy; OTHER is forwarded as it is.
cdef enum FieldKind:
    OTHER = 0
    HOST
    CONNECTION
    CONTENT_LENGTH
    TRANSFER_ENCODING
    UPGRADE
    EXPECT
    TE
    TRAILER
    HOP_BY_HOP          # Keep-Alive and Proxy-*: dropped, never written anew
    FORWARDED_FOR
    REQUEST_ID
    COPY_MARKER

cdef FieldKind kind_of(const char* name, Py_ssize_t length) noexcept nogil


cdef class Fields:
    # The fields as they came, and their size with separators (what the limits count).
    cdef readonly list items            # [name, value, name, value, ...]
    cdef readonly Py_ssize_t size
    cdef readonly Py_ssize_t count
    # Framing (RFC 9112 section 6).
    cdef readonly long long content_length      # -1: absent
    cdef readonly bint transfer_encoding        # present at all
    cdef readonly bint chunked                  # exactly "chunked"
    # Host: section 3.2 wants exactly one.
    cdef readonly int hosts
    cdef readonly bytes host
    # Connection options (RFC 9110 section 7.6.1), and the fields that they name.
    cdef readonly bint close
    cdef readonly bint keep_alive
    cdef readonly bint wants_upgrade
    cdef readonly set named
    cdef readonly bytes upgrade
    cdef readonly bint expect
    cdef readonly bint te_trailers
    cdef readonly bint is_copy
    cdef public bytes request_id
    cdef readonly bytes forwarded_for

    cdef int clear(self) except -1
    cdef Py_ssize_t append(self, bytes name, bytes value) except -1
    cdef int _read_connection(self, bytes value) except -1
    cpdef bytes get(self, bytes name)


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
cpdef bytes write_trailers(Fields trailers)
cpdef bytes chunk_head(Py_ssize_t size)
cpdef bint is_plain_target(bytes target) except -1

cdef uint64_t hash64(const uint8_t* data, size_t length, uint64_t seed) noexcept nogil
cpdef uint64_t random64() except? 0
cpdef double now() noexcept


cdef class Sampler:
    cdef readonly uint64_t seed
    cdef readonly uint64_t threshold
    cdef readonly bint always

    cdef bint decide(self, bytes key) except -1
    cdef bint decide_random(self) except -1


cdef enum:
    BUCKETS = 16    # of a duration histogram, +Inf included


cdef class Counters:
    cdef uint64_t* slots
    cdef Py_ssize_t capacity
    cdef object owner

    cpdef int add(self, Py_ssize_t slot, long long amount) except -1
    cpdef int put(self, Py_ssize_t slot, uint64_t value) except -1
    cpdef uint64_t get(self, Py_ssize_t slot) except? 0
    cpdef int observe(self, Py_ssize_t slot, double seconds) except -1
