"""A lazy deterministic automaton: sets of a program's states, made when a value first needs them.

Invariants: a byte costs one look at a table, or at most the size of the program, cached or not; the
sets of an automaton take no more than ``BUDGET`` bytes, and are forgotten all together when they
would. It is used by one thread.

A state may have steps that need something of the place (``^``, ``\\b``): they are taken when the
next byte is known. What is behind the place is therefore a part of a set, where it matters.
"""

from array import array

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t

cdef extern from *:
    int __builtin_ctzll(unsigned long long) nogil

# A pattern has two automata at most, one of them backwards: together 1 MiB.
cdef Py_ssize_t BUDGET = 1 << 19
# What a set costs in Python's objects besides its bits.
cdef Py_ssize_t OBJECTS = 192
cdef int FEW = 8


cdef bint holds(const uint64_t* which, int state) noexcept:
    """Whether a state is in a set."""
    return (which[state >> 6] >> (state & 63)) & 1


cdef int kind_of(unsigned char octet) noexcept:
    if octet == c"\n":
        return NEWLINE
    if (c"0" <= octet <= c"9" or c"A" <= octet <= c"Z" or c"a" <= octet <= c"z"
            or octet == c"_"):
        return WORD
    return OTHER


cdef int between(int left, int right) noexcept:
    """What holds at a place between these two, as bits."""
    cdef int flags = NO_BOUNDARY if (left == WORD) == (right == WORD) else BOUNDARY
    if left == EDGE:
        flags |= BEGIN_TEXT | BEGIN_LINE
    elif left == NEWLINE:
        flags |= BEGIN_LINE
    if right == EDGE:
        flags |= END_TEXT | END_LINE
    elif right == NEWLINE:
        flags |= END_LINE
    return flags


cdef class Graph:
    """Edges, steps: for each state a list, as in rules/regex/program.py."""

    def __init__(self, list edges, list steps):
        self.size = len(edges)
        self.edge_at = _places(edges)
        self.low = bytearray([low for each in edges for low, _, _ in each] or [0])
        self.high = bytearray([high for each in edges for _, high, _ in each] or [0])
        self.edge_to = _ints([to for each in edges for _, _, to in each])
        self.step_at = _places(steps)
        self.need = _ints([need for each in steps for need, _ in each])
        self.step_to = _ints([to for each in steps for _, to in each])
        self.asserts = any([need for each in steps for need, _ in each])

    cdef Graph reversed(self):
        """The same with all edges and steps the other way round."""
        cdef int state, at
        edges = [[] for _ in range(self.size)]
        steps = [[] for _ in range(self.size)]
        for state in range(self.size):
            for at in range(self.edge_at[state], self.edge_at[state + 1]):
                edges[self.edge_to[at]].append((self.low[at], self.high[at], state))
            for at in range(self.step_at[state], self.step_at[state + 1]):
                steps[self.step_to[at]].append((self.need[at], state))
        return Graph(edges, steps)


def _ints(values):
    return array("i", values or [0])


def _places(lists):
    """Where each of them begins when they are put behind each other, and where the last ends."""
    found = [0]
    for each in lists:
        found.append(found[-1] + len(each))
    return _ints(found)


