"""The rules document as typed Structs: what a file may say, and nothing of what it does.

Invariants: a field that is not declared here is refused when a file is decoded; every default
is the documented one, so that a document written out again without its defaults means the same.

Field names follow Istio's VirtualService and DestinationRule and the Gateway API's HTTPRoute
wherever those have one. Durations are seconds or Istio's form ("250ms", "1.5s", "2m"); sizes
are bytes or a number with KiB, MiB or GiB.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

VERSION = 1

# What units.py takes; decoding leaves it to validation, which says more.
DURATION = r"^([0-9]+(\.[0-9]*)?|([0-9]+(\.[0-9]+)?(ms|s|m|h))+)$"
SIZE = r"^[0-9]+ *([KkMmGg]([Ii][Bb])?|[Bb])?$"

Duration = float | Annotated[str, Meta(extra_json_schema={"pattern": DURATION})]
Size = int | Annotated[str, Meta(extra_json_schema={"pattern": SIZE})]
Percent = Annotated[float, Meta(ge=0, le=100)]
Weight = Annotated[int, Meta(ge=0, le=1_000_000)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Name = Annotated[str, Meta(min_length=1, max_length=253)]
Status = Annotated[int, Meta(ge=200, le=599)]
Port = Annotated[int, Meta(ge=1, le=65535)]


class Model(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of every part of the document: unknown fields are refused, defaults not written."""


class StringMatch(Model, frozen=True):
    """One of: the whole string, its start, or an RE2 regular expression of the whole string."""

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class HeaderMatch(StringMatch, frozen=True):
    """As StringMatch, or ``present`` alone: the header is there (true) or is not (false)."""

    present: bool | None = None


class PathMatch(StringMatch, frozen=True):
    """``prefix`` is textual, as in Istio (``/a`` matches ``/ab``); ``path_separated_prefix`` goes
    by path element, as in the Gateway API (``/a`` matches ``/a`` and ``/a/b``).
    """

    path_separated_prefix: str | None = None


class Match(Model, frozen=True):
    """All that is given must hold. Header names are not case-sensitive; values are."""

    path: PathMatch | None = None
    method: str | StringMatch | None = None
    port: Port | None = None  # where the request was going; else the one in Host, else 80
    headers: dict[Name, HeaderMatch] = {}
    without_headers: dict[Name, HeaderMatch] = {}  # none of these may hold
    query: dict[Name, StringMatch] = {}


class Key(Model, frozen=True):
    """Where a sampling or balancing key is read from: exactly one of these."""

    header: Name | None = None
    cookie: Name | None = None
    query: Name | None = None
    source_ip: bool = False
    path: bool = False
    request_id: bool = False


KeySource = Literal["source_ip", "path", "request_id"] | Key


class SetCookie(Model, frozen=True):
    """A cookie that the answer to a request without it sets, so that later ones have the key."""

    ttl: Duration = 0.0  # 0: until the browser ends
    path: str | None = None


class HashBalance(Model, frozen=True):
    """The same key goes to the same endpoint while that is usable; when endpoints come or go, few
    keys move.
    """

    hash: KeySource
    algorithm: Literal["rendezvous", "ring", "maglev"] = "rendezvous"
    table_size: Annotated[int, Meta(ge=1, le=8_388_608)] | None = None
    set_cookie: SetCookie | None = None  # where the key is a cookie


Balance = Literal["round_robin", "least_request", "random"] | HashBalance


class Endpoint(Model, frozen=True):
    """``address`` is ``IP:PORT``, ``[IPv6]:PORT``, ``NAME:PORT`` (resolved by DNS while running)
    or ``unix:/path``.
    """

    address: Name
    labels: dict[str, str] = {}
    weight: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class TcpKeepalive(Model, frozen=True):
    """Probes on a connection on which nothing is sent; what is absent is the system's."""

    time: Duration | None = None
    interval: Duration | None = None
    probes: Annotated[int, Meta(ge=1, le=127)] | None = None


