from libc.stdint cimport uint32_t, uint64_t


cdef struct Point:
    uint64_t hash
    uint32_t owner


cdef class HashTable:
    cdef readonly Py_ssize_t size

    cpdef Py_ssize_t find(self, uint64_t key) except -1
    cpdef Py_ssize_t owner(self, Py_ssize_t at) except -1


cdef class Ring(HashTable):
    cdef Point* points                  # by hash


cdef class Maglev(HashTable):
    cdef uint32_t* owners
