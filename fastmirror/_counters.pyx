"""Counters in memory that all workers share; and the C library's habits with memory.

Invariants: a count is an addition to a slot of its process's own region; no slot outside of the
buffer is ever touched. Nothing here does I/O or waits.
"""

from libc.stdint cimport uint8_t, uint64_t

# Seconds. From 0.25 ms: what a local hop takes. The last bucket is all above.
cdef double[15] _bounds = [
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
]
DURATION_BUCKETS = tuple(_bounds)


cdef class Counters:
    """A writable buffer seen as unsigned 64-bit counters; one process writes, any may read."""

    def __init__(self, buffer):
        cdef uint8_t[::1] view = buffer
        self.owner = buffer
        self.slots = <uint64_t*>&view[0]
        self.capacity = view.shape[0] // 8

    cpdef int add(self, Py_ssize_t slot, long long amount) except -1:
        if not 0 <= slot < self.capacity:
            raise IndexError(slot)
        self.slots[slot] += <uint64_t>amount
        return 0

    cpdef int put(self, Py_ssize_t slot, uint64_t value) except -1:
        if not 0 <= slot < self.capacity:
            raise IndexError(slot)
        self.slots[slot] = value
        return 0

    cpdef uint64_t get(self, Py_ssize_t slot) except? 0:
        if not 0 <= slot < self.capacity:
            raise IndexError(slot)
        return self.slots[slot]

    cpdef int observe(self, Py_ssize_t slot, double seconds) except -1:
        """One value of a histogram: its bucket counts it, and the microseconds are summed in
        the slot behind the last bucket."""
        cdef int bucket = 0
        if not 0 <= slot < self.capacity - BUCKETS:
            raise IndexError(slot)
        while bucket < BUCKETS - 1 and seconds > _bounds[bucket]:
            bucket += 1
        self.slots[slot + bucket] += 1
        self.slots[slot + BUCKETS] += <uint64_t>(seconds * 1e6)
        return 0


# ---- memory ------------------------------------------------------------------------------

cdef extern from *:
    """
    #include <stdlib.h>
    #ifdef __GLIBC__
    #include <malloc.h>
    static int keep_freed_memory(int size) {
        return mallopt(M_MMAP_THRESHOLD, 4 << 20) && mallopt(M_TRIM_THRESHOLD, size)
            && mallopt(M_TOP_PAD, 1 << 20);
    }
    #else
    static int keep_freed_memory(int size) { (void)size; return 0; }
    #endif
    """
    int keep_freed_memory(int size) nogil


def keep_memory(int size):
    """Let the process keep so many bytes of memory that it has freed, and take more in steps of a
    MiB: bodies come in pieces of 256 KB, and to give the memory of each back and take it again
    costs a page fault for every 4 KB. Returns whether the C library can do so (glibc can)."""
    return bool(keep_freed_memory(size))
