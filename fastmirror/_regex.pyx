"""Patterns of RE2's meaning: the match of a whole value, and the replacement of parts of it.

Invariant: each takes a time that is linear in the length of the value, whatever it is.

Parts are found in two passes. Backwards, an automaton says at each place which states of the
program still lead to a match: then the walk forwards always takes the preferred step that is
alive, and never has to go back. All matches of a value share the one pass backwards.
"""

from array import array

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t

from fastmirror._automaton cimport (
    EDGE, NOTHING, Automaton, Graph, between, holds, kind_of,
)

# Places whose sets are kept at the same time; of the others one of as many is, and they are
# found again from there.
cdef Py_ssize_t BLOCK = 128
cdef int GOAL = 0


cdef class Pattern:
    """A program, and what is known of the values that match it as a whole: they begin with
    ``prefix``, and are no longer if it is ``literal``."""

    def __init__(self, program, int groups, bytes prefix not None, bint literal):
        self.start = program.start
        self.classes = program.classes
        self.slots = array("i", program.slots)
        self.groups = groups
        self.prefix = prefix
        self.literal = literal
        self.forwards = Automaton(
            Graph(program.edges, program.steps), program.start, GOAL, program.classes, False
        )

    cpdef bint fullmatch(self, bytes value) except -1:
        """Whether the pattern takes the whole value."""
        cdef Automaton automaton = self.forwards
        cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(value)
        cdef Py_ssize_t place
        cdef const unsigned char* class_of = &automaton.class_of[0]
        cdef int state = automaton.begin(), classes = automaton.classes, to, kind
        cdef const int* following = &automaton.following[0]     # its indices are its own contents
        for place in range(PyBytes_GET_SIZE(value)):
            kind = class_of[text[place]]
            to = following[state * classes + kind]
            if to < 0:
                to = automaton.next(state, kind)
                following = &automaton.following[0]
            if to == NOTHING:
                return False
            state = to
        return automaton.accepts(state)

    cpdef bytes replace(self, list substitution, bytes value):
        """The value with each match replaced, from the left, as RE2's GlobalReplace does it: no
        empty match where the one before ended. ``substitution``: text, and numbers of groups."""
        cdef Search search = self.search
        if search is None:
            search = self.search = Search(self)
        cdef Py_ssize_t at = 0, size = PyBytes_GET_SIZE(value), last = -1, begin, end, slot
        parts = []
        search.read(value)
        while at <= size and search.find(at):
            begin, end = search.slots[0], search.slots[1]
            parts.append(value[at:begin])
            if begin == end == last:
                at = begin + _character(value, begin)
                parts.append(value[begin:at])
                continue
            for part in substitution:
                if isinstance(part, bytes):
                    parts.append(part)
                else:
                    slot = 2 * part
                    parts.append(value[search.slots[slot]:search.slots[slot + 1]])
            at = last = end
        search.forget()
        if last < 0:
            return value
        parts.append(value[at:])
        return b"".join(parts)

    @property
    def work(self):
        """How many states were looked at so far; what comes from the cache is free."""
        return self.forwards.work + (0 if self.search is None else self.search.total)

    @property
    def cached(self):
        """How many sets of states are kept, and how many may be."""
        count, most = self.forwards.count, self.forwards.most
        if self.search is not None:
            count += self.search.backwards.count
            most += self.search.backwards.most
        return count, most


cdef Py_ssize_t _character(bytes value, Py_ssize_t at) except -1:
    """The length of the UTF-8 character there; 1 where there is none."""
    cdef unsigned char octet = value[at] if at < len(value) else 0
    if octet < 0xC2 or octet > 0xF4:
        return 1
    cdef Py_ssize_t size = 2 if octet < 0xE0 else 3 if octet < 0xF0 else 4
    try:
        value[at:at + size].decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return 1
    return size


