class Graph:
    def __init__(
        self, edges: list[list[tuple[int, int, int]]], steps: list[list[tuple[int, int]]]
    ) -> None: ...
    size: int
    asserts: bool

class Automaton:
    most: int
    count: int
    work: int
    flushes: int
