"""What a sidecar would break, or be broken by. Invariant: each problem is named with the field that
it lies in; a pod without problems works with the sidecar as it did without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastmirror.sidecar.pod import INIT, PROXY, VOLUME, Sidecar
from fastmirror.yaml_documents import Path

ISTIO = (
    "Istio's sidecar captures the same connections to the same ports (15001, 15006): only one of "
    'the two can be in a pod (sidecar.istio.io/inject: "false" keeps it out)'
)
LINKERD = "Linkerd's proxy captures the same connections: only one of the two can be in a pod"
_FOREIGN = {
    "istio-proxy": ISTIO,
    "istio-init": ISTIO,
    "istio-validation": ISTIO,
    "linkerd-proxy": LINKERD,
    "linkerd-init": LINKERD,
}


def conflicts(template: dict[str, Any], sidecar: Sidecar) -> Iterator[tuple[Path, str]]:
    """Of a pod, or of a template of pods: where, and what."""
    yield from _announced(template.get("metadata") or {})
    spec = template["spec"]
    if spec.get("hostNetwork") is True:
        yield (
            ("spec", "hostNetwork"),
            "the rules would capture the connections of the whole node: a pod with a network of "
            "its own is needed",
        )
    for where in (("os", "name"), ("nodeSelector", "kubernetes.io/os")):
        if _get(spec, *where) == "windows":
            yield ("spec", *where), "there is no sidecar for Windows"
    for index, volume in enumerate(spec.get("volumes") or []):
        if volume.get("name") == VOLUME and "configMap" not in volume:
            what = f"the name {VOLUME} is the sidecar's, for a volume of a ConfigMap"
            yield ("spec", "volumes", index, "name"), what
    for kind in ("containers", "initContainers"):
        for index, each in enumerate(spec.get(kind) or []):
            if kind == "initContainers" and each.get("name") in (PROXY, INIT):
                continue
            for path, what in _of_container(each, sidecar, spec.get("securityContext")):
                yield ("spec", kind, index, *path), what


def _get(value: object, *path: str) -> Any:
    """What is there, if all above it are mappings."""
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _announced(metadata: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Istio's and Linkerd's injectors add theirs when the pod is made."""
    for kind in ("labels", "annotations"):
        values = metadata.get(kind) or {}
        if str(values.get("sidecar.istio.io/inject")).lower() == "true" or "istio.io/rev" in values:
            name = "sidecar.istio.io/inject" if "istio.io/rev" not in values else "istio.io/rev"
            yield ("metadata", kind, name), ISTIO
        if str(values.get("linkerd.io/inject")) in ("enabled", "ingress"):
            yield ("metadata", kind, "linkerd.io/inject"), LINKERD


def _of_container(
    container: dict[str, Any], sidecar: Sidecar, of_pod: object
) -> Iterator[tuple[Path, str]]:
    name = container.get("name")
    if isinstance(name, str) and name in _FOREIGN:
        yield ("name",), _FOREIGN[name]
    if name in (PROXY, INIT):
        yield ("name",), f"the name {name} is the sidecar's, and its container goes elsewhere"
    taken = {sidecar.port: "the proxy's", sidecar.admin.port: "the admin listener's"}
    if sidecar.inbound_port is not None:
        taken[sidecar.inbound_port] = "the proxy's, for inbound connections"
    ports = container.get("ports")
    for index, port in enumerate(ports if isinstance(ports, list) else []):
        number = _get(port, "containerPort")
        if isinstance(number, int) and number in taken:
            yield (
                ("ports", index, "containerPort"),
                f"port {number} is {taken[number]} (see --port and --admin)",
            )
    for field, what in (("runAsUser", "user"), ("runAsGroup", "group")):
        own = _get(container, "securityContext", field)
        if (own if own is not None else _get(of_pod, field)) == sidecar.uid:
            where: Path = ("securityContext", field) if own is not None else ("name",)
            yield (
                where,
                f"it runs as the {what} {sidecar.uid}, whose connections are never captured: the "
                "proxy needs one of its own (--uid)",
            )
