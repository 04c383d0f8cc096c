"""How long a message's body is: RFC 9112 section 6.3, one rule after the other.

Invariant: the answer follows from the head alone, and is the same for everyone who reads the head
that we write from it. What smuggling lives on (Content-Length beside Transfer-Encoding, two
lengths, a length that is no number, another coding than chunked) is INVALID, for all recipients
may not read it in one way.

Where a chunked body ends is ``_framing.pyx``.
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
    if fields.transfer_encoding:
        # Rule 3 lets a proxy drop the Content-Length beside it and go on; section 6.1 says that
        # such a message "ought to be handled as an error". So nobody behind us has to choose.
        if fields.content_length != -1:
            return INVALID
        # Rule 4: a request whose last coding is not chunked has no length. Every other coding,
        # and chunked said twice, is refused too: whoever decodes it in another way than the
        # primary sees another body (section 6.1 has 501 for what a server does not understand).
        return CHUNKED if fields.chunked else INVALID
    if fields.content_length == -2:
        # Rule 5: not a number, too large for any message, or several; a list of equal numbers,
        # which the rule would let us take for one, is refused as well.
        return INVALID
    if fields.content_length > 0:
        return LENGTH  # rule 6
    return NO_BODY  # rule 7, and a length of 0


def response_body(status: int, to_head: bool, fields: Fields) -> int:
    """NO_BODY, LENGTH, CHUNKED, UNTIL_CLOSE or INVALID, for a response."""
    # Rule 1: whatever the fields say. (Rule 2, a 2xx to CONNECT, is a tunnel's affair: the proxy
    # makes that answer itself.)
    if to_head or status == 204 or status == 304 or status < 200:
        return NO_BODY
    if fields.transfer_encoding:
        if fields.content_length != -1:  # rule 3
            return INVALID
        # Rule 4 would read a last coding that is not chunked until the connection closes.
        return CHUNKED if fields.chunked else INVALID
    if fields.content_length == -2:
        return INVALID  # rule 5
    if fields.content_length == 0:
        return NO_BODY
    if fields.content_length > 0:
        return LENGTH  # rule 6
    return UNTIL_CLOSE  # rule 8
