from libc.stdint cimport uint64_t


# What holds between two bytes, as in rules/regex/syntax.py.
cdef enum:
    BEGIN_TEXT = 1
    END_TEXT = 2
    BEGIN_LINE = 4
    END_LINE = 8
    BOUNDARY = 16
    NO_BOUNDARY = 32

# What is before or behind a place: the edge of the value, or a byte that is one of these.
cdef enum:
    EDGE
    NEWLINE
    WORD
    OTHER

cdef enum:
    UNKNOWN = -1
    NOTHING = 0     # the set of no states: nothing can match any more


cdef class Graph:
    cdef readonly int size              # how many states
    cdef readonly bint asserts          # there are steps with a need
    # The edges of state s are edge_at[s] to edge_at[s + 1], and so are its steps.
    cdef int[::1] edge_at
    cdef unsigned char[::1] low
    cdef unsigned char[::1] high
    cdef int[::1] edge_to
    cdef int[::1] step_at
    cdef int[::1] need
    cdef int[::1] step_to

    cdef Graph reversed(self)


cdef class Automaton:
    cdef Graph graph
    cdef int origin
    cdef int goal
    cdef bint backwards
    cdef const unsigned char[::1] class_of
    cdef int classes
    cdef bytes first_of                 # a byte of each class

    cdef Py_ssize_t words               # of a set
    cdef uint64_t[::1] found            # the set that is being made; the last word: what is behind
    cdef uint64_t[::1] resolved
    cdef int[::1] stack
    cdef bint pending                   # something of the set has a need that is not known yet

    cdef readonly int most              # sets that are kept, at most
    cdef readonly int count
    cdef readonly long long work        # states looked at so far
    cdef readonly int flushes
    cdef dict known                     # set: its number
    cdef list sets
    cdef int[::1] following             # by set and class
    cdef signed char[::1] ends          # by set: whether it is the end of a match, or UNKNOWN
    cdef int first

    cdef int begin(self) except -1
    cdef int next(self, int at, int kind) except -1
    cdef bint accepts(self, int at) except -1
    cdef int make_room(self, int count) except -1
    cdef int put(self, bytes which) except -1
    cdef int _flush(self) except -1
    cdef int _put_found(self, int behind) except -1
    cdef int _resolve(self, int at, int ahead) except -1
    cdef int _visit(self, uint64_t[::1] into, int state, int flags) except -1
    cdef int _close(self, uint64_t[::1] into, int depth, int flags) except -1


cdef bint holds(const uint64_t* which, int state) noexcept
cdef int kind_of(unsigned char octet) noexcept
cdef int between(int left, int right) noexcept
