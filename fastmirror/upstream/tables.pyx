"""Tables that say which endpoint the hash of a key belongs to, so that many cost no more than few.

Invariants: a table depends on the names, their weights and its size alone, whatever their order,
so that every worker, replica and run has the same one; it does not change once it is made.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy, memset

from fastmirror._core cimport hash64

cdef Py_ssize_t MAX_POINTS = 8388608  # as Envoy's maximum_ring_size
cdef uint32_t NOBODY = 0xFFFFFFFF
cdef size_t MAX_NAME = 512


cdef uint64_t hash_name(bytes name, uint64_t seed):
    return hash64(<const uint8_t*>PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), seed)


cdef int by_hash(const void* one, const void* other) noexcept nogil:
    cdef const Point* a = <const Point*>one
    cdef const Point* b = <const Point*>other
    if a.hash != b.hash:
        return -1 if a.hash < b.hash else 1
    return -1 if a.owner < b.owner else a.owner > b.owner


cdef list in_order(list names):
    """The indices of the names, sorted by name."""
    return sorted(range(len(names)), key=names.__getitem__)


cdef class HashTable:
    """``size`` places, each of which an endpoint owns."""

    cpdef Py_ssize_t find(self, uint64_t key) except -1:
        """The place of a key's hash."""
        raise NotImplementedError

    cpdef Py_ssize_t owner(self, Py_ssize_t at) except -1:
        """The index of the name that owns a place."""
        raise NotImplementedError


cdef class Ring(HashTable):
    """A hash ring, as Envoy's: each name has points on it, in proportion to its weight, and a key
    belongs to the first point that is not below its hash. At least ``least`` points in all, more
    where the lightest name would otherwise have less than one, but no more than 8388608.
    """

    def __cinit__(self, list names, list weights, Py_ssize_t least):
        cdef list shares = points_of(weights, least)
        cdef Py_ssize_t at = 0
        cdef uint32_t owner
        cdef long index, count
        self.size = sum(shares)
        self.points = <Point*>malloc(self.size * sizeof(Point))
        if self.points == NULL:
            raise MemoryError("a hash ring")
        for index in in_order(names):
            owner = index
            count = shares[index]
            add_points(&self.points[at], names[index], count, owner)
            at += count
        qsort(self.points, self.size, sizeof(Point), by_hash)

    def __dealloc__(self):
        free(self.points)

    cpdef Py_ssize_t find(self, uint64_t key) except -1:
        cdef Py_ssize_t low = 0, high = self.size, middle
        while low < high:
            middle = (low + high) // 2
            if self.points[middle].hash < key:
                low = middle + 1
            else:
                high = middle
        return low if low < self.size else 0

    cpdef Py_ssize_t owner(self, Py_ssize_t at) except -1:
        if not 0 <= at < self.size:
            raise IndexError(at)
        return self.points[at].owner


cdef list points_of(list weights, Py_ssize_t least):
    """How many points each weight gets; one at least."""
    total = sum(weights)
    lightest = min(weights)
    each = -(-lightest * least // total)
    if each * total <= MAX_POINTS * lightest:
        return [-(-each * weight // lightest) for weight in weights]
    return [max(1, MAX_POINTS * weight // total) for weight in weights]


cdef int add_points(Point* points, bytes name, long count, uint32_t owner) except -1:
    """The hashes of ``NAME_0``, ``NAME_1`` and so on."""
    cdef char[544] text
    cdef size_t size = PyBytes_GET_SIZE(name)
    cdef long number
    if size > MAX_NAME:
        raise ValueError("an address of more than 512 bytes")
    memcpy(text, PyBytes_AS_STRING(name), size)
    for number in range(count):
        points[number].hash = hash64(
            <const uint8_t*>text, size + snprintf(text + size, 32, "_%ld", number), 0)
        points[number].owner = owner
    return 0


cdef class Maglev(HashTable):
    """Maglev's table (Eisenbud and others, 2016, section 3.4): names take turns to claim places,
    each in an order of its own, and with less weight less often, as Envoy's. ``size``: a prime.
    """

    def __cinit__(self, list names, list weights, Py_ssize_t size):
        cdef list order = in_order(names)
        cdef Py_ssize_t count = len(order), at
        cdef long index
        cdef Claim* claims
        self.size = size
        self.owners = <uint32_t*>malloc(size * sizeof(uint32_t))
        if self.owners == NULL:
            raise MemoryError("a maglev table")
        memset(self.owners, 0xFF, size * sizeof(uint32_t))
        claims = <Claim*>malloc(count * sizeof(Claim))
        if claims == NULL:
            raise MemoryError("a maglev table")
        try:
            for at in range(count):
                index = order[at]
                claims[at].owner = index
                claims[at].next = hash_name(names[index], 0) % size
                claims[at].skip = hash_name(names[index], 1) % (size - 1) + 1
                claims[at].weight = weights[index]
                claims[at].target = 0
            fill(self.owners, size, claims, count, max(weights))
        finally:
            free(claims)

    def __dealloc__(self):
        free(self.owners)

    cpdef Py_ssize_t find(self, uint64_t key) except -1:
        return key % self.size

    cpdef Py_ssize_t owner(self, Py_ssize_t at) except -1:
        if not 0 <= at < self.size:
            raise IndexError(at)
        return self.owners[at]


cdef struct Claim:
    uint32_t owner
    uint64_t next                       # the place that it claims next
    uint64_t skip
    uint64_t weight
    uint64_t target                     # its turn comes when round * weight gets there


cdef int fill(
        uint32_t* owners, Py_ssize_t size, Claim* claims, Py_ssize_t count, uint64_t heaviest
) noexcept nogil:
    cdef Py_ssize_t filled = 0, at
    cdef uint64_t turn = 0
    while True:
        turn += 1
        for at in range(count):
            if turn * claims[at].weight < claims[at].target:
                continue
            claims[at].target += heaviest
            while owners[claims[at].next] != NOBODY:
                claims[at].next = (claims[at].next + claims[at].skip) % size
            owners[claims[at].next] = claims[at].owner
            filled += 1
            if filled == size:
                return 0
