"""Files, directories and standard input into the resources that they hold.

Invariant: every resource that comes out is of a kind, version and name that we know, and occurs
once; whatever is not is reported with its file and line. What a resource says inside is read by
the module of its API.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastmirror.manifests.fields import Field, Origin, Report
from fastmirror.yaml_documents import Document, YamlError, read_documents

_ISTIO = ("networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3")
_GATEWAY = tuple(
    f"gateway.networking.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha2")
)

# Kind -> the versions of it that are read, by their apiVersion.
_READ = {
    "VirtualService": _ISTIO,
    "DestinationRule": _ISTIO,
    "ServiceEntry": _ISTIO,
    "WorkloadEntry": _ISTIO,
    "Gateway": _GATEWAY,
    "HTTPRoute": _GATEWAY,
    "ReferenceGrant": _GATEWAY,
    "Namespace": ("v1",),  # for its labels
    "Service": ("v1",),
    "Endpoints": ("v1",),
    "EndpointSlice": ("discovery.k8s.io/v1",),
    "Pod": ("v1",),  # for its labels: an EndpointSlice carries none
}
# What is met beside them and says nothing about routing here.
_READ_OVER = {
    "Gateway": _ISTIO,
    "GatewayClass": _GATEWAY,
    "ConfigMap": ("v1",),
    "Secret": ("v1",),
    "ServiceAccount": ("v1",),
    "Deployment": ("apps/v1",),
}
_KINDS = {kind: (*_READ.get(kind, ()), *_READ_OVER.get(kind, ())) for kind in (*_READ, *_READ_OVER)}
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_SUFFIXES = (".yaml", ".yml", ".json")


class ManifestError(ValueError):
    """The manifests are refused; ``problems`` has a line for each reason."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


@dataclass(frozen=True, slots=True)
class Resource:
    """A manifest whose kind and name are known."""

    kind: str
    namespace: str
    name: str
    created: str  # creationTimestamp; absent: after everything that has one
    root: Field

    @property
    def full_name(self) -> str:
        """As users write it: the default namespace goes without saying."""
        return self.name if self.namespace == "default" else f"{self.namespace}/{self.name}"


def read_resources(paths: Sequence[str], report: Report) -> list[Resource]:
    """All resources of the files, in their order; ``-`` is standard input."""
    resources: dict[tuple[str, str, str], Resource] = {}
    for file in _files(paths, report):
        for document in _documents(file, report):
            for root in _flatten(document, report):
                resource = _resource(root)
                if resource is None:
                    continue
                key = (resource.kind, resource.namespace, resource.name)
                if first := resources.get(key):
                    place = first.root.where(()).rpartition(": ")[0]
                    root["metadata"]["name"].problem(f"the same kind and name as in {place}")
                else:
                    resources[key] = resource
    return list(resources.values())


def _files(paths: Sequence[str], report: Report) -> Iterator[str]:
    for path in paths:
        if path != "-" and Path(path).is_dir():
            found = sorted(str(p) for p in Path(path).iterdir() if p.suffix in _SUFFIXES)
            if not found:
                report.problems.append(f"{path}: no {', '.join(_SUFFIXES)} file in this directory")
            yield from found
        else:
            yield path


def _documents(path: str, report: Report) -> list[Document]:
    name = "stdin" if path == "-" else path
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
        documents = read_documents(content.decode("utf-8"), name)
    except YamlError as error:
        report.problems.append(str(error))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        report.problems.append(f"{name}:{line}: not UTF-8 text")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        report.problems.append(f"{name}: {reason}")
    else:
        if not documents:
            report.problems.append(f"{name}:1: no manifest in this file")
        return documents
    return []


def _flatten(document: Document, report: Report) -> list[Field]:
    """The resource of a document, or those of a List, as ``kubectl get -o yaml`` writes them."""
    data = document.data
    root = Field(Origin(report, document, _label(data), namespace=_namespace(data)), data)
    if not (isinstance(data, dict) and data.get("kind") == "List"):
        return [root]
    root.knows("apiVersion", "kind", "items", over=("metadata",))
    return [
        Field(
            Origin(report, document, _label(item.value), item.path, _namespace(item.value)),
            item.value,
        )
        for item in root["items"].items()
    ]


def _metadata(data: object) -> dict[str, Any]:
    metadata = data.get("metadata") if isinstance(data, dict) else None
    return metadata if isinstance(metadata, dict) else {}


def _label(data: object) -> str:
    kind = data.get("kind") if isinstance(data, dict) else None
    metadata = _metadata(data)
    parts = [kind, metadata.get("namespace"), metadata.get("name")]
    if parts[1] == "default":
        del parts[1]
    return "/".join(part for part in parts if isinstance(part, str)) or "document"


def _namespace(data: object) -> str:
    namespace = _metadata(data).get("namespace")
    return namespace if isinstance(namespace, str) else "default"


def _resource(root: Field) -> Resource | None:
    """None: read over, or reported."""
    if not isinstance(root.value, dict):
        root.expected("a manifest with apiVersion, kind and metadata")
        return None
    kind, version = root["kind"].text(), root["apiVersion"].text()
    if not kind or not version:
        return None
    if kind not in _KINDS:
        root["kind"].expected(f"one of {', '.join(sorted(_KINDS))}")
        return None
    if version not in _KINDS[kind]:
        root["apiVersion"].expected(" or ".join(_KINDS[kind]))
        return None
    if version in _READ_OVER.get(kind, ()):
        return None
    metadata = root["metadata"]
    if not isinstance(metadata.value, dict):
        metadata.expected("a mapping with a name")
        return None
    return Resource(
        kind=kind,
        namespace=metadata["namespace"].matching(DNS_LABEL, "a DNS label", "default"),
        name=metadata["name"].matching(_NAME, "a name: lower case letters, digits, - and ."),
        created=metadata["creationTimestamp"].text("~"),  # sorts after every digit
        root=root,
    )
