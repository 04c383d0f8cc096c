"""Where messages begin and end: heads (RFC 9112 section 2) and chunked bodies (section 7.1).

Invariants: each octet belongs to exactly one message, and it does not matter in which pieces the
octets come; a line ends in CRLF and nothing else does, so that nobody behind us finds another end;
what is kept of a message that is not complete is bounded. Nothing here does I/O.

How long a body is, by its head, is ``http1/framing.py``; both stay free of tolerances that RFC 9112
allows a recipient, since requests smuggled past a proxy live on what one allows and another does
not.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memchr

from fastmirror._head cimport Fields, is_token

# Section 2.2 asks servers to ignore an empty line before a request; old clients send one or two.
cdef int EMPTY_LINES = 4

# Hexadecimal digits of a chunk's size: all that a length of 63 bits needs.
cdef int SIZE_DIGITS = 16
cdef long long TOO_LARGE = 1LL << 59

# What chunks may cost beyond their data, so that no one makes us read a megabyte for a byte of body
# (chunk extensions, single-octet chunks with long sizes): for each 16 octets and twice the data are
# free, and 16 KiB besides.
cdef Py_ssize_t FREE = 16
cdef Py_ssize_t OVERHEAD = 16384


cdef class Head:
    """A head that comes in pieces. ``empty_lines``: allowed before it (requests alone)."""

    def __cinit__(self, bint empty_lines=False):
        self.empty_lines = EMPTY_LINES if empty_lines else 0
        self.taken = bytearray()

    cdef Py_ssize_t take(self, bytes data, Py_ssize_t at) except -2:
        """Take what is the head's of the data from there on; returns where that ends, -1 where it
        is wrong. ``complete`` says whether the head is."""
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), start = at
        cdef unsigned char octet
        while at < size:
            octet = <unsigned char>text[at]
            at += 1
            if self.after_cr:
                if octet != c"\n":
                    self.wrong = "a CR without an LF behind it"
                    return -1
                self.after_cr = False
                if self.line:
                    self.line = 0
                elif self.begun:
                    self.complete = True
                    break
                elif self.empty_lines == 0:
                    self.wrong = "an empty line where a message begins"
                    return -1
                else:
                    self.empty_lines -= 1
                    start = at
                    self.taken.clear()
            elif octet == c"\r":
                self.after_cr = True
            elif octet == c"\n":
                self.wrong = "an LF without a CR before it"
                return -1
            elif octet < 0x20 and octet != c"\t" or octet == 0x7F:
                self.wrong = "a control character"
                return -1
            else:
                self.line += 1
                self.begun = True
        self.taken += data[start:at]
        return at

    cdef Py_ssize_t size(self) except -1:
        """How many octets of it have come."""
        return len(self.taken)

    cdef bytes text(self):
        """The octets."""
        return bytes(self.taken)

    def took(self, bytes data not None, Py_ssize_t at=0):
        """As ``take``, for callers that are not compiled."""
        return self.take(data, at) if 0 <= at <= len(data) else 0

    @property
    def octets(self):
        """As ``text``."""
        return self.text()


cdef enum:
    SIZE
    NAME        # of an extension; of its value, as a token or quoted
    VALUE
    QUOTED
    ESCAPED
    UNQUOTED
    SIZE_LF
    DATA
    DATA_CR
    DATA_LF
    TRAILERS


cdef class Chunks:
    """A chunked body. ``max_trailers``: octets of the trailer section, at most."""

    def __cinit__(self, Py_ssize_t max_trailers=65536):
        self.max_trailers = max_trailers
        self.state = SIZE

    cdef Py_ssize_t next(self, bytes data, Py_ssize_t at) except -2:
        """Read on from there, to the end of the next piece of the body, which is then between
        ``start`` and ``end``, or of the data; returns where that is, -1 where the framing is wrong.
        ``complete`` says whether the body is, and then ``trailers`` holds its trailer section."""
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        cdef unsigned char octet
        cdef int digit
        self.start = self.end = at
        while at < size:
            if self.state == DATA:
                self.start = at
                at = size if size - at < self.left else at + <Py_ssize_t>self.left
                self.end = at
                self.left -= at - self.start
                if self.left == 0:
                    self.state = DATA_CR
                return at
            if self.state == TRAILERS:
                return self._trailers(data, at)
            octet = <unsigned char>text[at]
            at += 1
            if self.state == SIZE:
                digit = _hex(octet)
                self.cost += 1
                if digit >= 0:
                    if self.left >= TOO_LARGE or self.digits == SIZE_DIGITS:
                        return self._fail("a chunk whose size is too large")
                    self.left = self.left * 16 + digit
                    self.digits += 1
                elif self.digits == 0:
                    return self._fail("a chunk that does not begin with its size")
                elif octet == c"\r":
                    self.state = SIZE_LF
                elif octet == c";":
                    self._extended(octet)
                else:
                    return self._fail("a chunk size with something behind it")
            elif self.state < SIZE_LF:
                if not self._extended(octet):
                    return self._fail("a chunk extension that is not NAME or NAME=VALUE")
                self.cost += 1
                if self.cost > OVERHEAD:
                    return self._fail("chunks with too much beside their data")
            elif self.state == SIZE_LF:
                if octet != c"\n":
                    return self._fail("a chunk size that does not end in CRLF")
                self.cost += 1 - FREE - (2 * self.left if self.left < OVERHEAD else OVERHEAD)
                if self.cost < 0:
                    self.cost = 0
                elif self.cost > OVERHEAD:
                    return self._fail("chunks with too much beside their data")
                self.state = DATA if self.left else TRAILERS
                self.digits = 0
            elif self.state == DATA_CR:
                if octet != c"\r":
                    return self._fail("a chunk longer than its size")
                self.state = DATA_LF
            else:
                if octet != c"\n":
                    return self._fail("a chunk longer than its size")
                self.state = SIZE
        return at

    cdef bint _extended(self, unsigned char octet) noexcept:
        """Take an octet of an extension (section 7.1.1, without its white space): to be ignored
        where it is not understood. None is forwarded."""
        if self.state == QUOTED or self.state == ESCAPED:
            if octet < 0x20 and octet != c"\t" or octet == 0x7F:
                return False
            if self.state == ESCAPED:
                self.state = QUOTED
            elif octet == c"\\":
                self.state = ESCAPED
            elif octet == c'"':
                self.state = UNQUOTED
            return True
        if (self.state == NAME or self.state == VALUE) and is_token(octet):
            self.filled = True
            return True
        if self.state == VALUE and octet == c'"' and not self.filled:
            self.state = QUOTED
            return True
        if not self.filled and (self.state == NAME or self.state == VALUE):
            return False
        if octet == c"\r":
            self.state = SIZE_LF
        elif octet == c";":
            self.state = NAME
        elif octet == c"=" and self.state == NAME:
            self.state = VALUE
        else:
            return False
        self.filled = False
        return True

    cdef Py_ssize_t _trailers(self, bytes data, Py_ssize_t at) except -2:
        """The trailer section (section 7.1.2), up to and with the empty line."""
        cdef const char* text = PyBytes_AS_STRING(data)
        cdef const char* newline
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), stop
        cdef bytes section
        while at < size:
            newline = <const char*>memchr(text + at, c"\n", <size_t>(size - at))
            stop = size if newline == NULL else newline - text + 1
            if self.section is None:
                self.section = bytearray()
            if len(self.section) + stop - at > self.max_trailers:
                self.too_large = True
                return self._fail("the trailer fields are too large")
            self.section += data[at:stop]
            at = stop
            if newline == NULL:
                break
            if not self.section.endswith(b"\r\n"):
                return self._fail("an LF without a CR before it")
            if len(self.section) == 2 or self.section.endswith(b"\r\n\r\n"):
                self.complete = True
                section = bytes(self.section)
                self.section = None
                if len(section) > 2:
                    self.trailers = Fields.__new__(Fields)
                    if not self.trailers.scan_trailers(section):
                        return self._fail("trailer fields that are not valid")
                break
        return at

    cdef Py_ssize_t _fail(self, str wrong) except -2:
        self.wrong = wrong
        return -1

    def read(self, bytes data not None, Py_ssize_t at=0):
        """``(where it ends, the piece of the body)``, for callers that are not compiled."""
        if not 0 <= at <= len(data):
            raise IndexError(at)
        at = self.next(data, at)
        return at, data[self.start:self.end]


cdef int _hex(unsigned char octet) noexcept nogil:
    """The value of a hexadecimal digit; -1: it is none."""
    if c"0" <= octet <= c"9":
        return octet - c"0"
    octet |= 0x20
    return octet - c"a" + 10 if c"a" <= octet <= c"f" else -1