cdef class Search:
    """Finds the matches in a value, from the left."""

    def __init__(self, Pattern pattern not None):
        cdef Graph graph = pattern.forwards.graph
        self.graph = graph
        self.start = pattern.start
        self.slot_of = pattern.slots
        self.backwards = Automaton(graph.reversed(), GOAL, self.start, pattern.classes, True)
        cdef Py_ssize_t size = graph.size, room = graph.step_at[size] + size + 1
        self.stack = array("i", bytes(4 * room))
        self.was = array("q", bytes(8 * room))
        self.tried = array("q", bytes(8 * size))
        self.slots = array("q", bytes(16 * (pattern.groups + 1)))
        self.numbers = array("i", bytes(4 * (BLOCK + 1)))

    cdef int read(self, bytes value) except -1:
        """The pass backwards."""
        cdef Automaton automaton = self.backwards
        cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(value)
        cdef Py_ssize_t place = PyBytes_GET_SIZE(value)
        cdef int state, to, kind
        self.value = value
        self.size = place
        self.block = -1
        self.marks = []
        if place <= BLOCK:
            return 0
        state = automaton.begin()
        while place > 0:
            place -= 1
            kind = automaton.class_of[text[place]]
            to = automaton.following[state * automaton.classes + kind]
            state = to if to >= 0 else automaton.next(state, kind)
            if place % BLOCK == 0:
                self.marks.append(automaton.sets[state])
        self.marks.reverse()
        return 0

    cdef int forget(self) except -1:
        """Lets go of the value."""
        self.value = None
        self.marks = None
        return 0

    cdef bint find(self, Py_ssize_t at) except -1:
        """Whether there is a match from there on; ``slots`` says where the leftmost is."""
        while at <= self.size:
            # Without needs, what is alive is known at once.
            if (self.graph.asserts or self._alive(self.start, at)) and self._match(at):
                return True
            at += 1
        return False

    cdef bint _match(self, Py_ssize_t at) except -1:
        cdef Graph graph = self.graph
        cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(self.value)
        cdef int state = self.start, edge
        self.slots[:] = -1
        self.slots[0] = at
        while True:
            state = self._choose(state, at)
            if state < 0:
                return False
            if state == GOAL:
                self.slots[1] = at
                return True
            for edge in range(graph.edge_at[state], graph.edge_at[state + 1]):
                if graph.low[edge] <= text[at] <= graph.high[edge]:
                    state = graph.edge_to[edge]
                    break
            at += 1

    cdef int _choose(self, int state, Py_ssize_t at) except -2:
        """The first state, in the order of preference, that steps lead to from this one and from
        which there is a match; -1: there is none."""
        cdef Graph graph = self.graph
        cdef int flags = self._around(at) if graph.asserts else 0
        cdef int depth = 1, slot, step
        self.visits += 1
        self.stack[0] = state
        while depth > 0:
            depth -= 1
            state = self.stack[depth]
            if state < 0:
                self.slots[-1 - state] = self.was[depth]
                continue
            if self.tried[state] == self.visits:
                continue
            self.tried[state] = self.visits
            self.work += 1
            if graph.step_at[state] == graph.step_at[state + 1]:
                if self._alive(state, at):
                    return state
                continue
            slot = self.slot_of[state]
            if slot >= 0:
                self.stack[depth] = -1 - slot
                self.was[depth] = self.slots[slot]
                self.slots[slot] = at
                depth += 1
            for step in range(graph.step_at[state + 1] - 1, graph.step_at[state] - 1, -1):
                if graph.need[step] & flags == graph.need[step]:
                    self.stack[depth] = graph.step_to[step]
                    depth += 1
        return -1

    cdef bint _alive(self, int state, Py_ssize_t at) except -1:
        if at // BLOCK != self.block:
            self._load(at // BLOCK)
        cdef bytes which = self.backwards.sets[self.numbers[at % BLOCK]]
        return holds(<const uint64_t*>PyBytes_AS_STRING(which), state)

    cdef int _load(self, Py_ssize_t block) except -1:
        """Find the sets of a block's places, from where the next begins."""
        cdef Automaton automaton = self.backwards
        cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(self.value)
        cdef Py_ssize_t first = block * BLOCK, place = first + BLOCK
        cdef int state, to, kind
        automaton.make_room(<int>BLOCK + 2)     # nothing is forgotten on the way
        if place >= self.size:
            place = self.size
            state = automaton.begin()
            self.numbers[place - first] = state
        else:
            state = automaton.put(self.marks[block + 1])
        while place > first:
            place -= 1
            kind = automaton.class_of[text[place]]
            to = automaton.following[state * automaton.classes + kind]
            state = to if to >= 0 else automaton.next(state, kind)
            self.numbers[place - first] = state
        self.block = block
        return 0

    cdef int _around(self, Py_ssize_t at) except -1:
        """What holds at a place."""
        cdef const unsigned char* text = <const unsigned char*>PyBytes_AS_STRING(self.value)
        return between(
            kind_of(text[at - 1]) if at > 0 else EDGE,
            kind_of(text[at]) if at < self.size else EDGE,
        )

    @property
    def total(self):
        """The work of both passes."""
        return self.work + self.backwards.work
