"""deploy/kustomize: what kustomize makes of it, judged by Kubernetes' own schemas."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from fastmirror import __version__
from fastmirror.rules.load import decode_rules
from fastmirror.sidecar.inject import inject
from fastmirror.sidecar.pod import Sidecar

ROOT = Path(__file__).parents[2]
KUSTOMIZE = ROOT / "deploy" / "kustomize"
CUSTOM = {"PodMonitor"}  # whose schema is not Kubernetes'
VERSIONS = ["1.29", "1.32"]  # native sidecars are on from 1.29


@cache
def renderer() -> list[str]:
    """The command; empty where there is none."""
    found = subprocess.run(
        [str(ROOT / "tools" / "kustomize.sh")], capture_output=True, text=True, check=False
    )
    return found.stdout.split()


def kustomize(directory: Path) -> list[dict[str, Any]]:
    """What is rendered; skips where nothing does."""
    if not renderer():
        pytest.skip("no kubectl or kustomize that knows components: see tools/kustomize.sh")
    done = subprocess.run(
        [*renderer(), str(directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def validate(documents: list[dict[str, Any]]) -> None:
    for document in documents:
        for version in VERSIONS:
            if document["kind"] not in CUSTOM:
                kubernetes_validate.validate(document, version, strict=True)


def named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [found] = [
        each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name
    ]
    return found


def sources() -> list[Path]:
    return sorted(
        path
        for path in KUSTOMIZE.rglob("*.yaml")
        if path.name not in ("kustomization.yaml", "rules.yaml") and "sidecar" not in path.parts
    )


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(KUSTOMIZE)))
def test_each_file_is_valid(path: Path) -> None:
    """Also where there is no kustomize."""
    validate(list(yaml.safe_load_all(path.read_text())))


@pytest.mark.parametrize("path", sorted(KUSTOMIZE.rglob("rules.yaml")), ids=lambda p: p.parent.name)
def test_the_rules_are_valid(path: Path) -> None:
    assert decode_rules(path.read_bytes(), "rules.yaml").routes


@pytest.mark.parametrize("name", ["gateway", "examples/httpbin"])
def test_it_renders(name: str) -> None:
    documents = kustomize(KUSTOMIZE / name)
    validate(documents)
    config = named(documents, "ConfigMap", "fastmirror-rules")  # no suffix: reloaded, not replaced
    assert decode_rules(config["data"]["rules.yaml"].encode(), "rules.yaml").routes


def test_the_gateway_with_every_component(tmp_path: Path) -> None:
    shutil.copytree(KUSTOMIZE, tmp_path / "k")
    (tmp_path / "k" / "all").mkdir()
    (tmp_path / "k" / "all" / "kustomization.yaml").write_text(
        "resources: [../gateway]\n"
        "components: [../components/metrics, ../components/shadow-policy]\n"
    )
    documents = kustomize(tmp_path / "k" / "all")
    validate(documents)
    pod = named(documents, "Deployment", "fastmirror")["spec"]["template"]
    [container] = pod["spec"]["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    assert env["FASTMIRROR_ADMIN"] == ":15000"
    ports = {each["name"] for each in container["ports"]}
    monitor = named(documents, "PodMonitor", "fastmirror")["spec"]
    assert {each["port"] for each in monitor["podMetricsEndpoints"]} <= ports
    labels = pod["metadata"]["labels"].items()
    for kind in ("PodMonitor", "PodDisruptionBudget", "Deployment"):
        selector = named(documents, kind, "fastmirror")["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels
    assert named(documents, "Service", "fastmirror")["spec"]["selector"].items() <= labels
    # The end: the hook's delay and the drain fit into the grace period.
    delay = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    grace = pod["spec"]["terminationGracePeriodSeconds"]
    assert delay + int(env["FASTMIRROR_DRAIN_TIME"]) < grace


def test_the_component_is_what_inject_does() -> None:
    documents = kustomize(KUSTOMIZE / "examples" / "httpbin")
    patched = named(documents, "Deployment", "client")
    image = f"fastmirror:{__version__}"
    sidecar = Sidecar(image, f"fastmirror-init:{__version__}", "fastmirror-rules")
    plain = (KUSTOMIZE / "examples" / "httpbin" / "client.yaml").read_text()
    count, out = inject(plain, "client.yaml", sidecar)
    assert count == 1
    assert yaml.safe_load(out) == patched
    # The order of init containers is the order in which they start.
    names = [each["name"] for each in patched["spec"]["template"]["spec"]["initContainers"]]
    assert names == ["fastmirror-init", "fastmirror"]
