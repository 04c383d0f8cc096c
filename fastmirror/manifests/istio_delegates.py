"""VirtualServices that leave rules to others: a root's rule with ``delegate``, and its delegates.

Invariant: what comes out has no delegate any more. A rule of a delegate takes the root's place
with the fields of its own and, where it has none, the root's; its matches are within the root's, as
Istio decides that. Each field keeps its place: names in it belong to its manifest's namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastmirror.manifests.fields import Field
from fastmirror.manifests.overlay import overlay, part
from fastmirror.manifests.selection import resolve
from fastmirror.manifests.source import Resource

_INHERITED = (
    "corsPolicy", "directResponse", "fault", "headers", "mirror", "mirrorPercent",
    "mirrorPercentage", "mirror_percent", "mirrors", "retries", "rewrite", "timeout",
)  # fmt: skip
_MAPS = ("headers", "queryParams", "sourceLabels", "withoutHeaders")
_COMPARED = ("authority", "method", "scheme", "uri")
_NAME = re.compile(r"(?=.{1,120}$)[\x21-\x7e]+( [\x21-\x7e]+)*")  # people write sentences


@dataclass(frozen=True, slots=True)
class Rule:
    """An HTTPRoute, delegates put in."""

    name: str
    item: Field
    matches: list[Field]  # none: every request


class Delegates:
    """The VirtualServices without hosts, by namespace and name."""

    def __init__(self, services: Sequence[Resource]) -> None:
        self._known = {
            (service.namespace, service.name): service
            for service in services
            if is_delegate(service)
        }
        self._used: set[tuple[str, str]] = set()
        for service in services:
            for item in service.root["spec"]["http"].items():
                if item["delegate"].given:
                    self._used.add(_named(item["delegate"]))

    def unused(self) -> list[Resource]:
        return [service for key, service in self._known.items() if key not in self._used]

    def rules(self, service: Resource) -> Iterator[Rule]:
        """The rules of a VirtualService that has hosts."""
        for name, item in _with_names(service.root["spec"]["http"], service.full_name):
            if item["delegate"].given:
                yield from self._delegated(name, item)
            else:
                yield Rule(name, item, item["match"].items())

    def _delegated(self, name: str, root: Field) -> Iterator[Rule]:
        at = root["delegate"].knows("name", "namespace")
        for answer in ("route", "redirect"):
            if root[answer].given:
                root[answer].problem(f"delegate and {answer} cannot be used together")
        if not at["name"].text() or not at["namespace"].text(root.origin.namespace):
            return
        key = _named(at)
        delegate = self._known.get(key)
        if delegate is None:
            at.warn(f"no VirtualService {'/'.join(key)} without hosts: this rule is left out")
            return
        spec = delegate.root["spec"]
        if not _is_exported(spec, root.origin.namespace):
            at.warn(f"VirtualService {'/'.join(key)} is not exported: this rule is left out")
            return
        inherited = part(root, _INHERITED)
        for own, item in _with_names(spec["http"], name):
            matches = _within(root["match"].items(), item["match"].items())
            if matches is None:
                item.warn(f"never runs: no match of {root.where(root.path)} has it within")
            elif not item["delegate"].given:
                yield Rule(own, overlay(item, inherited), matches)


def is_delegate(service: Resource) -> bool:
    """Whether a VirtualService has no hosts."""
    return service.root["spec"]["hosts"].value in (None, [])


def check_delegate(service: Resource) -> None:
    """Refuses what a delegate cannot have."""
    spec = service.root["spec"]
    if spec["gateways"].given:
        spec["gateways"].problem("a VirtualService without hosts is a delegate: it has no gateways")
    for item in spec["http"].items():
        if item["delegate"].given:
            item["delegate"].problem("a delegate's rules cannot be delegated further")


def _named(at: Field) -> tuple[str, str]:
    namespace = at["namespace"].value or at.origin.namespace
    return (str(namespace), str(at["name"].value))


def _with_names(http: Field, prefix: str) -> Iterator[tuple[str, Field]]:
    items = http.items()
    for index, item in enumerate(items):
        name = item["name"].matching(_NAME, "a name of printable ASCII", str(index))
        yield f"{prefix}/{name}" if len(items) > 1 else prefix, item


def _is_exported(spec: Field, namespace: str) -> bool:
    places = [item.text() for item in spec["exportTo"].items()] or ["*"]
    own = namespace == spec.origin.namespace
    return "*" in places or namespace in places or (own and "." in places)


def _within(root: list[Field], delegate: list[Field]) -> list[Field] | None:
    """Every match of the delegate's with each of the root's that it is within; None: there is one
    that is within none.
    """
    if not root or not delegate:
        return root or delegate
    found = []
    for item in delegate:
        wider = [match for match in root if not _conflict(match, item)]
        if not wider:
            return None
        for match in wider:
            _warn_of_exclusions(match["withoutHeaders"], item["withoutHeaders"])
        found += [overlay(item, match, _MAPS) for match in wider]
    return found


def _warn_of_exclusions(root: Field, own: Field) -> None:
    """What is within the root's here excludes less than that."""
    for name, at in own.entries().items():
        if root[name].given and root[name].value != at.value:
            at.warn("stands in the place of the root's, as in Istio: what that excludes is matched")


def _conflict(root: Field, own: Field) -> bool:
    """Whether a delegate's match says of anything what is not within the root's."""
    pairs = [(root[name], own[name]) for name in _COMPARED]
    for kind in ("headers", "queryParams", "withoutHeaders"):
        pairs += [(root[kind][name], at) for name, at in own[kind].entries().items()]
    if any(theirs.given and ours.given and not _is_within(theirs, ours) for theirs, ours in pairs):
        return True
    if (root["ignoreUriCase"].value or False) != (own["ignoreUriCase"].value or False):
        return True
    if root["port"].given and own["port"].given and root["port"].value != own["port"].value:
        return True
    if (
        root["sourceNamespace"].value
        and root["sourceNamespace"].value != own["sourceNamespace"].value
    ):
        return True
    labels = root["sourceLabels"].entries()
    for key, at in own["sourceLabels"].entries().items():
        if key in labels and labels[key].value != at.value:
            return True
    names = {resolve(item) for item in root["gateways"].items()}
    return bool(names) and not {resolve(item) for item in own["gateways"].items()} <= names


def _is_within(root: Field, own: Field) -> bool:
    """Whether every string that a delegate's StringMatch takes is one of the root's. Of a regular
    expression, and of a mere presence, nobody can say, or so Istio has it.
    """
    exact, prefix = root["exact"].value, root["prefix"].value
    if own["regex"].value or root["regex"].value:
        return False
    if exact:
        return not own["prefix"].value and bool(own["exact"].value == exact)
    text = own["prefix"].value or own["exact"].value
    return bool(prefix) and isinstance(text, str) and text.startswith(str(prefix))
