"""How long a message's body is: RFC 9112 section 6.3, one rule after the other.

Invariant: the answer follows from the head alone, and is the same for everyone who reads the
head that we write from it. What smuggling lives on (Content-Length beside Transfer-Encoding, two
lengths, a length that is no number) never comes here: the parser has refused it.
"""

from __future__ import annotations

from fastmirror._head import Fields

NO_BODY = 0
LENGTH = 1
CHUNKED = 2
UNTIL_CLOSE = 3
INVALID = 4


def request_body(fields: Fields) -> int:
    """NO_BODY, LENGTH, CHUNKED or INVALID, for a request."""
    # Rule 3, for requests: a Transfer-Encoding whose last coding is not chunked is refused; so
    # is every other coding, since whoever decodes it in another way than the primary sees
    # another body (section 6.1 lets a server refuse what it does not understand, with 501).
    if fields.transfer_encoding:
        return CHUNKED if fields.chunked else INVALID
    if fields.content_length > 0:  # rule 6
        return LENGTH
    if fields.content_length == -2:
        return INVALID
    return NO_BODY  # rule 7, and a length of 0


def response_body(status: int, to_head: bool, fields: Fields) -> int:
    """NO_BODY, LENGTH, CHUNKED, UNTIL_CLOSE or INVALID, for a response."""
    # Rule 1: whatever the fields say.
    if to_head or status == 204 or status == 304 or status < 200:
        return NO_BODY
    if fields.transfer_encoding:  # rule 4
        return CHUNKED if fields.chunked else INVALID
    if fields.content_length == -2:
        return INVALID
    if fields.content_length == 0:
        return NO_BODY
    if fields.content_length > 0:  # rule 6
        return LENGTH
    return UNTIL_CLOSE  # rule 8
