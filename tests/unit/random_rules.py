"""Random rules and random requests that have something to do with each other: hosts, paths and
fields of both are drawn from the same few.
"""

from __future__ import annotations

from hypothesis import strategies as st

# -- rules

PATHS = ("/", "/a", "/a/", "/a/b", "/ab", "/b/c", "/a/b/c")
HOSTS = ("app", "www.example", "a.b.example", "b.example", "two", "one")
PATTERNS = (*HOSTS, "*.example", "*.b.example", "*")
SHORT = {"direct_response": {"status": 418, "body": "short"}}
USERS = ("alice", "bob", "carol", "dave")


def optional(**fields: st.SearchStrategy) -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries({}, optional=fields)


def one_of_key(**kinds: st.SearchStrategy) -> st.SearchStrategy[dict]:
    return st.one_of([st.fixed_dictionaries({name: kind}) for name, kind in kinds.items()])


texts = st.sampled_from(["x", "xy", "prod", "alice"])
regexes = st.sampled_from(["x.*", "(prod|dev)", "[a-z]+", ".*"])
paths = one_of_key(
    exact=st.sampled_from(PATHS),
    prefix=st.sampled_from([*PATHS, ""]),
    path_separated_prefix=st.sampled_from(PATHS),
    regex=st.sampled_from(["/a.*", "/[ab]/.*", "/", ".*/c"]),
)
strings = one_of_key(exact=texts, prefix=texts, regex=regexes)
matches = optional(
    path=paths,
    method=st.one_of(st.sampled_from(["GET", "POST"]), st.just({"regex": "P.*"})),
    headers=st.dictionaries(
        st.sampled_from(["x-env", "X-User", "host"]),
        st.one_of(strings, one_of_key(present=st.booleans())),
        max_size=2,
    ),
    port=st.sampled_from([80, 80, 8000]),
    without_headers=st.dictionaries(
        st.sampled_from(["x-env", "X-User", "host"]),
        st.one_of(strings, one_of_key(present=st.booleans())),
        max_size=1,
    ),
    query=st.dictionaries(st.sampled_from(["q", "user"]), strings, max_size=1),
)
changes = optional(
    set=st.dictionaries(st.sampled_from(["x-env", "x-new", "Host"]), texts),
    add=st.dictionaries(st.sampled_from(["x-env", "x-more"]), texts),
    remove=st.lists(st.sampled_from(["x-user", "cookie", "x-env"]), max_size=2),
)
edits = optional(request=changes)
keys = st.one_of(
    st.sampled_from(["source_ip", "path", "request_id"]),
    one_of_key(
        header=st.sampled_from(["X-User", "x-env"]), cookie=st.just("user"), query=st.just("user")
    ),
)
mirrors = optional(
    percent=st.sampled_from([0, 1, 30, 50, 70, 100]),
    sample_by=keys,
    missing=st.sampled_from(["skip", "always", "skip", "random"]),
    salt=st.just("salt"),
    host=st.one_of(
        st.sampled_from(["keep", "target"]),
        st.just({"suffix": "-copy"}),
        st.just({"literal": "copy:99"}),
    ),
    methods=st.lists(st.sampled_from(["GET", "POST"]), max_size=2),
    max_body=st.sampled_from([0, 3, 100]),
)
rewrites = st.one_of(
    st.just({}),
    one_of_key(
        host=st.sampled_from(["other", "other:81"]),
        path=st.sampled_from(["", "/new"]),
        prefix=st.sampled_from(["", "/", "/new", "/new/"]),
        regex=st.just({"match": "/([ab])", "substitution": "/<\\1>"}),
    ),
)


policies = optional(
    connection_pool=optional(max_connections=st.integers(1, 3), max_requests=st.just(100)),
    outlier_detection=st.just({}),
)


