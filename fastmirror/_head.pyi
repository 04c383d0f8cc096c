"""The interface of ``_head.pyx``: see there for what each does."""

class Fields:
    count: int
    size: int  # bytes on the wire
    # The start line, of a head that was scanned.
    method: bytes | None
    target: bytes | None
    http10: bool
    status: int
    reason: bytes | None
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
    dated: bool
    max_forwards: int  # -1: absent, or no number
    request_id: bytes | None
    forwarded_for: bytes | None
    def edited(self, removed: frozenset[bytes], added: list[bytes]) -> Fields: ...
    def get(self, name: bytes) -> bytes | None: ...
    def add(self, name: bytes, value: bytes) -> int: ...
    def scanned_request(self, data: bytes, at: int = 0) -> int: ...
    def scanned_response(self, data: bytes, at: int = 0) -> int: ...
    @property
    def items(self) -> list[bytes]: ...  # [name, value, name, value, ...]
    # Compiled callers only.
    def scan_request(self, data: bytes, at: int) -> int: ...
    def scan_response(self, data: bytes, at: int) -> int: ...
    def scan_trailers(self, section: bytes) -> bool: ...
    def append(self, name: bytes, value: bytes) -> int: ...
    def clear(self) -> int: ...

def position(data: bytes, octet: int) -> int: ...
def part(data: bytes, start: int, end: int) -> bytes: ...
def is_plain_target(target: bytes) -> bool: ...
