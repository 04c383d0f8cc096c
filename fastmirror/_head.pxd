from libc.stdint cimport uint8_t, uint32_t

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
    PROXY_CONNECTION    # the same; the parser takes it for Connection
    FORWARDED_FOR
    REQUEST_ID
    COPY_MARKER
    DATE
    MAX_FORWARDS

cdef FieldKind kind_of(const char* name, Py_ssize_t length) noexcept nogil
cdef bint is_token(uint8_t octet) noexcept nogil
cdef bint is_protected(bytes name) except -1
cdef bint same_name(const char* a, const char* b, Py_ssize_t length) noexcept nogil


# Where a field lies in the text of its message.
cdef struct Field:
    uint32_t name
    uint32_t name_length
    uint32_t value
    uint32_t value_length
    uint8_t kind
    bint exact          # its line is "name: value" and CRLF, to the byte


cdef class Fields:
    # The text that the fields lie in: a piece that was read, kept alive, or our own copy.
    cdef const char* text
    cdef bytes read
    cdef char* own
    cdef Py_ssize_t own_size
    cdef Py_ssize_t own_room
    cdef Field* list
    cdef Py_ssize_t room
    cdef bint in_trailers               # a trailer section: its fields mean nothing to us
    cdef readonly Py_ssize_t count
    cdef readonly Py_ssize_t size               # in bytes with separators: what the limits count
    # The start line, of a head that was scanned.
    cdef readonly bytes method
    cdef readonly bytes target
    cdef readonly bint http10
    cdef readonly int status
    cdef readonly bytes reason
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
    cdef readonly bint dated
    cdef readonly long long max_forwards        # -1: absent, or no number
    cdef public bytes request_id
    cdef readonly bytes forwarded_for

    cdef int clear(self) except -1
    cdef Py_ssize_t append(self, bytes name, bytes value) except -1
    cdef Py_ssize_t scan_request(self, bytes data, Py_ssize_t at) except -1
    cdef Py_ssize_t scan_response(self, bytes data, Py_ssize_t at) except -1
    cdef bint scan_trailers(self, bytes section) except -1
    cpdef Fields edited(self, frozenset removed, list added)
    cpdef bytes get(self, bytes name)

    cdef Py_ssize_t _scan(self, const char* text, Py_ssize_t at, Py_ssize_t end) except -1
    cdef bint _is_plain(self, FieldKind kind, const char* value, Py_ssize_t length) noexcept
    cdef int _hold(self, bytes data, Py_ssize_t start, Py_ssize_t end) except -1
    cdef int _add(self, Field* field) except -1
    cdef int _make_room(self, Py_ssize_t length) except -1
    cdef int _understand(self, FieldKind kind, const char* value, Py_ssize_t length) except -1
    cdef int _read_connection(self, bytes value) except -1


cpdef Py_ssize_t position(bytes data, char octet) except -2
cpdef bytes part(bytes data, Py_ssize_t start, Py_ssize_t end)
cpdef bint is_plain_target(bytes target) except -1
