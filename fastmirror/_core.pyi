"""The compiled core's interface: see ``_core.pyx`` for what each does."""

from fractions import Fraction

class Fields:
    items: list[bytes]  # [name, value, name, value, ...]
    size: int  # bytes on the wire
    count: int
    content_length: int  # -1: absent; -2: too large for any message
    transfer_encoding: bool
    chunked: bool
    hosts: int
    host: bytes | None
    close: bool
    keep_alive: bool
    wants_upgrade: bool
    named: set[bytes] | None
    upgrade: bytes | None
    expect: bool
    te_trailers: bool
    is_copy: bool
    request_id: bytes | None
    forwarded_for: bytes | None
    def get(self, name: bytes) -> bytes | None: ...
    def add(self, name: bytes, value: bytes) -> int: ...
    # Compiled callers only.
    def append(self, name: bytes, value: bytes) -> int: ...
    def clear(self) -> int: ...

class RequestHead:
    data: bytes
    def copy(self, host: bytes, marker: bytes) -> bytes: ...

class Sampler:
    seed: int
    threshold: int
    always: bool
    def __init__(self, share: Fraction, salt: bytes) -> None: ...
    def sampled(self, key: bytes | None = None) -> bool: ...
    # Compiled callers only.
    def decide(self, key: bytes) -> bool: ...
    def decide_random(self) -> bool: ...

class Counters:
    def __init__(self, buffer: memoryview) -> None: ...
    def add(self, slot: int, amount: int) -> int: ...
    def put(self, slot: int, value: int) -> int: ...
    def get(self, slot: int) -> int: ...
    def observe(self, slot: int, seconds: float) -> int: ...

DURATION_BUCKETS: tuple[float, ...]  # seconds, without +Inf

def xxh64(data: bytes, seed: int = 0) -> int: ...
def random64() -> int: ...
def now() -> float: ...
def write_request(
    method: bytes,
    target: bytes,
    fields: Fields,
    host: bytes,
    forwarded: bytes | None,
    request_id: bool,
    upgrade: bytes | None,
) -> RequestHead: ...
def write_response(
    status: int,
    reason: bytes | None,
    fields: Fields,
    with_length: bool,
    chunked: bool,
    connection: bytes | None,
) -> bytes: ...
def write_trailers(trailers: Fields | None) -> bytes: ...
def chunk_head(size: int) -> bytes: ...
def is_plain_target(target: bytes) -> bool: ...
