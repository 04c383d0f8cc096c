"""Heads that are not plain, read by httptools (llhttp in its strict mode), a whole head at a time.

Invariants: a head is read to its last octet or refused as a whole; what comes out is as if the
scanner for plain heads had read it; each refusal has the status that the client gets.
"""

from __future__ import annotations

import re
from typing import Any

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
    HttpResponseParser,
)

from fastmirror._head import Fields

# RFC 9112 section 3: single spaces, and a version of two digits. What a target may hold is the
# parser's to judge.
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (\S+) HTTP/(\d)\.(\d)\r\n")
_OLD_LINE = re.compile(rb"[A-Za-z]+ \S+\r\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [^\r\n]*)?\r\n")


class HeadError(ValueError):
    """A head that is refused: status, text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class ParsedHead:
    """What the parser says of one head."""

    def __init__(self) -> None:
        self.fields = Fields()
        self.method = b""
        self.target = b""
        self.status = 0
        self.reason: bytes | None = None
        self.http10 = False
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target = self.target + url if self.target else url

    def on_status(self, reason: bytes) -> None:
        self.reason = reason if self.reason is None else self.reason + reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append(name, value)

    def on_headers_complete(self) -> None:
        self.complete = True


def parse_request(head: bytes) -> ParsedHead:
    """A request's head, from its request line to the empty line.

    Raises HeadError: 400, 501 (a method that is not known) or 505.
    """
    line = _REQUEST_LINE.match(head)
    if line is None:
        if _OLD_LINE.match(head):
            raise HeadError(400, "the request line has no HTTP version")
        raise HeadError(400, "the request line is not METHOD TARGET HTTP/1.1")
    if line[3] != b"1" or line[4] not in (b"0", b"1"):
        raise HeadError(505, "only HTTP/1.1 and HTTP/1.0 are served")
    parsed = ParsedHead()
    parsed.method = line[1]
    parsed.http10 = line[4] == b"0"
    _parse(HttpRequestParser(parsed), parsed, head)
    return parsed


def parse_response(head: bytes) -> ParsedHead:
    """A response's head, from its status line to the empty line.

    Raises HeadError; its status has no meaning.
    """
    line = _STATUS_LINE.match(head)
    if line is None:
        raise HeadError(502, "the status line is not HTTP/1.1 STATUS")
    parsed = ParsedHead()
    parsed.status = int(line[2])
    parsed.http10 = line[1] == b"0"
    _parse(HttpResponseParser(parsed), parsed, head)
    return parsed


def _parse(parser: Any, parsed: ParsedHead, head: bytes) -> int:
    try:
        parser.feed_data(head)
    except HttpParserUpgrade:
        pass  # whether it becomes a tunnel is not the parser's to say
    except HttpParserInvalidMethodError:
        raise HeadError(501, "a method that is not known") from None
    except HttpParserError as error:
        cause = error.__context__
        raise HeadError(400, str(cause if isinstance(cause, ValueError) else error)) from None
    if not parsed.complete:
        raise HeadError(400, "a head that ends before its end")
    return 0
