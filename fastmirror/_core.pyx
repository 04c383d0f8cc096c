"""The compiled core: head rewriting and the sampling hash.

Invariants: what is written here is a valid head whatever came in (hop-by-hop fields are never
forwarded, framing fields are written anew from what was parsed); nothing here does I/O, waits,
or keeps a reference to what it was given.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport realloc
from libc.string cimport memcpy

from fastmirror._head cimport (
    CONNECTION,
    CONTENT_LENGTH,
    COPY_MARKER,
    DATE,
    HOP_BY_HOP,
    MAX_FORWARDS,
    OTHER,
    PROXY_CONNECTION,
    REQUEST_ID,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    Field,
    Fields,
    is_protected,
)

from fractions import Fraction


cdef extern from "time.h" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec* result)
    time_t time(time_t* result)
    cdef struct tm:
        int tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year, tm_wday
    tm* gmtime_r(const time_t* seconds, tm* result)

cdef extern from "sys/random.h" nogil:
    ssize_t getrandom(void* buffer, size_t length, unsigned int flags)

# ---- writing heads -----------------------------------------------------------------------

# One scratch buffer for every head: each write starts at 0 and ends in a bytes object before
# anything else can run, so there is never more than one writer.
cdef char* _scratch = NULL
cdef Py_ssize_t _used = 0
cdef Py_ssize_t _capacity = 0


cdef int _room(Py_ssize_t length) except -1:
    global _scratch, _capacity
    cdef Py_ssize_t wanted = _used + length
    cdef char* grown
    if wanted > _capacity:
        wanted = max(16384, wanted * 2)
        grown = <char*>realloc(_scratch, <size_t>wanted)
        if grown == NULL:
            raise MemoryError
        _scratch = grown
        _capacity = wanted
    return 0


cdef inline int _put(const char* data, Py_ssize_t length) except -1:
    global _used
    if _used + length > _capacity:
        _room(length)
    memcpy(_scratch + _used, data, <size_t>length)
    _used += length
    return 0


cdef inline int _put_bytes(bytes data) except -1:
    return _put(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


cdef int _put_number(long long number) except -1:
    """A number that is not negative, in decimal digits."""
    cdef char digits[20]
    cdef int at = 20
    while True:
        at -= 1
        digits[at] = c"0" + <char>(number % 10)
        number //= 10
        if number == 0:
            return _put(digits + at, 20 - at)


cdef int _put_length(long long length) except -1:
    _put(b"content-length: ", 16)
    _put_number(length)
    return _put(b"\r\n", 2)


# RFC 9110 section 5.6.7, of the second that it was made in.
cdef char[64] _date
cdef int _date_length = 0
cdef time_t _date_second = -1


cdef int _put_date() except -1:
    global _date_length, _date_second
    cdef time_t second = time(NULL)
    cdef tm parts
    if second != _date_second:
        gmtime_r(&second, &parts)
        _date_length = snprintf(
            _date, 64, b"date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n",
            <const char*>b"SunMonTueWedThuFriSat" + 3 * parts.tm_wday, parts.tm_mday,
            <const char*>b"JanFebMarAprMayJunJulAugSepOctNovDec" + 3 * parts.tm_mon,
            parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec,
        )
        _date_second = second
    return _put(_date, _date_length)


cdef bint _is_named(Fields fields, Field* field) except -1:
    """Whether Connection names the field, in a message in which it names any."""
    return PyBytes_FromStringAndSize(
        fields.text + field.name, field.name_length).lower() in fields.named


# Fields that are passed on as they stand, one behind the other, are copied in one go: from
# _run_start up to _run_end of the message's text.
cdef Py_ssize_t _run_start = 0
cdef Py_ssize_t _run_end = 0


cdef inline int _begin() except -1:
    global _used, _run_start, _run_end
    _used = _run_start = _run_end = 0
    return 0


cdef inline int _end_run(Fields fields) except -1:
    global _run_start, _run_end
    if _run_end > _run_start:
        _put(fields.text + _run_start, _run_end - _run_start)
    _run_start = _run_end = 0
    return 0


cdef inline int _pass_on(Fields fields, Field* field) except -1:
    global _run_start, _run_end
    if field.exact and <Py_ssize_t>field.name == _run_end:
        _run_end = <Py_ssize_t>field.value + field.value_length + 2
        return 0
    _end_run(fields)
    if field.exact:
        _run_start = field.name
        _run_end = <Py_ssize_t>field.value + field.value_length + 2
        return 0
    _put(fields.text + field.name, field.name_length)
    _put(b": ", 2)
    _put(fields.text + field.value, field.value_length)
    return _put(b"\r\n", 2)


cdef class RequestHead:
    """A request head as the primary gets it."""

    cpdef bytes copy(self, bytes host, bytes marker):
        """The shadow's head: another Host, the copy marker, and nothing of what was for the
        primary alone (a copy never waits for 100 Continue)."""
        cdef const char* data = PyBytes_AS_STRING(self.data)
        _begin()
        _put(data, self.host_start)
        _put_bytes(host)
        _put(data + self.host_end, self.common_end - self.host_end)
        _put(b"x-fastmirror-copy: ", 19)
        _put_bytes(marker)
        _put(b"\r\n\r\n", 4)
        return PyBytes_FromStringAndSize(_scratch, _used)


cpdef RequestHead write_request(
    bytes method, bytes target, Fields fields, bytes host, bytes forwarded, bint request_id,
    bytes upgrade
):
    """The head for an upstream. ``forwarded``: what to append to x-forwarded-for, or None.

    A request id is made and kept in ``fields.request_id`` when asked for and absent. ``upgrade``:
    the protocol to ask for, or None.
    """
    cdef Py_ssize_t i
    cdef Field* field
    cdef bint named = fields.named is not None
    # RFC 9110 section 7.6.2: for these two methods alone.
    cdef bint hops = fields.max_forwards > 0 and (method == b"OPTIONS" or method == b"TRACE")
    cdef RequestHead head = RequestHead.__new__(RequestHead)
    _begin()
    _put_bytes(method)
    _put(b" ", 1)
    _put_bytes(target)
    _put(b" HTTP/1.1\r\nhost: ", 17)
    head.host_start = _used
    _put_bytes(host)
    head.host_end = _used
    _put(b"\r\n", 2)
    for i in range(fields.count):
        field = &fields.list[i]
        if (
            field.kind == OTHER
            or field.kind == REQUEST_ID
            or field.kind == COPY_MARKER
            or field.kind == DATE
            or field.kind == MAX_FORWARDS and not hops
        ):
            if field.kind == REQUEST_ID and request_id and fields.request_id is None:
                continue  # an empty one: another is made
            if not (named and _is_named(fields, field)):
                _pass_on(fields, field)
        elif field.kind == TRAILER and fields.chunked:
            _pass_on(fields, field)
    _end_run(fields)
    if fields.chunked:
        _put(b"transfer-encoding: chunked\r\n", 28)
    elif fields.content_length >= 0:
        _put_length(fields.content_length)
    if hops:
        _put(b"max-forwards: ", 14)
        _put_number(fields.max_forwards - 1)
        _put(b"\r\n", 2)
    if forwarded is not None or fields.forwarded_for is not None:
        _put(b"x-forwarded-for: ", 17)
        if fields.forwarded_for is not None:
            _put_bytes(fields.forwarded_for)
            if forwarded is not None:
                _put(b", ", 2)
        if forwarded is not None:
            _put_bytes(forwarded)
        _put(b"\r\n", 2)
    if request_id and fields.request_id is None:
        fields.request_id = new_request_id()
        _put(b"x-request-id: ", 14)
        _put_bytes(fields.request_id)
        _put(b"\r\n", 2)
    head.common_end = _used
    if fields.expect:
        _put(b"expect: 100-continue\r\n", 22)
    if upgrade is not None:
        _put(b"connection: upgrade\r\nupgrade: ", 30)
        _put_bytes(upgrade)
        _put(b"\r\n", 2)
    elif fields.te_trailers:
        _put(b"connection: te\r\nte: trailers\r\n", 30)
    _put(b"\r\n", 2)
    head.data = PyBytes_FromStringAndSize(_scratch, _used)
    return head


cpdef bytes write_response(
    int status, bytes reason, Fields fields, bint with_length, bint chunked, bytes connection
):
    """The head for the client; ``connection`` is the Connection field to write, or None."""
    cdef Py_ssize_t i
    cdef Field* field
    cdef bint named = fields.named is not None
    _begin()
    _put(b"HTTP/1.1 ", 9)
    _put_number(status)
    _put(b" ", 1)
    if reason is not None:
        _put_bytes(reason)
    _put(b"\r\n", 2)
    for i in range(fields.count):
        field = &fields.list[i]
        if (
            field.kind == CONNECTION
            or field.kind == TRANSFER_ENCODING
            or field.kind == HOP_BY_HOP
            or field.kind == PROXY_CONNECTION
            or field.kind == UPGRADE and status != 101
            or field.kind == TE
            or field.kind == CONTENT_LENGTH and not with_length
            or field.kind == TRAILER and not chunked
            or named and _is_named(fields, field)
        ):
            continue
        _pass_on(fields, field)
    _end_run(fields)
    if not fields.dated and status >= 200:
        _put_date()  # RFC 9110 section 6.6.1
    if chunked:
        _put(b"transfer-encoding: chunked\r\n", 28)
    if connection is not None:
        _put(b"connection: ", 12)
        _put_bytes(connection)
        _put(b"\r\n", 2)
    _put(b"\r\n", 2)
    return PyBytes_FromStringAndSize(_scratch, _used)


cpdef bytes write_reply(
    int status, bytes reason, bytes kind, bytes more, bytes connection, bytes text, bint to_head
):
    """An answer of the proxy's own. ``kind``: its media type, or None; ``more``: field lines."""
    cdef bytes given
    _begin()
    _put(b"HTTP/1.1 ", 9)
    _put_number(status)
    _put(b" ", 1)
    _put_bytes(reason)
    _put(b"\r\n", 2)
    given = b"\n" + more.lower()
    if b"\ndate:" not in given:
        _put_date()
    if b"\nserver:" not in given:
        _put(b"server: fastmirror\r\n", 20)
    if kind is not None:
        _put(b"content-type: ", 14)
        _put_bytes(kind)
        _put(b"\r\n", 2)
    _put_bytes(more)
    if status != 204 and status != 304:
        _put_length(PyBytes_GET_SIZE(text))
    if connection is not None:
        _put(b"connection: ", 12)
        _put_bytes(connection)
        _put(b"\r\n", 2)
    _put(b"\r\n", 2)
    if not to_head and status != 204 and status != 304:
        _put_bytes(text)
    return PyBytes_FromStringAndSize(_scratch, _used)


