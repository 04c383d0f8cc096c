"""For which proxy manifests are compiled: its gateways, and the workload whose requests it takes.

Invariant: what an option leaves out is left out in silence, since somebody asked for it; what is
left out, or kept, because an option is absent is warned of.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from fastmirror.manifests.fields import Field, Report
from fastmirror.manifests.source import DNS_LABEL

MESH = "mesh"  # Istio's name for all sidecars
_GATEWAY = re.compile(r"([a-z0-9][-a-z0-9]*/)?[a-z0-9][-.a-z0-9]*")
_LABEL = re.compile(r"(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]*)=(?P<value>[-A-Za-z0-9_.]*)")


@dataclass(frozen=True, slots=True)
class Selection:
    """``None``: the option was not given."""

    labels: dict[str, str] | None = None
    namespace: str | None = None
    gateways: dict[str, str] | None = None  # NAMESPACE/NAME or mesh -> as it was given

    def is_for(self, spec: Field) -> bool:
        """Whether a VirtualService is bound to one of the gateways."""
        return self.gateways is None or not bound_to(spec).isdisjoint(self.gateways)

    def holds(self, match: Field) -> bool:
        """Whether a match of a VirtualService's can hold here, as Istio decides it: by its
        gateways or, where it names none, by the workload's labels and namespace.
        """
        labels, namespace = match["sourceLabels"], match["sourceNamespace"]
        wanted, where = labels.labels(), namespace.matching(DNS_LABEL, "a DNS label", "")
        if gateways := match["gateways"].items():
            for at in (labels, namespace):
                if at.given:
                    at.warn("has no effect beside gateways")
            if self.gateways is None:
                match["gateways"].warn("holds for every gateway (--gateway says for which ones)")
                return True
            return not {resolve(item) for item in gateways}.isdisjoint(self.gateways)
        return self._has(wanted, labels) and (where == "" or self._is_in(where, namespace))

    def selects(self, selector: Field, namespace: str) -> bool:
        """Whether a ``workloadSelector`` of a manifest in that namespace picks the workload."""
        labels = selector.knows("matchLabels")["matchLabels"]
        return self._has(labels.labels(), labels) and self._is_in(namespace, selector)

    def _has(self, labels: dict[str, str], at: Field) -> bool:
        if labels and self.labels is None:
            at.warn("never holds: the workload has no labels (--workload-labels gives it some)")
        return labels.items() <= (self.labels or {}).items()

    def _is_in(self, namespace: str, at: Field) -> bool:
        if namespace != (self.namespace or "default") and self.namespace is None:
            at.warn(
                "never holds: the workload is in namespace default"
                " (--workload-namespace says where it is)"
            )
        return namespace == (self.namespace or "default")

    def warn_of_unused(self, bound: Collection[str], report: Report) -> None:
        """``bound``: the gateways that VirtualServices are bound to."""
        for name, option in (self.gateways or {}).items():
            if name not in bound:
                report.warnings.append(f"--gateway {option}: no VirtualService is bound to it")


def bound_to(spec: Field) -> set[str]:
    """The gateways that a VirtualService is for; without any, it is for sidecars."""
    return {resolve(item) for item in spec["gateways"].items()} or {MESH}


def resolve(item: Field) -> str:
    """A gateway's name as NAMESPACE/NAME, or mesh; a name alone is in its manifest's namespace."""
    name = item.text()
    if name == MESH or not name:
        return name
    namespace, slash, rest = name.rpartition("/")
    if slash:
        return f"{item.origin.namespace if namespace == '.' else namespace}/{rest}"
    parts = name.split(".")  # the old form: NAME.NAMESPACE.svc.cluster.local
    return f"{parts[1] if len(parts) > 1 else item.origin.namespace}/{parts[0]}"


def parse_selection(
    labels: str | None, namespace: str | None, gateways: Sequence[str], report: Report
) -> Selection:
    """The options as given: ``k=v,k=v``, a namespace, and ``NAME``, ``NAMESPACE/NAME`` or mesh."""
    found: dict[str, str] = {}
    for part in labels.split(",") if labels else ():
        if match := _LABEL.fullmatch(part):
            found[match["key"]] = match["value"]
        else:
            report.problems.append(f"--workload-labels {labels}: expected KEY=VALUE[,KEY=VALUE...]")
    if namespace is not None and DNS_LABEL.fullmatch(namespace) is None:
        report.problems.append(f"--workload-namespace {namespace}: expected a DNS label")
    names: dict[str, str] = {}
    for option in gateways:
        if _GATEWAY.fullmatch(option) is None:
            report.problems.append(f"--gateway {option}: expected NAME, NAMESPACE/NAME or mesh")
        names[option if option == MESH or "/" in option else f"default/{option}"] = option
    return Selection(None if labels is None else found, namespace, names if gateways else None)