class ConnectionPool(Model, frozen=True):
    """How much of a service the primary path may take at a time, as in Istio's DestinationRule;
    what is absent is not limited. Each worker has its share.
    """

    max_connections: Count | None = None
    max_pending_requests: Count | None = None  # that wait for one of those
    max_requests: Count | None = None  # under way, with those that wait
    max_retries: Count | None = None  # under way
    max_requests_per_connection: Count | None = None
    max_connection_duration: Duration | None = None
    connect_timeout: Duration | None = None  # absent: what --connect-timeout says
    idle_timeout: Duration | None = None  # absent: what --upstream-idle-timeout says
    tcp_keepalive: TcpKeepalive | None = None  # absent: no probes


class OutlierDetection(Model, frozen=True):
    """Endpoints that fail again and again get no requests for a while, as in Istio's
    DestinationRule. 0 turns a count off.
    """

    consecutive_5xx_errors: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    consecutive_gateway_errors: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    consecutive_local_origin_failures: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    split_external_local_origin_errors: bool = False
    interval: Duration = 10.0
    base_ejection_time: Duration = 30.0
    max_ejection_percent: Annotated[int, Meta(ge=0, le=100)] = 10
    min_health_percent: Annotated[int, Meta(ge=0, le=100)] = 0


class SubsetPolicy(Model, frozen=True):
    """What holds for a subset in the place of what its service says."""

    balance: Balance | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None


class Service(Model, frozen=True):
    """A named set of endpoints, and the hosts under which clients ask for it."""

    name: Name
    hosts: list[Name] | None = None  # absent: [name]
    balance: Balance = "round_robin"
    endpoints: list[Endpoint] = []
    subsets: dict[Name, dict[str, str]] = {}
    connection_pool: ConnectionPool = ConnectionPool()
    outlier_detection: OutlierDetection | None = None
    subset_policies: dict[Name, SubsetPolicy] = {}


class HeaderChange(Model, frozen=True):
    """What is done to a head's fields: some are removed, then some set, then some added."""

    set: dict[Name, str] = {}  # instead of what is there; "" leaves an empty field
    add: dict[Name, str] = {}  # beside what is there
    remove: list[Name] = []


class Headers(Model, frozen=True):
    """Changes to the request, before it is forwarded and copied, and to the response."""

    request: HeaderChange = HeaderChange()
    response: HeaderChange = HeaderChange()


class RegexRewrite(Model, frozen=True):
    """Every part of the path that ``match`` finds is replaced; the substitution has its groups."""

    match: str
    substitution: str


class Rewrite(Model, frozen=True):
    """Another Host; and one of: another path, another ``prefix`` in the place of what the route's
    match took of the path, a replacement in it. The query stays.
    """

    host: Name | None = None
    path: str | None = None
    prefix: str | None = None
    regex: RegexRewrite | None = None


class Redirect(Model, frozen=True):
    """A ``Location``: of the request's own URL, but for what is given here."""

    scheme: Literal["http", "https"] | None = None
    host: Name | None = None
    port: Port | None = None
    path: str | None = None  # the whole of it
    prefix: str | None = None  # in the place of what the route's match took
    status: Literal[301, 302, 303, 307, 308] = 301


class DirectResponse(Model, frozen=True):
    """An answer of the proxy's own."""

    status: Status
    body: str = ""


class Fraction(Model, frozen=True):
    """The Gateway API's Fraction: ``numerator / denominator`` of the requests."""

    numerator: Annotated[int, Meta(ge=0, le=1 << 53)]
    denominator: Annotated[int, Meta(ge=1, le=1 << 53)] = 100


class HostPolicy(Model, frozen=True):
    """The copy's Host: the primary's with ``suffix`` before the port, or a ``literal``."""

    suffix: str | None = None
    literal: Name | None = None


class Breaker(Model, frozen=True):
    """After so many copies in a row that failed to connect, were reset, were not answered in time
    or fell too far behind, none is tried for ``open_time``; then one is, and its end decides.
    0 turns the breaker off.
    """

    consecutive_failures: Annotated[int, Meta(ge=0, le=1_000_000)] = 5
    open_time: Duration = 1.0


