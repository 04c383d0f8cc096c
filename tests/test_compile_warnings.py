"""What is accepted and cannot have been meant: each warning has its file, line and field."""

from __future__ import annotations

import pytest
from compiling import ENTRY, HR, ROUTE, RULE, VS, WEB, compiled, refused
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastmirror.manifests.drafts import covers
from fastmirror.manifests.hidden import Taken
from fastmirror.rules.model import HeaderMatch, Match, PathMatch

SHADOW = WEB.replace("name: web", "name: shadow")
TO = "    route: [{destination: {host: web}}]\n"
PLACE = "f1.yaml:{}: VirtualService/web: spec.http[{}]"


def warned(*texts, **options):
    return compiled(WEB, *texts, **options)[1]


# -- a mirror to where the requests go


@pytest.mark.parametrize(
    ("route", "mirror"),
    [
        ("[{destination: {host: web}}]", "{host: web}"),
        ("[{destination: {host: web}}]", "{host: web.default.svc.cluster.local}"),
        ("[{destination: {host: web}}]", "{host: web, port: {number: 80}}"),
        ("[{destination: {host: web, subset: v1}}]", "{host: web, subset: v1}"),
        (
            "[{destination: {host: web}, weight: 1}, {destination: {host: shadow}, weight: 0}]",
            "{host: web}",
        ),
        (
            "[{destination: {host: web}, weight: 1}, {destination: {host: web}, weight: 2}]",
            "{host: web}",
        ),
    ],
)
@pytest.mark.parametrize("form", ["mirror: {}", "mirrors: [{{destination: {}}}]"])
def test_a_mirror_to_where_every_request_goes_is_refused(route, mirror, form):
    rule = RULE + "  subsets: [{name: v1, labels: {}}]\n"
    text = VS + f"  - route: {route}\n    {form.format(mirror)}\n"
    (problem,) = refused(WEB, text, SHADOW, rule)
    at = "mirror" if form.startswith("mirror:") else "mirrors[0].destination"
    assert problem == (
        PLACE.format(8, 0)
        + f".{at}: is where the requests go themselves: each would be sent there twice"
    )


@pytest.mark.parametrize(
    ("route", "mirror"),
    [
        ("[{destination: {host: web}}]", "{host: shadow}"),
        ("[{destination: {host: web, subset: v1}}]", "{host: web, subset: v2}"),
        ("[{destination: {host: web, subset: v1}}]", "{host: web}"),
        ("[{destination: {host: web}}]", "{host: web, port: {number: 81}}"),
        (
            "[{destination: {host: web}, weight: 1}, {destination: {host: shadow}, weight: 1}]",
            "{host: web}",
        ),
    ],
)
def test_a_mirror_to_somewhere_else_is_not(route, mirror):
    two_ports = WEB.replace("[{port: 80}]", "[{name: a, port: 80}, {name: b, port: 81}]")
    rule = RULE + "  subsets: [{name: v1, labels: {}}, {name: v2, labels: {}}]\n"
    rules, _ = compiled(two_ports, VS + f"  - route: {route}\n    mirror: {mirror}\n", SHADOW, rule)
    assert len(rules["routes"][0]["mirrors"]) == 1


# -- a rule that an earlier one hides


def rules(*matches):
    return "".join(f"  - match: [{match}]\n{TO}" for match in matches)


HIDDEN = [
    ("{uri: {prefix: /a}}", "{uri: {prefix: /a}, port: 80}"),
    ("{port: 80}", "{port: 80, method: {exact: GET}}"),
    ("{withoutHeaders: {a: {}}}", "{withoutHeaders: {a: {}, b: {}}}"),
    ("{uri: {prefix: /}}", "{withoutHeaders: {a: {exact: x}}}"),
    ("{queryParams: {a: {exact: x}}}", "{queryParams: {a: {exact: x}}, headers: {b: {}}}"),
]
NOT_HIDDEN = [
    ("{uri: {prefix: /a}, port: 80}", "{uri: {prefix: /a}}"),
    ("{port: 80}", "{port: 81}"),
    ("{withoutHeaders: {a: {}}}", "{}"),
    ("{withoutHeaders: {a: {}, b: {}}}", "{withoutHeaders: {a: {}}}"),
    ("{withoutHeaders: {a: {exact: x}}}", "{withoutHeaders: {a: {exact: y}}}"),
    ("{withoutHeaders: {a: {}}}", "{headers: {a: {}}}"),
    ("{uri: {exact: /a}}", "{uri: {prefix: /a}}"),
]


@pytest.mark.parametrize(("first", "second"), HIDDEN)
def test_a_hidden_rule_is_warned_of(first, second):
    (warning,) = warned(VS + rules(first, second))
    assert warning.startswith(PLACE.format(9, 1) + ": never runs: the rules before it")


@pytest.mark.parametrize(("first", "second"), NOT_HIDDEN)
def test_a_rule_that_is_not_hidden_is_not(first, second):
    assert warned(VS + rules(first, second)) == []


def service(name, hosts, *matches):
    text = VS.replace("name: web", f"name: {name}").replace("[web]", hosts)
    return text + (rules(*matches) if matches else ROUTE)


def hidden(*texts):
    return [w for w in warned(*texts) if "never runs" in w]


