"""The writing side of a connection: to the socket at once, through the transport if that is full.

A transport costs a request more than the system call that it makes. So what the kernel takes is
sent from here, and only what it does not take is given to the transport, which pauses its
protocol, waits and reports errors as ever.

Invariants: bytes leave in the order in which they were given; nothing here waits, or raises for
what a peer does; a descriptor is used only between ``open`` and ``shut``, which the protocol calls
before its transport can close it (in ``connection_lost`` at the latest).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcpy


cdef extern from "sys/socket.h" nogil:
    int MSG_NOSIGNAL
    int MSG_DONTWAIT
    int MSG_MORE
    int SOL_SOCKET, SO_RCVBUF
    int setsockopt(int descriptor, int level, int name, const void* value, unsigned int size)
    ssize_t send(int descriptor, const void* data, size_t size, int flags)
    int shutdown(int descriptor, int how)
    int SHUT_WR

# Pieces that are sent together are put together here, up to this size: a head and a short body.
cdef enum:
    ROOM = 8192
cdef char[ROOM] _together


cdef class Outlet:
    """Of one connection."""

    def __cinit__(self):
        self.descriptor = -1

    cdef int open(self, object transport) except -1:
        """The connection is made."""
        socket = transport.get_extra_info("socket")
        self.transport = transport
        self.descriptor = -1 if socket is None else socket.fileno()
        return 0

    cdef int limit_reading(self, int size) except -1:
        """Let the kernel hold about so many bytes that were not read yet, so that no read gets
        more; what cannot be set stays as it is."""
        if self.descriptor >= 0:
            setsockopt(self.descriptor, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size))
        return 0

    cdef int shut(self) except -1:
        """Nothing more is sent; what the transport has it may still send."""
        self.transport = None
        self.descriptor = -1
        self.held = None
        return 0

    cdef int hold(self, bytes data) except -1:
        """Send this with the next ``write`` or ``flush``: each is a system call."""
        if self.held is None:
            self.held = []
        self.held.append(data)
        return 0

    cdef int write(self, bytes data) except -1:
        """Send this, behind what is held."""
        if self.held:
            self.held.append(data)
            return self.flush()
        if self.transport is None:
            return 0
        return self._send(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), data, 0)

    cdef bint take_back(self) except -1:
        """Do not send what is held; whether there was something."""
        cdef bint found = self.held is not None and len(self.held) > 0
        self.held = None
        return found

    cdef int flush(self) except -1:
        """Send what is held."""
        return self._flush(0)

    cdef int finish(self) except -1:
        """Send what is held, and that nothing follows it: the end of the stream goes with the last
        of the data, instead of in a packet that wakes the peer once more. What the transport has to
        send is ended by closing it."""
        if not self.held:
            return 0
        self._flush(MSG_MORE)
        if self.descriptor >= 0 and not self.spilled:
            shutdown(self.descriptor, SHUT_WR)
        return 0

    cdef int _flush(self, int flags) except -1:
        cdef Py_ssize_t size = 0
        cdef bytes piece
        cdef list held = self.held
        if not held:
            return 0
        self.held = None
        if self.transport is None:
            return 0
        if len(held) == 1:
            piece = <bytes>held[0]
            return self._send(PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece), piece, flags)
        for piece in held:
            size += PyBytes_GET_SIZE(piece)
        if size > ROOM:
            piece = b"".join(held)
            return self._send(PyBytes_AS_STRING(piece), size, piece, flags)
        size = 0
        for piece in held:
            memcpy(_together + size, PyBytes_AS_STRING(piece), <size_t>PyBytes_GET_SIZE(piece))
            size += PyBytes_GET_SIZE(piece)
        return self._send(_together, size, None, flags)

    cdef bint _is_direct(self) except -1:
        """Whether nothing that was given to the transport is still to be sent before."""
        if self.spilled and self.transport.get_write_buffer_size() == 0:
            self.spilled = False
        return not self.spilled and self.descriptor >= 0

    cdef int _send(self, const char* data, Py_ssize_t size, bytes whole, int flags) except -1:
        """``whole``: the object that the data is, if it is one."""
        cdef Py_ssize_t sent = 0
        if size == 0:
            return 0
        if self._is_direct():
            flags |= MSG_NOSIGNAL | MSG_DONTWAIT
            sent = send(self.descriptor, data, <size_t>size, flags)
            if sent == size:
                return 0
            if sent < 0:
                sent = 0  # full, or an error that the transport will meet again, and handle
            self.spilled = True
        if sent or whole is None:
            whole = PyBytes_FromStringAndSize(data + sent, size - sent)
        if not self.transport.is_closing():
            self.transport.write(whole)
        return 0

    cdef Py_ssize_t unsent(self) except -1:
        """How many bytes the kernel has not taken yet, those that are held apart."""
        if not self.spilled or self.transport is None:
            return 0
        return self.transport.get_write_buffer_size()