class Mirror(Model, frozen=True):
    """Which requests of its route are copied where, and how much that may cost."""

    service: Name
    subset: Name | None = None
    name: Name | None = None  # absent: "SERVICE/SUBSET", or "SERVICE"
    percent: Percent | None = None  # absent: 100, or what fraction says
    fraction: Fraction | None = None
    sample_by: KeySource | None = None  # absent: fresh random bits
    missing: Literal["random", "skip", "always"] = "random"
    salt: str | None = None  # absent: "ROUTE/MIRROR"
    host: Literal["keep", "target"] | HostPolicy = HostPolicy(suffix="-shadow")
    methods: list[Name] | None = None  # absent: every method
    rate: Annotated[float, Meta(gt=0, le=1e9)] | None = None  # copies a second, each worker's share
    max_body: Size | None = None  # larger bodies are not copied
    max_in_flight: Count = 256
    max_connect_rate: Annotated[float, Meta(gt=0, le=1e9)] = 500.0  # a second, each worker
    pipeline: Annotated[int, Meta(ge=1, le=64)] = 1  # copies that may share a connection at once
    max_queued: Annotated[int, Meta(ge=0, le=1_000_000)] = 1024
    max_queued_bytes: Size = "16MiB"
    max_copy_bytes: Size = "16MiB"  # how far one copy may lag behind
    max_response: Size = "256KiB"
    connect_timeout: Duration = 1.0
    response_timeout: Duration = 15.0
    breaker: Breaker = Breaker()


class Destination(Model, frozen=True):
    """A service, or the endpoints of it whose labels hold all of the subset's; or a ``status``
    that is answered instead, for a share of the requests that can be sent nowhere.
    """

    service: Name | None = None
    subset: Name | None = None
    weight: Weight = 1
    headers: Headers = Headers()  # before the route's own
    rewrite: Rewrite = Rewrite()  # in the place of the route's own, part by part
    mirrors: list[Mirror] = []  # beside the route's own, of what goes here
    status: Status | None = None


RetryOn = Literal[
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "retriable-4xx"
]


class Retries(Model, frozen=True):
    """Other attempts, at another endpoint where there is one, before a client hears of a failure.
    The names of ``retry_on`` are Envoy's; a number is the status of an answer.
    """

    attempts: Annotated[int, Meta(ge=0, le=100)] = 2  # beside the first
    per_try_timeout: Duration | None = None  # absent: the route's timeout bounds them all
    retry_on: list[RetryOn | Status] = field(default_factory=lambda: ["connect-failure"])
    backoff: Duration = 0.025  # doubled with each attempt, and of that a part at random
    max_body: Size = "64KiB"  # a request with a larger one is sent once


class Delay(Model, frozen=True):
    """So long before a share of the requests is sent on."""

    duration: Duration
    percent: Percent = 100.0


class Abort(Model, frozen=True):
    """A share of the requests is answered so, and not sent on."""

    status: Status
    percent: Percent = 100.0


class Fault(Model, frozen=True):
    """Injected, to see how clients take it. What is delayed may be aborted after that."""

    delay: Delay | None = None
    abort: Abort | None = None


class Cors(Model, frozen=True):
    """Cross-origin requests: preflights from allowed origins are answered by the proxy, and answers
    to them get the fields that let the browser have them. From others nothing is changed.
    """

    allow_origins: Annotated[list[StringMatch], Meta(min_length=1)]
    allow_methods: list[Name] = []
    allow_headers: list[Name] = []
    expose_headers: list[Name] = []
    max_age: Duration | None = None
    allow_credentials: bool = False


class Route(Model, frozen=True):
    """The first route, in the document's order, whose hosts and match hold takes the request."""

    name: Name
    to: list[Destination] = []  # required, unless it redirects or answers itself
    hosts: list[Name] = field(default_factory=lambda: ["*"])
    match: list[Match] = []
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite = Rewrite()
    headers: Headers = Headers()
    fault: Fault = Fault()
    cors: Cors | None = None
    mirrors: list[Mirror] = []
    timeout: Duration | None = None  # absent: none, as in Istio
    retries: Retries = Retries()
    max_body: Size | None = None  # absent: what --max-body-bytes says


class Rules(Model, frozen=True):
    """The document."""

    version: Literal[1]
    services: list[Service] = []
    routes: list[Route] = []
