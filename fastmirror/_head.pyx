"""Reading heads: what a message's fields mean to a proxy, and a scanner for plain heads.

Invariants: ``scan_request`` and ``scan_response`` take a head only where there is one way to read
it (the grammar of RFC 9112 without its tolerances, one length or "chunked" at most, no upgrade),
and then read it as the parser would; of everything else they take nothing, and the parser
decides. A Fields keeps alive what its fields lie in.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy


cdef extern from "strings.h" nogil:
    int strncasecmp(const char* a, const char* b, size_t length)


# ---- field names -------------------------------------------------------------------------

cdef bint same_name(const char* a, const char* b, Py_ssize_t length) noexcept nogil:
    return strncasecmp(a, b, <size_t>length) == 0


cdef FieldKind kind_of(const char* name, Py_ssize_t length) noexcept nogil:
    """What the field means to a proxy. Length and first letter leave most names no compare."""
    cdef char first = name[0] | 0x20 if length > 0 else 0
    if first == c"h":
        if length == 4 and same_name(name, b"host", 4):
            return HOST
    elif first == c"c":
        if length == 10 and same_name(name, b"connection", 10):
            return CONNECTION
        if length == 14 and same_name(name, b"content-length", 14):
            return CONTENT_LENGTH
    elif first == c"x":
        if length == 12 and same_name(name, b"x-request-id", 12):
            return REQUEST_ID
        if length == 15 and same_name(name, b"x-forwarded-for", 15):
            return FORWARDED_FOR
        if length == 17 and same_name(name, b"x-fastmirror-copy", 17):
            return COPY_MARKER
    elif first == c"t":
        if length == 17 and same_name(name, b"transfer-encoding", 17):
            return TRANSFER_ENCODING
        if length == 7 and same_name(name, b"trailer", 7):
            return TRAILER
        if length == 2 and same_name(name, b"te", 2):
            return TE
    elif first == c"u":
        if length == 7 and same_name(name, b"upgrade", 7):
            return UPGRADE
    elif first == c"e":
        if length == 6 and same_name(name, b"expect", 6):
            return EXPECT
    elif first == c"d":
        if length == 4 and same_name(name, b"date", 4):
            return DATE
    elif first == c"m":
        if length == 12 and same_name(name, b"max-forwards", 12):
            return MAX_FORWARDS
    elif first == c"k":
        if length == 10 and same_name(name, b"keep-alive", 10):
            return HOP_BY_HOP
    elif first == c"p" and length > 6 and same_name(name, b"proxy-", 6):
        if length == 16 and same_name(name, b"proxy-connection", 16):
            return PROXY_CONNECTION
        return HOP_BY_HOP
    return OTHER


# A client may not name these in Connection to have us strip them: what follows us trusts them
# (RFC 9110 section 7.6.1 forbids it only for fields that are meant for all recipients). Nor may
# they come as trailers, which some recipients merge with the head (section 6.5.1).
cdef frozenset PROTECTED = frozenset((
    b"authorization", b"cookie", b"content-type", b"content-encoding", b"content-length",
    b"date", b"forwarded", b"host", b"origin", b"range", b"set-cookie", b"transfer-encoding",
    b"via", b"x-fastmirror-copy", b"x-forwarded-client-cert", b"x-forwarded-for",
    b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-proto", b"x-real-ip",
    b"x-request-id", b"cache-control", b"traceparent", b"tracestate",
))


cdef bint is_protected(bytes name) except -1:
    return name.lower() in PROTECTED


# ---- characters --------------------------------------------------------------------------

# RFC 9110 section 5.6.2: what a field name is made of.
cdef uint8_t[256] IN_TOKEN
# RFC 3986 section 3.3 and 3.4: what a path and a query are made of. Others are the parser's to
# judge. A slash is 2, as a dot segment may follow it.
cdef uint8_t[256] IN_TARGET


def _fill_tables():
    cdef int code
    for code in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz":
        IN_TOKEN[code] = IN_TARGET[code] = 1
    for code in b"!#$%&'*+-.^_`|~":
        IN_TOKEN[code] = 1
    for code in b"-._~!$&'()*+,;=:@?%":
        IN_TARGET[code] = 1
    IN_TARGET[c"/"] = 2


_fill_tables()

cdef uint64_t EACH = 0x0101010101010101ULL
cdef uint64_t HIGH = 0x8080808080808080ULL


cdef bint _is_text(const char* text, Py_ssize_t length) noexcept nogil:
    """Whether a value has no control character but tabs (RFC 9110 section 5.5): eight at a time,
    the last eight again where the length is no multiple; byte by byte only if one may be."""
    cdef uint64_t word, deleted, found = 0
    cdef Py_ssize_t at, last = length - 8
    cdef uint8_t octet
    if length >= 8:
        at = 0
        while at <= last:
            memcpy(&word, text + at, 8)
            deleted = word ^ (EACH * 0x7F)
            found |= (word - EACH * 0x20) & ~word | (deleted - EACH) & ~deleted
            at += 8
            if last < at < length:
                at = last
        if not found & HIGH:
            return True
    for at in range(length):
        octet = <uint8_t>text[at]
        if octet < 0x20 and octet != c"\t" or octet == 0x7F:
            return False
    return True


cdef bint is_token(uint8_t octet) noexcept nogil:
    return IN_TOKEN[octet]


cdef bint _is_token(bytes name) noexcept:
    cdef const char* text = PyBytes_AS_STRING(name)
    cdef Py_ssize_t at, length = PyBytes_GET_SIZE(name)
    for at in range(length):
        if not IN_TOKEN[<uint8_t>text[at]]:
            return False
    return length > 0


cdef long long _digits(const char* text, Py_ssize_t length) noexcept nogil:
    """The number that the text is, of 18 digits at most; -1: it is none."""
    cdef long long number = 0
    cdef Py_ssize_t i
    if not 0 < length <= 18:
        return -1
    for i in range(length):
        if not c"0" <= text[i] <= c"9":
            return -1
        number = number * 10 + (text[i] - c"0")
    return number


cdef bytes _method(const char* text, Py_ssize_t length):
    """The methods that most requests have; None: another."""
    if length == 3:
        if memcmp(text, b"GET", 3) == 0:
            return b"GET"
        if memcmp(text, b"PUT", 3) == 0:
            return b"PUT"
    elif length == 4:
        if memcmp(text, b"POST", 4) == 0:
            return b"POST"
        if memcmp(text, b"HEAD", 4) == 0:
            return b"HEAD"
    elif length == 5 and memcmp(text, b"PATCH", 5) == 0:
        return b"PATCH"
    elif length == 6 and memcmp(text, b"DELETE", 6) == 0:
        return b"DELETE"
    elif length == 7 and memcmp(text, b"OPTIONS", 7) == 0:
        return b"OPTIONS"
    return None


# A head is copied out of what was read with it, where that is this much more.
cdef Py_ssize_t PINNED = 4096


@cython.no_gc  # it refers to bytes alone, and to a set of them
cdef class Fields:
    """One message's fields: as they came, and what a proxy must know of them."""

    def __cinit__(self):
        self.clear()

    def __dealloc__(self):
        PyMem_Free(self.own)
        PyMem_Free(self.list)

    cdef int clear(self) except -1:
        self.text = self.own
        self.read = None
        self.own_size = self.count = self.size = 0
        self.method = self.target = self.reason = None
        self.http10 = False
        self.status = 0
        self.content_length = -1
        self.transfer_encoding = self.chunked = False
        self.hosts = 0
        self.host = None
        self.close = self.keep_alive = self.wants_upgrade = False
        self.named = None
        self.upgrade = None
        self.expect = self.te_trailers = self.is_copy = self.dated = False
        self.max_forwards = -1
        self.request_id = None
        self.forwarded_for = None
        return 0

    # -- a field at a time, from the parser

    cdef Py_ssize_t append(self, bytes name, bytes value) except -1:
        """Take one field; returns the size of all so far, in bytes as on the wire."""
        cdef Field field
        cdef const char* text = PyBytes_AS_STRING(value)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(value)
        cdef Py_ssize_t name_length = PyBytes_GET_SIZE(name)
        if self.read is not None:
            raise ValueError("a scanned head takes no more fields")
        if not (_is_token(name) and _is_text(text, length)):
            raise ValueError("a field with a character that is none of its kind")
        # The parser strips white space before a value and leaves that behind it.
        while length > 0 and (text[length - 1] == c" " or text[length - 1] == c"\t"):
            length -= 1
        self._make_room(name_length + length + 4)
        field.name = <uint32_t>self.own_size
        field.name_length = <uint32_t>name_length
        field.value = <uint32_t>(self.own_size + name_length + 2)
        field.value_length = <uint32_t>length
        field.kind = kind_of(PyBytes_AS_STRING(name), name_length)
        field.exact = True
        memcpy(self.own + field.name, PyBytes_AS_STRING(name), <size_t>name_length)
        memcpy(self.own + field.name + name_length, b": ", 2)
        memcpy(self.own + field.value, text, <size_t>length)
        memcpy(self.own + field.value + length, b"\r\n", 2)
        self.own_size += name_length + length + 4
        self._add(&field)
        self._understand(<FieldKind>field.kind, text, length)
        return self.size

    def add(self, bytes name not None, bytes value not None):
        """As ``append``, for callers that are not compiled."""
        return self.append(name, value)

    cdef int _make_room(self, Py_ssize_t length) except -1:
        cdef Py_ssize_t wanted = self.own_size + length
        cdef char* grown
        if wanted > 0xFFFFFFFF:
            raise ValueError("fields of more than 4 GiB")
        if wanted > self.own_room:
            wanted = max(512, wanted * 2)
            grown = <char*>PyMem_Realloc(self.own, <size_t>wanted)
            if grown == NULL:
                raise MemoryError
            self.own = grown
            self.own_room = wanted
        self.text = self.own
        return 0

    cdef int _add(self, Field* field) except -1:
        cdef Field* grown
        cdef Py_ssize_t room
        if self.count == self.room:
            room = max(16, self.room * 2)
            grown = <Field*>PyMem_Realloc(self.list, <size_t>room * sizeof(Field))
            if grown == NULL:
                raise MemoryError
            self.list = grown
            self.room = room
        self.list[self.count] = field[0]
        self.count += 1
        self.size += <Py_ssize_t>field.name_length + <Py_ssize_t>field.value_length + 4
        return 0

    cdef int _understand(self, FieldKind kind, const char* value, Py_ssize_t length) except -1:
        cdef bytes coding
        cdef bint again
        if kind == OTHER:
            return 0
        if kind == HOST:
            self.hosts += 1
            self.host = PyBytes_FromStringAndSize(value, length)
        elif kind == CONNECTION:
            if length == 10 and same_name(value, b"keep-alive", 10):
                self.keep_alive = True
            else:
                self._read_connection(PyBytes_FromStringAndSize(value, length))
        elif kind == PROXY_CONNECTION:
            # No standard; that the connection will close is believed all the same.
            self.close = self.close or length == 5 and same_name(value, b"close", 5)
        elif kind == CONTENT_LENGTH:
            # Digits alone, said once.
            again = self.content_length != -1
            self.content_length = _digits(value, length)
            if again or self.content_length < 0:
                self.content_length = -2
        elif kind == TRANSFER_ENCODING:
            self.chunked = (
                not self.transfer_encoding and length == 7 and same_name(value, b"chunked", 7)
            )
            self.transfer_encoding = True
        elif kind == UPGRADE:
            self.upgrade = PyBytes_FromStringAndSize(value, length)
        elif kind == EXPECT:
            # The one expectation there is (RFC 9110 section 10.1.1); others are not made up.
            self.expect = self.expect or length == 12 and same_name(value, b"100-continue", 12)
        elif kind == TE:
            for coding in PyBytes_FromStringAndSize(value, length).lower().split(b","):
                if coding.strip(b" \t") == b"trailers":
                    self.te_trailers = True
        elif kind == REQUEST_ID:
            if self.request_id is None and length:
                self.request_id = PyBytes_FromStringAndSize(value, length)
        elif kind == FORWARDED_FOR:
            if self.forwarded_for is None:
                self.forwarded_for = PyBytes_FromStringAndSize(value, length)
            else:
                self.forwarded_for += b", " + PyBytes_FromStringAndSize(value, length)
        elif kind == COPY_MARKER:
            self.is_copy = True
        elif kind == DATE:
            self.dated = True
        elif kind == MAX_FORWARDS:
            self.max_forwards = _digits(value, length)
        return 0

    cdef int _read_connection(self, bytes value) except -1:
        cdef bytes option
        for option in value.lower().split(b","):
            option = option.strip(b" \t")
            if option == b"close":
                self.close = True
            elif option == b"keep-alive":
                self.keep_alive = True
            elif option == b"upgrade":
                self.wants_upgrade = True
            elif option and option not in PROTECTED:
                if self.named is None:
                    self.named = set()
                self.named.add(option)
        return 0

    # -- a whole head at once

    cdef Py_ssize_t scan_request(self, bytes data, Py_ssize_t at) except -1:
        """Take the request head that begins there; returns where it ends. 0: it is not plain, or
        not complete, and nothing was taken."""
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t start = at, target, head_end
        cdef bint http10
        cdef bytes method
        cdef uint8_t kind
        while c"A" <= text[at] <= c"Z":  # a bytes object ends with a NUL, which ends each loop
            at += 1
        method = _method(text + start, at - start)
        if method is None or at + 2 >= end or text[at] != c" " or text[at + 1] != c"/":
            return 0
        at += 1
        target = at
        while True:
            kind = IN_TARGET[<uint8_t>text[at]]
            if kind == 0:
                break
            at += 1
            if kind == 2 and (text[at] == c"." or text[at] == c"%"):
                return 0  # a dot segment, maybe
        if end - at < 11 or memcmp(text + at, b" HTTP/1.", 8) != 0:
            return 0
        http10 = text[at + 8] == c"0"
        if memcmp(text + at + 8, b"0\r\n" if http10 else b"1\r\n", 3) != 0:
            return 0
        head_end = self._scan(text, at + 11, end)
        if head_end == 0 or self.hosts != 1 or http10 and self.transfer_encoding:
            self.clear()
            return 0
        self.method = method
        self.http10 = http10
        self.target = PyBytes_FromStringAndSize(text + target, at - target)
        self._hold(data, start, head_end)
        return head_end

    cdef Py_ssize_t scan_response(self, bytes data, Py_ssize_t at) except -1:
        """Take the final response head that begins there; as ``scan_request``."""
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t start = at, head_end
        cdef const char* newline
        cdef int status
        if end - at < 15 or memcmp(text + at, b"HTTP/1.1 ", 9) != 0 or text[at + 12] != c" ":
            return 0
        status = <int>_digits(text + at + 9, 3)
        at += 13
        newline = <const char*>memchr(text + at, c"\n", <size_t>(end - at))
        if not 200 <= status <= 599 or newline == NULL:
            return 0
        end = newline - text
        if end <= at or text[end - 1] != c"\r" or not _is_text(text + at, end - 1 - at):
            return 0
        head_end = self._scan(text, end + 1, PyBytes_GET_SIZE(data))
        if head_end == 0:
            self.clear()
            return 0
        self.status = status
        if end - at == 3 and memcmp(text + at, b"OK", 2) == 0:
            self.reason = b"OK"
        else:
            self.reason = PyBytes_FromStringAndSize(text + at, end - 1 - at)
        self._hold(data, start, head_end)
        return head_end

    cdef bint scan_trailers(self, bytes section) except -1:
        """Take a trailer section, with the empty line at its end; False: it is not one."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(section)
        self.in_trailers = True
        if self._scan(PyBytes_AS_STRING(section), 0, size) != size:
            return False
        return self._hold(section, 0, size) == 0

    cdef Py_ssize_t _scan(self, const char* text, Py_ssize_t at, Py_ssize_t end) except -1:
        """Take field lines up to and with the empty one; 0: one of them is not plain."""
        cdef Field field
        cdef const char* newline
        cdef Py_ssize_t name, colon, value, line_end, value_end
        if self.count or self.read is not None:
            self.clear()
        if end > 0xFFFFFFFF:
            return 0
        while end - at >= 2:
            if text[at] == c"\r":
                return at + 2 if text[at + 1] == c"\n" else 0
            name = at
            while IN_TOKEN[<uint8_t>text[at]]:
                at += 1
            colon = at
            if colon == name or text[colon] != c":":
                return 0
            value = colon + 1
            while text[value] == c" " or text[value] == c"\t":
                value += 1
            newline = <const char*>memchr(text + value, c"\n", <size_t>(end - value))
            if newline == NULL:
                return 0
            line_end = newline - text
            value_end = line_end - 1
            if value_end < value or text[value_end] != c"\r":
                return 0
            while value_end > value and text[value_end - 1] in (c" ", c"\t"):
                value_end -= 1
            if not _is_text(text + value, value_end - value):
                return 0
            field.name = <uint32_t>name
            field.name_length = <uint32_t>(colon - name)
            field.value = <uint32_t>value
            field.value_length = <uint32_t>(value_end - value)
            field.kind = kind_of(text + name, colon - name)
            field.exact = (
                value == colon + 2 and text[colon + 1] == c" " and value_end == line_end - 1
            )
            if field.kind != OTHER and not self.in_trailers:
                if not self._is_plain(<FieldKind>field.kind, text + value, value_end - value):
                    return 0
                self._understand(<FieldKind>field.kind, text + value, value_end - value)
            self._add(&field)
            at = line_end + 1
        return 0

    cdef bint _is_plain(self, FieldKind kind, const char* value, Py_ssize_t length) noexcept:
        """Whether the field leaves no doubt about the message's framing and its connection."""
        if kind == CONTENT_LENGTH:
            return (
                self.content_length == -1
                and not self.transfer_encoding
                and _digits(value, length) >= 0
            )
        if kind == TRANSFER_ENCODING:
            return (
                not self.transfer_encoding
                and self.content_length == -1
                and length == 7
                and same_name(value, b"chunked", 7)
            )
        if kind == CONNECTION:
            return (
                length == 10 and same_name(value, b"keep-alive", 10)
                or length == 5 and same_name(value, b"close", 5)
            )
        if kind == HOST:
            return self.hosts == 0
        return kind != UPGRADE and kind != PROXY_CONNECTION

    cdef int _hold(self, bytes data, Py_ssize_t start, Py_ssize_t end) except -1:
        """Keep the text of the fields: all that was read, or a copy where that is much more."""
        cdef Py_ssize_t i
        if PyBytes_GET_SIZE(data) - (end - start) > PINNED:
            data = PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)
            for i in range(self.count):
                self.list[i].name -= <uint32_t>start
                self.list[i].value -= <uint32_t>start
        self.read = data
        self.text = PyBytes_AS_STRING(data)
        return 0

    cpdef Fields edited(self, frozenset removed, list added):
        """Others: without those whose names, in lower case, are removed; with the added ones, name
        and value in turn, behind."""
        cdef Fields found = Fields.__new__(Fields)
        cdef Py_ssize_t i
        cdef Field* field
        cdef bytes name
        for i in range(self.count):
            field = &self.list[i]
            name = PyBytes_FromStringAndSize(self.text + field.name, field.name_length)
            if name.lower() not in removed:
                found.append(
                    name, PyBytes_FromStringAndSize(self.text + field.value, field.value_length))
        for i in range(0, len(added), 2):
            found.append(<bytes?>added[i], <bytes?>added[i + 1])
        return found

    # -- asked

    cpdef bytes get(self, bytes name):
        """The values of a field, given in lower case, joined by a comma; None where absent."""
        cdef Py_ssize_t i, length = len(name)
        cdef bytes found = None, value
        cdef Field* field
        for i in range(self.count):
            field = &self.list[i]
            if <Py_ssize_t>field.name_length == length and same_name(
                    self.text + field.name, PyBytes_AS_STRING(name), length):
                value = PyBytes_FromStringAndSize(self.text + field.value, field.value_length)
                found = value if found is None else found + b"," + value
        return found

    @property
    def items(self):
        """``[name, value, name, value, ...]``, as they came."""
        cdef list found = []
        cdef Py_ssize_t i
        cdef Field* field
        for i in range(self.count):
            field = &self.list[i]
            found.append(PyBytes_FromStringAndSize(self.text + field.name, field.name_length))
            found.append(PyBytes_FromStringAndSize(self.text + field.value, field.value_length))
        return found

    def scanned_request(self, bytes data not None, Py_ssize_t at=0):
        """As ``scan_request``, for callers that are not compiled."""
        return self.scan_request(data, at) if 0 <= at <= len(data) else 0

    def scanned_response(self, bytes data not None, Py_ssize_t at=0):
        """As ``scan_response``, for callers that are not compiled."""
        return self.scan_response(data, at) if 0 <= at <= len(data) else 0


cpdef Py_ssize_t position(bytes data, char octet) except -2:
    """Where the octet is first found; -1: nowhere. As ``data.find``, which parses arguments."""
    cdef Py_ssize_t length = len(data)
    cdef const char* text = PyBytes_AS_STRING(data)
    cdef const void* found = memchr(text, octet, <size_t>length)
    return -1 if found == NULL else <const char*>found - text


cpdef bytes part(bytes data, Py_ssize_t start, Py_ssize_t end):
    """``data[start:end]``, of bounds that lie within; without a slice object."""
    if not 0 <= start <= end <= len(data):
        raise IndexError(end)
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + start, end - start)


cpdef bint is_plain_target(bytes target) except -1:
    """Whether a target is a path that is forwarded as it stands: it begins with a slash, and has
    no fragment and nothing that could be a dot segment."""
    cdef Py_ssize_t i, length = len(target)
    cdef const char* text = PyBytes_AS_STRING(target)
    if length == 0 or text[0] != c"/":
        return False
    for i in range(length):
        if text[i] == c"#":
            return False
        if text[i] == c"/" and i + 1 < length and (text[i + 1] == c"." or text[i + 1] == c"%"):
            return False
    return True
