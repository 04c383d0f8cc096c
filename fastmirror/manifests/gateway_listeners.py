"""The Gateway API's Gateway: its listeners, and the routes that they take.

Invariant: a listener takes a route only if the API lets it: of the kind, of the namespace, and with
a hostname in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fastmirror.manifests.addresses import is_host
from fastmirror.manifests.drafts import A_NAME, NAME
from fastmirror.manifests.fields import Field
from fastmirror.manifests.source import Resource
from fastmirror.manifests.traffic import Labels

GROUP = "gateway.networking.k8s.io"
EVERY_HOST = "*"

_NAMESPACE_NAME = "kubernetes.io/metadata.name"  # a label that every namespace has
_PROTOCOLS = ("HTTP", "HTTPS", "TLS", "TCP", "UDP")
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
# Who runs the gateway and where; certificates are for what ends TLS.
_OVER = (
    "addresses", "allowedListeners", "backendTLS", "defaultScope", "gatewayClassName",
    "infrastructure", "tls",
)  # fmt: skip

Namespaces = dict[str, Labels]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition of a label selector."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def holds(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        if self.operator in ("Exists", "DoesNotExist"):
            return (value is not None) == (self.operator == "Exists")
        return (value in self.values) == (self.operator == "In")


@dataclass(slots=True, eq=False)
class Listener:
    """Compared by identity."""

    gateway: str  # NAMESPACE/NAME
    name: str
    hostname: str = EVERY_HOST
    port: int = 80
    protocol: str = "HTTP"
    http_routes: bool = True  # whether its allowedRoutes have the kind
    namespace: str | None = None  # the only one whose routes it takes
    selector: list[Requirement] = field(default_factory=list)

    def refuses(self, namespace: str, namespaces: Namespaces) -> str | None:
        """Why it takes no HTTPRoute of the namespace."""
        if self.protocol not in ("HTTP", "HTTPS"):
            return f"its protocol is {self.protocol}"
        if not self.http_routes:
            return "its allowedRoutes have other kinds"
        labels = namespaces.get(namespace, {}) | {_NAMESPACE_NAME: namespace}
        allowed = self.namespace in (None, namespace)
        if not allowed or not all(item.holds(labels) for item in self.selector):
            return f"its allowedRoutes do not have namespace {namespace}"
        return None


def within(narrow: str, wide: str) -> bool:
    """Whether every name of the one pattern is of the other as well."""
    if wide in (EVERY_HOST, narrow):
        return True
    return wide.startswith("*.") and narrow.removeprefix("*").endswith(wide[1:])


def intersection(one: str, other: str) -> str | None:
    """The names that are of both patterns, as a pattern."""
    if within(one, other):
        return one
    return other if within(other, one) else None


def read_namespaces(resources: Sequence[Resource]) -> Namespaces:
    """The labels of every namespace that has a manifest."""
    return {
        resource.name: resource.root["metadata"]["labels"].labels()
        for resource in resources
        if resource.kind == "Namespace"
    }


def read_gateways(resources: Sequence[Resource]) -> dict[str, list[Listener]]:
    """The listeners of every Gateway, by NAMESPACE/NAME."""
    return {
        f"{resource.namespace}/{resource.name}": _listeners(resource)
        for resource in resources
        if resource.kind == "Gateway"
    }


def _listeners(resource: Resource) -> list[Listener]:
    root = resource.root.knows("apiVersion", "kind", "metadata", "spec", over=("status",))
    items = root["spec"].knows("listeners", over=_OVER)["listeners"]
    if not items.items():
        items.expected("a list of listeners")
    listeners: list[Listener] = []
    for item in items.items():
        listener = _listener(item, resource)
        for other in listeners:
            if other.name == listener.name:
                item["name"].problem("another listener has this name")
            elif _place(other) == _place(listener):
                item.problem(f"the same port, protocol and hostname as listener {other.name}")
        listeners.append(listener)
    return listeners


def _place(listener: Listener) -> tuple[object, ...]:
    return listener.port, listener.protocol, listener.hostname


def _listener(item: Field, resource: Resource) -> Listener:
    item.knows("allowedRoutes", "hostname", "name", "port", "protocol", over=("tls",))
    protocol = item["protocol"].text()
    if protocol and protocol not in _PROTOCOLS and "/" not in protocol:
        item["protocol"].expected(f"one of {', '.join(_PROTOCOLS)}")
    listener = Listener(
        gateway=f"{resource.namespace}/{resource.name}",
        name=item["name"].matching(NAME, A_NAME),
        hostname=read_hostname(item["hostname"]) or EVERY_HOST,
        port=item["port"].integer(1, 65535),
        protocol=protocol,
    )
    allowed = item["allowedRoutes"].knows("kinds", "namespaces")
    kinds = [
        (kind.knows("group", "kind")["group"].string(GROUP), kind["kind"].text())
        for kind in allowed["kinds"].items()
    ]
    listener.http_routes = not kinds or (GROUP, "HTTPRoute") in kinds
    namespaces = allowed["namespaces"].knows("from", "selector")
    source = namespaces["from"].text("Same")
    if source == "Same":
        listener.namespace = resource.namespace
    elif source == "Selector":
        listener.selector = _selector(namespaces["selector"])
    elif source != "All":
        namespaces["from"].expected("All, Same or Selector")
    return listener


def read_hostname(item: Field) -> str | None:
    """A host name or ``*.suffix``; absent, or reported: None."""
    if not item.given:
        return None
    text = item.text()
    if text != EVERY_HOST and is_host(text):
        return text.lower()
    item.expected("a host name or *.suffix, without a port")
    return None


def _selector(at: Field) -> list[Requirement]:
    if not at.knows("matchExpressions", "matchLabels").given:
        at.expected("a label selector")
    found = [Requirement(k, "In", (v,)) for k, v in at["matchLabels"].labels().items()]
    for item in at["matchExpressions"].items():
        operator = item.knows("key", "operator", "values")["operator"].text()
        if operator and operator not in _OPERATORS:
            item["operator"].expected(f"one of {', '.join(_OPERATORS)}")
        values = tuple(value.string() for value in item["values"].items())
        if (operator in _OPERATORS[:2]) != bool(values):
            item["values"].expected(f"{'some' if operator in _OPERATORS[:2] else 'none'} values")
        found.append(Requirement(item["key"].text(), operator, values))
    return found
