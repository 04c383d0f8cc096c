"""The compiled core's interface: see ``_core.pyx`` for what each does."""

from fractions import Fraction

from fastmirror._head import Fields

class RequestHead:
    data: bytes
    def copy(self, host: bytes, marker: bytes) -> bytes: ...

class Sampler:
    seed: int
    threshold: int
    always: bool
    def __init__(self, share: Fraction, salt: bytes) -> None: ...
    def sampled(self, key: bytes | None = None) -> bool: ...
    def kept(self, part: float, key: bytes | None = None) -> bool: ...
    # Compiled callers only.
    def keeps(self, key: bytes | None, part: float) -> bool: ...
    def decide(self, key: bytes) -> bool: ...
    def decide_random(self) -> bool: ...

def xxh64(data: bytes, seed: int = 0) -> int: ...
def random64() -> int: ...
def now() -> float: ...
def new_request_id() -> bytes: ...
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
def write_reply(
    status: int,
    reason: bytes,
    kind: bytes | None,
    more: bytes,
    connection: bytes | None,
    text: bytes,
    to_head: bool,
) -> bytes: ...
def write_trailers(trailers: Fields | None) -> bytes: ...
def chunk_head(size: int) -> bytes: ...