cpdef bytes write_trailers(Fields trailers):
    """The last chunk and the trailer section (RFC 9112 section 7.1.2); what frames or routes a
    message may not be a trailer (RFC 9110 section 6.5.1)."""
    cdef Py_ssize_t i
    cdef Field* field
    if trailers is None or trailers.count == 0:
        return b"0\r\n\r\n"
    _begin()
    _put(b"0\r\n", 3)
    for i in range(trailers.count):
        field = &trailers.list[i]
        if field.kind == OTHER and not is_protected(
                PyBytes_FromStringAndSize(trailers.text + field.name, field.name_length)):
            _pass_on(trailers, field)
    _end_run(trailers)
    _put(b"\r\n", 2)
    return PyBytes_FromStringAndSize(_scratch, _used)


cpdef bytes chunk_head(Py_ssize_t size):
    """``size`` in hexadecimal and CRLF (RFC 9112 section 7.1)."""
    cdef char digits[24]
    cdef int length = snprintf(digits, 24, b"%zx\r\n", size)
    return PyBytes_FromStringAndSize(digits, length)


# ---- hash, randomness, time --------------------------------------------------------------

# XXH64, after its specification (github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
cdef uint64_t P1 = 0x9E3779B185EBCA87ULL
cdef uint64_t P2 = 0xC2B2AE3D27D4EB4FULL
cdef uint64_t P3 = 0x165667B19E3779F9ULL
cdef uint64_t P4 = 0x85EBCA77C2B2AE63ULL
cdef uint64_t P5 = 0x27D4EB2F165667C5ULL