def test_a_rule_may_be_hidden_by_another_virtual_service():
    first = service("first", "[a.example]", "{uri: {prefix: /a}}")
    (warning,) = hidden(first, service("second", "[a.example]", "{uri: {exact: /ab}}", "{}"))
    assert warning.startswith("f2.yaml:7: VirtualService/second: spec.http[0]: never runs")
    # Only where it is so for every host; what is more specific hides nothing of what is less.
    assert hidden(first, service("second", "[a.example, b.example]", "{uri: {exact: /ab}}")) == []
    assert hidden(service("first", "[a.example]"), service("second", "['*.example']")) == []
    assert hidden(service("first", "['*.example']"), service("second", "['*.example']")) != []
    # For another proxy's gateway there is nothing to hide.
    other = first.replace("  http:", "  gateways: [x]\n  http:")
    second = service("second", "[a.example]", "{uri: {exact: /ab}}")
    assert compiled(WEB, other, second, gateways=["mesh"])[1] == []


def test_a_rule_of_a_delegate_may_be_hidden():
    root = VS + "  - delegate: {name: leaf}\n  - delegate: {name: leaf}\n"
    leaf = VS.replace("  hosts: [web]\n", "").replace("name: web", "name: leaf") + ROUTE
    assert hidden(root, leaf) == [
        "f2.yaml:6: VirtualService/leaf: spec.http[0]: never runs: the rules before it take every "
        "request that it matches"
    ]


NAMES = st.sampled_from(["a", "b"])
HEADER = st.one_of(
    st.builds(HeaderMatch, exact=st.sampled_from(["x", "xy"])),
    st.builds(HeaderMatch, prefix=st.sampled_from(["x", ""])),
    st.just(HeaderMatch(present=True)),
)
PATHS = ["/", "/a", "/a/b", "/ab", "/b"]
MATCH = st.builds(
    Match,
    path=st.one_of(
        st.none(),
        st.builds(PathMatch, exact=st.sampled_from(PATHS)),
        st.builds(PathMatch, prefix=st.sampled_from(PATHS)),
    ),
    method=st.sampled_from([None, "GET", "PUT"]),
    port=st.sampled_from([None, 80, 81]),
    headers=st.dictionaries(NAMES, HEADER, max_size=2),
    without_headers=st.dictionaries(NAMES, HEADER, max_size=2),
)


def _is(match, value):
    if value is None:
        return False
    if match.exact is not None:
        return value == match.exact
    return match.prefix is None or value.startswith(match.prefix)


def _holds(match, path, method, port, headers):
    """As docs/rules.md says it."""
    return (
        (match.path is None or _is(match.path, path))
        and match.method in (None, method)
        and match.port in (None, port)
        and all(_is(wanted, headers.get(name)) for name, wanted in match.headers.items())
        and not any(_is(not_, headers.get(name)) for name, not_ in match.without_headers.items())
    )


@settings(max_examples=500, deadline=None)
@given(
    wide=MATCH,
    narrow=MATCH,
    same=st.sets(st.sampled_from(["path", "method", "port", "headers", "without_headers"])),
    path=st.sampled_from(PATHS),
    method=st.sampled_from(["GET", "PUT"]),
    port=st.sampled_from([80, 81]),
    headers=st.dictionaries(NAMES, st.sampled_from(["x", "xy", "y"]), max_size=2),
)
def test_what_is_covered_is_matched_by_what_covers_it(
    wide, narrow, same, path, method, port, headers
):
    fields = {name: getattr(wide, name) for name in same}
    narrow = Match(**{**{n: getattr(narrow, n) for n in Match.__struct_fields__}, **fields})
    assume(covers(wide, narrow))
    request = (path, method, port, headers)
    assert _holds(wide, *request) >= _holds(narrow, *request)


@settings(max_examples=300, deadline=None)
@given(earlier=st.lists(MATCH, max_size=5), match=MATCH)
def test_what_is_taken_is_found_by_its_path(earlier, match):
    taken = Taken()
    taken.add(earlier)
    assert taken.covers(match) == any(covers(wide, match) for wide in earlier)


# -- the rest of them: what nothing defines, what nothing serves, what has no effect


def test_a_service_without_an_endpoint_is_warned_of_where_it_is_defined():
    _, warnings = compiled(WEB, ENTRY + "  resolution: STATIC\n", dns=False)
    assert warnings == [
        "f1.yaml:5: ServiceEntry/api: spec.hosts[0]: api.example has no address, and is left out",
        "f1.yaml:5: ServiceEntry/api: spec.hosts[1]: b.example has no address, and is left out",
        "f0.yaml:3: Service/web: metadata.name: web.default.svc.cluster.local has no address, "
        "and is left out",
    ]


def test_a_destination_without_an_endpoint_is_warned_of():
    entry = ENTRY + "  resolution: STATIC\n"
    text = service("web", "[x.example]").replace("host: web", "host: api.example")
    warnings = warned(text, entry)
    assert warnings[0] == (
        PLACE.format(7, 0) + ".route[0].destination: api.example has no endpoint for port 80: "
        "requests to it are answered with 503, and copies dropped"
    )


def test_several_ports_of_a_host_are_warned_of_where_it_is_defined():
    two_ports = WEB.replace("[{port: 80}]", "[{name: a, port: 80}, {name: b, port: 81}]")
    _, (warning,) = compiled(two_ports)
    assert warning.startswith("f0.yaml:3: Service/web: metadata.name: ")


@pytest.mark.parametrize("text", [VS + "  - tcp: []\n", HR.replace("rules:", "rules: []\n  x:")])
def test_what_is_no_route_at_all(text):
    assert refused(WEB, text)


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_routes_of_connections_are_refused_by_name(kind):
    text = VS.replace("  http:\n", f"  {kind}:\n  - match: [{{port: 1}}]\n")
    (problem,) = refused(WEB, text)
    assert problem.startswith(f"f1.yaml:6: VirtualService/web: spec.{kind}: this field is not supp")
    rules, (warning, *_) = compiled(WEB, text, lenient=True)
    assert "routes" not in rules
    assert f"spec.{kind}: " in warning