cdef class Automaton:
    """The sets of states that a graph can be in. It begins at ``origin``; a set that has ``goal``
    is the end of a match. Backwards, a match may end at each place: ``origin`` is in every set.
    """

    def __init__(self, Graph graph not None, int origin, int goal, bytes classes not None,
                 bint backwards):
        self.graph = graph
        self.origin = origin
        self.goal = goal
        self.backwards = backwards
        self.class_of = classes
        self.classes = classes[255] + 1
        self.first_of = bytes([classes.index(kind) for kind in range(self.classes)])
        self.words = (graph.size + 63) // 64 + 1
        self.found = array("Q", bytes(8 * self.words))
        self.resolved = array("Q", bytes(8 * self.words))
        self.stack = array("i", bytes(4 * graph.size))
        self.most = BUDGET // (4 * self.classes + 8 * self.words + OBJECTS)
        self._flush()

    cdef int begin(self) except -1:
        """The set before the first byte."""
        if self.first == UNKNOWN:
            self.found[:] = 0
            self.pending = False
            self._visit(self.found, self.origin, 0)
            self.first = self._put_found(EDGE)
        return self.first

    cdef int next(self, int at, int kind) except -1:
        """The set behind a byte of a class. Others may be forgotten, ``at`` among them: then
        ``flushes`` grows."""
        cdef Graph graph = self.graph
        cdef unsigned char octet = self.first_of[kind]
        cdef int ahead = kind_of(octet), state, edge, flushes = self.flushes, to
        cdef Py_ssize_t word
        cdef uint64_t rest
        self._resolve(at, ahead)
        self.found[:] = 0
        self.pending = False
        if self.backwards:
            self._visit(self.found, self.origin, 0)
        for word in range(self.words - 1):
            rest = self.resolved[word]
            while rest:
                state = <int>(word * 64) + __builtin_ctzll(rest)
                rest &= rest - 1
                self.work += 1
                for edge in range(graph.edge_at[state], graph.edge_at[state + 1]):
                    self.work += 1
                    if graph.low[edge] <= octet <= graph.high[edge]:
                        self._visit(self.found, graph.edge_to[edge], 0)
        to = self._put_found(ahead)
        if flushes == self.flushes:
            self.following[at * self.classes + kind] = to
        return to

    cdef bint accepts(self, int at) except -1:
        """Whether a match may end there, at the end of the value."""
        if self.ends[at] == UNKNOWN:
            self._resolve(at, EDGE)
            self.ends[at] = holds(&self.resolved[0], self.goal)
        return self.ends[at]

    cdef int make_room(self, int count) except -1:
        """Forgets all sets if there is no room for so many more."""
        if self.count + count > self.most:
            self._flush()
        return 0

    cdef int put(self, bytes which) except -1:
        """The number of a set; all others may be forgotten."""
        number = self.known.get(which)
        if number is not None:
            return number
        self.make_room(1)
        cdef Py_ssize_t room = self.ends.shape[0]
        if self.count == room:
            room = min(2 * room, self.most)
            self.following = _grown("i", self.following, room * self.classes)
            self.ends = _grown("b", self.ends, room)
        self.known[which] = self.count
        self.sets.append(which)
        self.count += 1
        return self.count - 1

    cdef int _flush(self) except -1:
        self.flushes += 1
        self.count = 0
        self.known = {}
        self.sets = []
        self.following = _filled("i", FEW * self.classes)
        self.ends = _filled("b", FEW)
        self.first = UNKNOWN
        self.put(bytes(8 * self.words))
        return 0

    cdef int _put_found(self, int behind) except -1:
        self.found[self.words - 1] = behind if self.pending else 0
        return self.put(PyBytes_FromStringAndSize(<const char*>&self.found[0], 8 * self.words))

    cdef int _resolve(self, int at, int ahead) except -1:
        """The set with the steps that this place allows, in ``resolved``."""
        cdef bytes which = self.sets[at]
        cdef const uint64_t* bits = <const uint64_t*>PyBytes_AS_STRING(which)
        cdef int behind = <int>bits[self.words - 1], depth = 0
        cdef Py_ssize_t word
        cdef uint64_t rest
        for word in range(self.words):
            self.resolved[word] = bits[word]
        if not self.graph.asserts:
            return 0
        for word in range(self.words - 1):
            rest = bits[word]
            while rest:
                self.stack[depth] = <int>(word * 64) + __builtin_ctzll(rest)
                rest &= rest - 1
                depth += 1
        cdef int flags = between(ahead, behind) if self.backwards else between(behind, ahead)
        return self._close(self.resolved, depth, flags)

    cdef int _visit(self, uint64_t[::1] into, int state, int flags) except -1:
        """Adds a state, and all that its steps lead to."""
        if holds(&into[0], state):
            return 0
        into[state >> 6] |= <uint64_t>1 << (state & 63)
        self.stack[0] = state
        return self._close(into, 1, flags)

    cdef int _close(self, uint64_t[::1] into, int depth, int flags) except -1:
        cdef Graph graph = self.graph
        cdef int state, step, need, to
        while depth > 0:
            depth -= 1
            state = self.stack[depth]
            self.work += 1
            for step in range(graph.step_at[state], graph.step_at[state + 1]):
                self.work += 1
                need = graph.need[step]
                to = graph.step_to[step]
                if need & flags != need:
                    self.pending = True
                elif not holds(&into[0], to):
                    into[to >> 6] |= <uint64_t>1 << (to & 63)
                    self.stack[depth] = to
                    depth += 1
        return 0


def _filled(kind, Py_ssize_t size):
    """An array of UNKNOWN."""
    return array(kind, [UNKNOWN]) * size


def _grown(kind, old, Py_ssize_t size):
    return array(kind, old) + _filled(kind, size - len(old))
