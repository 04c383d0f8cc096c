from fastmirror._automaton cimport Automaton, Graph


cdef class Pattern:
    cdef object __weakref__
    cdef readonly int groups            # how many a substitution may name
    cdef readonly bytes prefix
    cdef readonly bint literal
    cdef int start                      # a state of the program
    cdef bytes classes
    cdef object slots                   # by state: which end of which group is there, or -1
    cdef Automaton forwards
    cdef Search search                  # made when something is first replaced

    cpdef bint fullmatch(self, bytes value) except -1
    cpdef bytes replace(self, list substitution, bytes value)


cdef class Search:
    cdef Graph graph
    cdef Automaton backwards
    cdef int start
    cdef int[::1] slot_of
    cdef int[::1] stack                 # states to try; or what a slot was before, as -1 - slot
    cdef Py_ssize_t[::1] was
    cdef long long[::1] tried           # by state: the last visit in which it was tried
    cdef readonly long long visits
    cdef readonly long long work
    # Where the groups of the match begin and end, by slot; -1: nowhere.
    cdef Py_ssize_t[::1] slots

    cdef bytes value
    cdef Py_ssize_t size
    cdef list marks                     # the sets where blocks begin
    cdef Py_ssize_t block               # the one that is read
    cdef int[::1] numbers               # of the sets at its places

    cdef int read(self, bytes value) except -1
    cdef bint find(self, Py_ssize_t at) except -1
    cdef int forget(self) except -1
    cdef bint _match(self, Py_ssize_t at) except -1
    cdef int _choose(self, int state, Py_ssize_t at) except -2
    cdef bint _alive(self, int state, Py_ssize_t at) except -1
    cdef int _load(self, Py_ssize_t block) except -1
    cdef int _around(self, Py_ssize_t at) except -1
