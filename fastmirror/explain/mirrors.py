"""What each mirror of a route does with a request, and by which key.

Invariants: where chance decides, that is said, and the copy is the one that is then made;
everything else is what the mirror itself has counted and made.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from fastmirror._core import Sampler, xxh64
from fastmirror.explain.report import CopySent, Endpoint, KeyFound, MirrorSays, head_lines, shown
from fastmirror.explain.stage import COPIED, NOT_SAMPLED, Played
from fastmirror.http1.framing import CHUNKED
from fastmirror.mirror.mirror import sampler_of, share_of
from fastmirror.rules.model import HostPolicy, Key, Mirror, Route
from fastmirror.rules.request import REQUEST_ID, KeyReader, Request
from fastmirror.rules.validate import mirror_name
from fastmirror.upstream.cluster import Cluster, Member


class Sample(NamedTuple):
    """How a mirror decides about a request."""

    spec: Mirror
    sampler: Sampler
    key: KeyFound | None
    by_chance: bool

    def certain(self) -> Mirror:
        """The mirror as it is, or as it is when chance says yes."""
        if not self.by_chance:
            return self.spec
        return msgspec.structs.replace(
            self.spec, name=mirror_name(self.spec), percent=100.0, fraction=None, sample_by=None
        )


def sample(route: Route, spec: Mirror, played: Played) -> Sample:
    """``played``: the request without mirrors, in a proxy that makes no x-request-id."""
    sampler = sampler_of(route.name, spec)
    open_to_chance = not sampler.always and sampler.threshold > 0
    if spec.sample_by is None:
        return Sample(spec, sampler, None, open_to_chance)
    reader = KeyReader(spec.sample_by)
    request = played.exchange.request
    assert request is not None
    value = reader.read(request)
    made = value is None and reader.source == REQUEST_ID and played.exchange.head is not None
    by_chance = value is None and open_to_chance and (made or spec.missing == "random")
    key = KeyFound(
        source=_source(spec.sample_by),
        value=None if value is None else shown(value),
        made=made,
        missing=spec.missing,
        bucket=None if value is None else f"{xxh64(value, sampler.seed):#018x}",
    )
    return Sample(spec, sampler, key, by_chance)


def _source(source: Key | str) -> str:
    if isinstance(source, str):
        return source
    for kind in ("header", "cookie", "query"):
        name = getattr(source, kind)
        if name is not None:
            return f"{kind} {name}"
    return "source_ip" if source.source_ip else "path" if source.path else "request_id"


def says(sample: Sample, played: Played, clear: bytes) -> MirrorSays:
    """``played``: the request with this mirror as in ``certain()``; ``clear``: an x-request-id that
    the proxy has made, which is not shown.
    """
    spec, sampler = sample.spec, sample.sampler
    name = mirror_name(spec)
    fate = played.fates[name]
    sampled = None if sample.by_chance else fate != NOT_SAMPLED
    dropped = fate if fate not in (COPIED, NOT_SAMPLED) else None
    copied = sampled
    if dropped is not None:
        copied = False
    note = None
    if fate == COPIED and spec.max_body is not None and played.exchange.body == CHUNKED:
        note = f"dropped (body_too_large) if its body turns out to be larger than {spec.max_body}"
        copied = None
    return MirrorSays(
        mirror=name,
        percent=float(share_of(spec) * 100),
        threshold=f"{1 << 64 if sampler.always else sampler.threshold:#018x}",
        key=sample.key,
        sampled=sampled,
        dropped=dropped,
        copied=copied,
        note=note,
        copy=_copy(spec, name, played, clear) if fate == COPIED else None,
    )


def _copy(spec: Mirror, name: str, played: Played, clear: bytes) -> CopySent:
    copy = played.copies[name]
    request = played.exchange.request
    assert played.exchange.action is not None and request is not None
    [mirror] = [each for each in played.exchange.action.mirrors if each.name == name]
    lines = head_lines(hidden(copy.head, clear))
    host = lines[1].removeprefix("host: ")
    own = not isinstance(spec.host, HostPolicy) and spec.host == "target"
    return CopySent(
        line=lines[0],
        host=host,
        marker=lines[-1].removeprefix("x-fastmirror-copy: "),
        endpoints=[
            Endpoint(str(member.pool.address), shown(member.name) if own else host)
            for member in members(mirror.cluster, copy.member, request, clear)
        ],
        head=lines,
    )


def members(cluster: Cluster, picked: Member | None, request: Request, made: bytes) -> list[Member]:
    """Those that a request may be given to: where a hash of its key picks, that one alone."""
    key = cluster.key.read(request) if cluster.key is not None else None
    named = any(member.pool.address.is_name for member in cluster.members)
    if picked is not None and key is not None and key != made and not named:
        return [picked]
    return cluster.members


def hidden(head: bytes, made: bytes) -> bytes:
    """A head without the x-request-id that the proxy has made up for it."""
    return head.replace(made, b"(made by the proxy)") if made else head
