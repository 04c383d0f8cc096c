"""``fastmirror inject``: the sidecar added to manifests, as istioctl kube-inject does.

Invariants: a document that holds no pods is passed on to the letter; injecting what is injected
changes nothing; where one document cannot have the sidecar, nothing is written at all.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from fastmirror import __version__
from fastmirror.rules.address import parse_address
from fastmirror.sidecar.capture import add_arguments, read_capture
from fastmirror.sidecar.conflicts import conflicts
from fastmirror.sidecar.pod import Sidecar, add_sidecar
from fastmirror.yaml_documents import (
    Document,
    Path,
    UnsupportedError,
    YamlError,
    read_documents,
    write_document,
)

# Where a kind has its pods.
_TEMPLATES: dict[tuple[str, str], Path] = {
    ("v1", "Pod"): (),
    ("v1", "ReplicationController"): ("spec", "template"),
    ("apps/v1", "Deployment"): ("spec", "template"),
    ("apps/v1", "StatefulSet"): ("spec", "template"),
    ("apps/v1", "DaemonSet"): ("spec", "template"),
    ("apps/v1", "ReplicaSet"): ("spec", "template"),
    ("batch/v1", "Job"): ("spec", "template"),
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
# A document without one of these words has no pods, whatever it is.
_KINDS = re.compile(rf"\b(?:List|{'|'.join(sorted(kind for _, kind in _TEMPLATES))})\b")
# Options of the init step.
_CAPTURE = {
    "exclude-outbound-ports": "destination ports that are not captured",
    "exclude-outbound-networks": "destinations that are not captured",
    "outbound-ports": "destination ports to capture (all)",
    "outbound-networks": "destinations to capture (all)",
    "inbound-ports": "the pod's own ports to capture connections to, or * (none)",
    "exclude-inbound-ports": "those that are not captured",
}


class InjectError(Exception):
    """One line a problem: ``FILE:LINE: KIND NAME: FIELD: WHAT``."""


def run(arguments: list[str], write: Callable[[str, bytes], int]) -> int:
    """The exit code; ``write`` writes a file."""
    parser = _parser()
    options = parser.parse_args(arguments)
    source = "stdin" if options.manifest == "-" else options.manifest
    try:
        sidecar = _sidecar(options)
    except ValueError as error:
        parser.print_usage(sys.stderr)
        print(f"fastmirror inject: {error}", file=sys.stderr)
        return 2
    try:
        injected, result = inject(_read(options.manifest), source, sidecar)
    except (InjectError, YamlError) as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, UnicodeError) as error:
        print(f"fastmirror: {source}: {error}", file=sys.stderr)
        return 1
    if not injected:
        print(f"warning: {source}: there is nothing with pods in it", file=sys.stderr)
    return write(options.output, result.encode())


def _read(path: str) -> str:
    """Raises OSError, UnicodeError."""
    with open(sys.stdin.fileno() if path == "-" else path, "rb", closefd=path != "-") as file:
        return file.read().decode()


def _sidecar(options: argparse.Namespace) -> Sidecar:
    """Raises ValueError."""
    try:
        admin = parse_address(options.admin, wildcard=True)
    except ValueError as error:
        raise ValueError(f"--admin: {error}") from None
    if admin.is_unix:
        raise ValueError(f'--admin: expected IP:PORT or :PORT, got "{options.admin}"')
    if options.port == str(admin.port):
        raise ValueError("--port: expected another port than the admin listener's")
    words = [f"--uid={options.uid}", f"--port={options.port}"]
    for name in _CAPTURE:
        value = getattr(options, name.replace("-", "_"))
        if name == "exclude-inbound-ports" and options.inbound_ports:
            # Prometheus asks the admin listener itself.
            value = f"{value},{admin.port}" if value else str(admin.port)
        if value:
            words.append(f"--{name}={value}")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    capture = read_capture(parser.parse_args(words))
    if capture.uids == (0,):
        raise ValueError("--uid: expected the proxy's own user, not root")
    return Sidecar(
        image=options.image,
        init_image=options.init_image,
        configmap=options.rules_configmap,
        uid=capture.uids[0],
        port=capture.port,
        admin=admin,
        inbound_port=None if capture.inbound_ports == () else capture.inbound_port,
        capture=words[2:],
    )


def inject(text: str, source: str, sidecar: Sidecar) -> tuple[int, str]:
    """How many objects got the sidecar, and the whole manifest.

    Raises InjectError, YamlError.
    """
    problems: list[str] = []
    parts: list[str] = []
    injected = 0
    for start, end in pairwise([0, *_starts(text), len(text)]):
        part = text[start:end]
        documents = _read_part(text, start, end, source)
        count = sum(_inject_document(each, (), each.data, sidecar, problems) for each in documents)
        if count:
            part = "".join("---\n" + write_document(each.data) for each in documents)
        injected += count
        parts.append(part)
    if problems:
        raise InjectError("\n".join(problems))
    return injected, "".join(parts)


def _starts(text: str) -> Iterator[int]:
    """Where documents begin, but for the first: at three dashes that begin a line, or at directives
    such as %YAML before them (YAML 1.2.2, 9.1.2 and 9.2).
    """
    at, directives = 0, -1
    for line in text.split("\n"):
        if line.startswith("---") and not line[3:4].strip():
            start = at if directives < 0 else directives
            if start:
                yield start
            directives = -1
        elif line.startswith("%"):
            directives = at if directives < 0 else directives
        elif not line.startswith("#") and line.strip():
            directives = -1
        at += len(line) + 1


def _read_part(text: str, start: int, end: int, source: str) -> list[Document]:
    """None where it cannot be read (merge keys, say) and holds no pods: it is only passed on.

    Raises YamlError.
    """
    # As many empty lines before it as there are lines, so that lines are the file's.
    before = "\n" * text.count("\n", 0, start)
    try:
        return read_documents(before + text[start:end], source)
    except UnsupportedError:
        if _KINDS.search(text, start, end):
            raise
        return []


def _inject_document(
    document: Document, where: Path, data: Any, sidecar: Sidecar, problems: list[str]
) -> int:
    """How many objects got it; a List may hold another one."""
    if isinstance(data, dict) and data.get("kind") == "List" and data.get("apiVersion") == "v1":
        items = data.get("items")
        return sum(
            _inject_document(document, (*where, "items", index), each, sidecar, problems)
            for index, each in enumerate(items if isinstance(items, list) else [])
        )
    return _inject_object(document, where, data, sidecar, problems)


def _inject_object(
    document: Document, where: Path, data: Any, sidecar: Sidecar, problems: list[str]
) -> int:
    if not isinstance(data, dict):
        return 0
    kind, version = data.get("kind"), data.get("apiVersion")
    if not isinstance(kind, str) or not isinstance(version, str):
        return 0
    path = _TEMPLATES.get((version, kind))
    if path is None:
        return 0
    template: Any = data
    for step in path:
        template = template.get(step) if isinstance(template, dict) else None
    problem = _shape(template)
    found = [problem] if problem else list(conflicts(template, sidecar))
    if not found:
        add_sidecar(template, sidecar)
        return 1
    metadata = data.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    for field, what in found:
        full = (*where, *path, *field)
        dotted = "".join(f"[{s}]" if isinstance(s, int) else f".{s}" for s in full)[1:]
        line = document.line_of(full)
        problems.append(f"{document.source}:{line}: {kind} {name}: {dotted}: {what}")
    return 0


def _shape(template: Any) -> tuple[Path, str] | None:
    """What keeps a template from being one, as far as we look into it."""
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return ("spec",), "expected a pod's spec"
    for kind, least in (("containers", 1), ("initContainers", 0), ("volumes", 0)):
        items = template["spec"].get(kind) or []
        if not isinstance(items, list) or len(items) < least:
            return ("spec", kind), "expected a list" + " that is not empty" * least
        for index, each in enumerate(items):
            if not isinstance(each, dict) or not isinstance(each.get("name"), str):
                return ("spec", kind, index), "expected a mapping with a name"
    for path in (("metadata",), ("metadata", "labels"), ("metadata", "annotations")):
        value: Any = template
        for step in path:
            value = (value or {}).get(step)
        if value is not None and not isinstance(value, dict):
            return path, "expected a mapping"
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastmirror inject",
        allow_abbrev=False,
        description="Add the sidecar to the Deployments, StatefulSets, DaemonSets, Jobs, CronJobs "
        "and Pods of a manifest; all else is passed on as it is.",
    )
    parser.add_argument("manifest", metavar="MANIFEST", help="a file, or - for stdin")
    parser.add_argument("-o", "--output", default="-", metavar="FILE", help="(standard output)")
    parser.add_argument(
        "--image", default=f"fastmirror:{__version__}", metavar="IMAGE", help="the proxy's"
    )
    parser.add_argument(
        "--init-image",
        default=f"fastmirror-init:{__version__}",
        metavar="IMAGE",
        help="the step's that makes the iptables rules",
    )
    parser.add_argument(
        "--rules-configmap",
        default="fastmirror-rules",
        metavar="NAME",
        help="a ConfigMap with the key rules.yaml (fastmirror-rules)",
    )
    parser.add_argument(
        "--admin",
        default="127.0.0.1:15000",
        metavar="ADDR",
        help="the proxy's admin listener; :15000 where Prometheus is to reach it (127.0.0.1:15000)",
    )
    parser.add_argument("--uid", default="1337", metavar="UID", help="the proxy's user (1337)")
    parser.add_argument("--port", default="15001", metavar="PORT", help="the proxy's (15001)")
    for name, text in _CAPTURE.items():
        metavar = "CIDR,..." if name.endswith("networks") else "PORT,..."
        parser.add_argument(f"--{name}", default="", metavar=metavar, help=text)
    return parser