cdef inline uint64_t _rotl(uint64_t x, int r) noexcept nogil:
    return (x << r) | (x >> (64 - r))


cdef inline uint64_t _lane(const uint8_t* p) noexcept nogil:
    # memcpy, so that unaligned input is defined; little-endian, as every target is.
    cdef uint64_t x
    memcpy(&x, p, 8)
    return x


cdef inline uint64_t _round(uint64_t acc, uint64_t lane) noexcept nogil:
    return _rotl(acc + lane * P2, 31) * P1


cdef inline uint64_t _merge(uint64_t acc, uint64_t v) noexcept nogil:
    return (acc ^ _round(0, v)) * P1 + P4


cdef uint64_t hash64(const uint8_t* data, size_t length, uint64_t seed) noexcept nogil:
    cdef const uint8_t* p = data
    cdef const uint8_t* end = data + length
    cdef uint64_t acc, v1, v2, v3, v4
    cdef uint32_t half
    if length >= 32:
        v1 = seed + P1 + P2
        v2 = seed + P2
        v3 = seed
        v4 = seed - P1
        while end - p >= 32:
            v1 = _round(v1, _lane(p))
            v2 = _round(v2, _lane(p + 8))
            v3 = _round(v3, _lane(p + 16))
            v4 = _round(v4, _lane(p + 24))
            p += 32
        acc = _rotl(v1, 1) + _rotl(v2, 7) + _rotl(v3, 12) + _rotl(v4, 18)
        acc = _merge(_merge(_merge(_merge(acc, v1), v2), v3), v4)
    else:
        acc = seed + P5
    acc += <uint64_t>length
    while end - p >= 8:
        acc = _rotl(acc ^ _round(0, _lane(p)), 27) * P1 + P4
        p += 8
    if end - p >= 4:
        memcpy(&half, p, 4)
        acc = _rotl(acc ^ (<uint64_t>half * P1), 23) * P2 + P3
        p += 4
    while p < end:
        acc = _rotl(acc ^ (p[0] * P5), 11) * P1
        p += 1
    acc = (acc ^ (acc >> 33)) * P2
    acc = (acc ^ (acc >> 29)) * P3
    return acc ^ (acc >> 32)