@st.composite
def routes(draw, number: int) -> dict:
    route: dict[str, object] = {
        "name": f"r{number}",
        "hosts": draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2)),
        "match": draw(st.lists(matches, max_size=2)),
        "mirrors": [
            {"service": draw(st.sampled_from(["shadow", "shadow", "two", "empty"])), **fields}
            | {"name": f"m{at}"}
            for at, fields in enumerate(draw(st.lists(mirrors, max_size=2)))
        ],
    }
    kind = draw(st.sampled_from(["to"] * 8 + ["redirect", "direct", "status", "empty", "abort"]))
    if kind == "redirect":
        route["redirect"] = draw(
            optional(
                host=st.sampled_from(["other", "other:82"]),
                port=st.just(83),
                scheme=st.just("https"),
            )
        )
        return route
    if kind == "direct":
        return {**route, **SHORT}
    if kind == "abort":
        route["fault"] = {"abort": {"status": 499}}
    service = draw(st.sampled_from(["one", "two"])) if kind != "empty" else "empty"
    chosen: dict[str, object] = {"status": 500}
    if kind != "status":
        chosen = {"service": service, "headers": draw(edits), "rewrite": draw(rewrites)}
    if draw(st.integers(0, 3)) == 0:
        chosen["mirrors"] = [{"service": "shadow", "name": "own", **draw(mirrors)}]
    other = {"service": "two", "weight": 0}
    route["to"] = draw(st.permutations([chosen, other])) if draw(st.booleans()) else [chosen]
    route["headers"] = draw(edits)
    route["rewrite"] = draw(rewrites)
    if draw(st.integers(0, 3)) == 0:
        route["max_body"] = 4
    if draw(st.integers(0, 3)) == 0:
        route["retries"] = {"retry_on": ["5xx", "reset"], "per_try_timeout": 5}
    if draw(st.integers(0, 3)) == 0:
        route["cors"] = {"allow_origins": [{"prefix": "https://x"}], "max_age": 5}
    return route


@st.composite
def balances(draw) -> object:
    """Of a service with several endpoints."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(["round_robin", "least_request", "random"]))
    algorithm = draw(st.sampled_from(["rendezvous", "ring", "maglev"]))
    balance: dict[str, object] = {"hash": draw(keys), "algorithm": algorithm}
    if algorithm != "rendezvous" and draw(st.booleans()):
        balance["table_size"] = draw(st.sampled_from([2, 3, 101]))
    if balance["hash"] == {"cookie": "user"} and draw(st.booleans()):
        balance["set_cookie"] = {"ttl": 60}
    return balance


@st.composite
def documents(draw) -> dict:
    """The services of it are to get endpoints."""
    count = draw(st.integers(1, 5))
    found = [draw(routes(number)) for number in range(count)]
    if draw(st.booleans()):  # enough for an index
        found[1:1] = [
            {"name": f"x{at}", "match": [{"path": {"exact": f"/x/{at}"}}], **SHORT}
            for at in range(20)
        ]
    return {
        "version": 1,
        "services": [
            {"name": name, "balance": draw(balances()), **draw(policies)}
            for name in ("one", "two", "shadow")
        ],
        "routes": found,
    }


# -- requests


@st.composite
def requests(draw) -> tuple[str, str, list[str], bytes]:
    """METHOD, URL, headers and body."""
    others = ["nobody", "WWW.Example.", "app:8000", "two:8000", "app:80"]
    host = draw(st.sampled_from([*HOSTS, *others]))
    path = draw(st.sampled_from([*PATHS, "/a/./b", "/a/../b/c", "/%2e/a", "/a/%2E%2e/a%20b"]))
    query = draw(st.sampled_from(["", "", "?q=x", "?user=bob&q=prod", "?", "?user=alice"]))
    headers = draw(
        st.lists(
            st.sampled_from(
                [
                    "x-env: prod",
                    "X-Env: x",
                    "x-env:   xy",
                    "Cookie: a=b; user=carol",
                    "Connection: x-env, keep-alive",
                    "TE: trailers",
                    "x-forwarded-for: 10.1.2.3",
                    "x-fastmirror-copy: theirs",
                    "Origin: https://x.example",
                    "Upgrade: websocket\r\nConnection: upgrade",
                    *[f"X-User: {user}" for user in USERS],
                ]
            ),
            max_size=4,
        )
    )
    headers = [line for each in headers for line in each.split("\r\n")]
    method = draw(st.sampled_from(["GET", "GET", "GET", "POST", "HEAD", "PUT", "OPTIONS"]))
    if method == "OPTIONS" and draw(st.booleans()):
        headers += ["Access-Control-Request-Method: PUT"]
    body = b""
    if method in ("POST", "PUT"):
        body, framing = draw(
            st.sampled_from(
                [
                    (b"", "Content-Length: 0"),
                    (b"abc", "Content-Length: 3"),
                    (b"abcdefgh", "Content-Length: 8"),
                    (b"3\r\nabc\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
                ]
            )
        )
        headers.append(framing)
    return method, f"http://{host}{path}{query}", headers, body
