"""The ends and options of connections, asked of the kernel by their descriptors.

An event loop's transport makes an address by way of Python objects and ``snprintf``, its socket
object another socket for each option, and Python an exception where there is none: that costs a
connection tens of microseconds.

Invariants: IPv4 is IPv4 also on a dual-stack socket; a descriptor that is closed, or is no
socket, is no error.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memchr, memcmp, memcpy, memset, strlen


cdef extern from "netinet/in.h" nogil:
    ctypedef unsigned int socklen_t
    cdef struct sockaddr:
        unsigned short sa_family
    cdef struct in_addr:
        pass
    cdef struct in6_addr:
        pass
    cdef struct sockaddr_in:
        unsigned short sin_port
        in_addr sin_addr
    cdef struct sockaddr_in6:
        unsigned short sin6_port
        in6_addr sin6_addr
    int AF_INET, AF_INET6
    int IPPROTO_IP, IPPROTO_IPV6
    int INET6_ADDRSTRLEN
    unsigned short ntohs(unsigned short port)

cdef extern from "arpa/inet.h" nogil:
    const char* inet_ntop(int family, const void* address, char* text, socklen_t size)

cdef extern from "sys/socket.h" nogil:
    int getsockname(int descriptor, sockaddr* name, socklen_t* size)
    int getpeername(int descriptor, sockaddr* name, socklen_t* size)
    int setsockopt(int descriptor, int level, int name, const void* value, socklen_t size)
    int getsockopt(int descriptor, int level, int name, void* value, socklen_t* size)

cdef enum:
    # linux/netfilter_ipv4.h, and for IPv6 netfilter_ipv6/ip6_tables.h.
    SO_ORIGINAL_DST = 80

cdef const unsigned char* MAPPED = b"\0\0\0\0\0\0\0\0\0\0\xff\xff"


# An address of either family, as it was read.
cdef struct End:
    int family              # 0: none
    unsigned short port
    unsigned char[16] octets


cdef int _take_name(const sockaddr* name, End* end) noexcept:
    """What a socket address says; mapped IPv4 is IPv4."""
    cdef const sockaddr_in* four = <const sockaddr_in*>name
    cdef const sockaddr_in6* six = <const sockaddr_in6*>name
    memset(end, 0, sizeof(End))
    if name.sa_family == AF_INET:
        end.port = ntohs(four.sin_port)
        memcpy(end.octets, &four.sin_addr, 4)
    elif name.sa_family == AF_INET6:
        end.port = ntohs(six.sin6_port)
        if memcmp(&six.sin6_addr, MAPPED, 12) == 0:
            end.family = AF_INET
            memcpy(end.octets, <const unsigned char*>&six.sin6_addr + 12, 4)
            return 0
        memcpy(end.octets, &six.sin6_addr, 16)
    else:
        return 0
    end.family = name.sa_family
    return 0


cdef bytes _text(const End* end):
    cdef char[64] text
    cdef Py_ssize_t size = 0
    cdef int at, octet
    if end.family == AF_INET:
        for at in range(4):
            octet = end.octets[at]
            if octet > 99:
                text[size] = <char>(48 + octet // 100)
                size += 1
            if octet > 9:
                text[size] = <char>(48 + octet // 10 % 10)
                size += 1
            text[size] = <char>(48 + octet % 10)
            text[size + 1] = 46  # "."
            size += 2
        return PyBytes_FromStringAndSize(text, size - 1)
    if end.family == AF_INET6 and inet_ntop(AF_INET6, end.octets, text, sizeof(text)) != NULL:
        return PyBytes_FromStringAndSize(text, <Py_ssize_t>strlen(text))
    return b""


cdef tuple _elsewhere(const End* original, const End* own):
    if original.family == 0:
        return None
    if original.port == own.port and memcmp(original.octets, own.octets, 16) == 0:
        return None
    return _text(original).decode(), original.port


cpdef bytes peer_ip(int descriptor):
    """The address of a connection's far end; empty where it has none, or is closed."""
    cdef sockaddr_in6 name
    cdef socklen_t size = sizeof(name)
    cdef End end
    if getpeername(descriptor, <sockaddr*>&name, &size) != 0:
        return b""
    _take_name(<sockaddr*>&name, &end)
    return _text(&end)


cpdef tuple destination(int descriptor, bytes peer, bint transparent):
    """``(host, port)`` that an accepted connection was going to; None: to where it arrived, or it
    is not known. ``peer``: where it comes from. ``transparent``: by TPROXY, so that our end is
    where it was going; else REDIRECT or DNAT may have changed it, which connection tracking
    remembers.
    """
    cdef sockaddr_in6 name
    cdef socklen_t size = sizeof(name)
    cdef End original, own
    cdef int level = IPPROTO_IP
    memset(&own, 0, sizeof(own))
    if not transparent:
        memset(&name, 0, sizeof(name))
        if memchr(PyBytes_AS_STRING(peer), 58, <size_t>PyBytes_GET_SIZE(peer)) != NULL:  # ":"
            level = IPPROTO_IPV6
        if getsockopt(descriptor, level, SO_ORIGINAL_DST, &name, &size) != 0:
            return None
        _take_name(<sockaddr*>&name, &original)
        size = sizeof(name)
    if getsockname(descriptor, <sockaddr*>&name, &size) != 0:
        return None
    _take_name(<sockaddr*>&name, &own)
    if not transparent:
        return _elsewhere(&original, &own)
    return (_text(&own).decode(), own.port) if own.family else None


def set_socket_option(int descriptor, int level, int name, int value):
    """Whether it could be set."""
    return setsockopt(descriptor, level, name, &value, sizeof(value)) == 0