def xxh64(bytes data not None, uint64_t seed=0):
    """XXH64 of the bytes, as an int of 64 bits."""
    return hash64(<const uint8_t*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), seed)


# From the kernel, 4 KiB at a time: as good as os.urandom at a few nanoseconds a value.
cdef uint64_t _pool[512]
cdef int _left = 0


cdef int _refill() except -1:
    global _left
    if getrandom(_pool, sizeof(_pool), 0) != <ssize_t>sizeof(_pool):
        raise OSError("getrandom gave fewer bytes than asked for")
    _left = 512
    return 0


cpdef uint64_t random64() except? 0:
    """64 fresh random bits."""
    global _left
    if _left == 0:
        _refill()
    _left -= 1
    return _pool[_left]


cpdef double now() noexcept:
    """CLOCK_MONOTONIC, in seconds."""
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + t.tv_nsec * 1e-9


cdef const char* HEX = b"0123456789abcdef"


cpdef bytes new_request_id():
    """A version 4 UUID (RFC 9562 section 5.4), as Envoy makes for x-request-id."""
    cdef uint8_t raw[16]
    cdef char text[36]
    cdef uint64_t bits = random64()
    cdef int i, at = 0
    memcpy(raw, &bits, 8)
    bits = random64()
    memcpy(raw + 8, &bits, 8)
    raw[6] = (raw[6] & 0x0F) | 0x40
    raw[8] = (raw[8] & 0x3F) | 0x80
    for i in range(16):
        if i == 4 or i == 6 or i == 8 or i == 10:
            text[at] = c"-"
            at += 1
        text[at] = HEX[raw[i] >> 4]
        text[at + 1] = HEX[raw[i] & 15]
        at += 2
    return PyBytes_FromStringAndSize(text, 36)


# ---- sampling ----------------------------------------------------------------------------

cdef double WHOLE = 2.0**64


cdef class Sampler:
    """XXH64(key, seed) < threshold, the threshold being the exact share of 2^64.

    ``share``: a Fraction from 0 to 1. The comparison with the real number share * 2^64 is kept
    exact by rounding it up: an integer is below x just when it is below ceil(x).
    """

    def __init__(self, share: Fraction, bytes salt not None):
        scaled = -(-share.numerator * 2**64 // share.denominator)
        if not 0 <= scaled <= 2**64:
            raise ValueError(f"a share is from 0 to 1, not {share}")
        self.always = scaled == 2**64
        self.threshold = 0 if self.always else scaled
        self.seed = xxh64(salt, 0)

    cdef bint decide(self, bytes key) except -1:
        if self.always:
            return True
        return hash64(
            <const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), self.seed
        ) < self.threshold

    cdef bint decide_random(self) except -1:
        cdef uint64_t key
        if self.always:
            return True
        if self.threshold == 0:
            return False
        key = random64()
        return hash64(<const uint8_t*>&key, 8, self.seed) < self.threshold

    cdef bint keeps(self, bytes key, double part) except -1:
        """Whether what was sampled is within a part of it, from 0 to 1. For a key that is so when
        a share that is smaller by this part has it too; where there is none, chance decides."""
        cdef double threshold = WHOLE if self.always else <double>self.threshold
        if key is None:
            return <double>random64() < part * WHOLE
        return <double>hash64(
            <const uint8_t*>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key), self.seed
        ) < part * threshold

    def kept(self, part: float, bytes key=None):
        """Of what was sampled, whether it is within a part: see ``keeps``."""
        return self.keeps(key, part)

    def sampled(self, bytes key=None):
        """The decision for a key, or for fresh random bits where there is none."""
        return self.decide(key) if key is not None else self.decide_random()
