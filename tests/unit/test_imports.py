"""Imports point one way, and what is not needed is not imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import fastmirror

ROOT = Path(fastmirror.__file__).parent

# The data flow, from the command to the compiled core. A part may import from parts below it
# and beside it.
ORDER = [
    ["cli"],
    ["manifests", "demo", "explain", "sidecar"],
    ["worker_process"],
    ["server"],
    ["admin", "fleet", "listeners", "metrics", "reload"],
    ["worker"],
    ["runtime"],
    ["intercept"],
    ["proxy"],
    ["mirror"],
    ["upstream"],
    ["options", "http1", "systemd", "eventloop"],
    ["counts", "snapshot", "timers", "usage"],
    ["rules"],
    ["yaml_documents"],
    ["_core"],
    ["_regex"],
    ["_automaton", "_counters", "_framing", "_head", "_outlet", "_sockets"],
]
LEVEL = {part: level for level, parts in enumerate(ORDER) for part in parts}
SOURCES = sorted(path for path in ROOT.rglob("*.py") if path.parent.name != "__pycache__")


READ = "from fastmirror.rules.load import decode_rules; decode_rules"


def part_of(module: str) -> str:
    """``rules`` for ``fastmirror.rules.load``; empty for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """The modules that a file imports when it runs, at once or later."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for each in node.body
        for inner in ast.walk(each)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            whole = node.module == "fastmirror"
            found.update(
                f"fastmirror.{alias.name}" if whole else node.module for alias in node.names
            )
    return found


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path):
    own = part_of(module_of(path))
    if own in ("", "__main__"):
        return
    for module in imports(path):
        if not module.startswith("fastmirror.") or module == "fastmirror.__version__":
            continue
        other = part_of(module)
        assert other in LEVEL, f"{other} has no place in the order"
        assert LEVEL[other] >= LEVEL[own], f"{module_of(path)} imports {module}"


def test_every_part_has_its_place_in_the_order():
    parts = {part_of(module_of(path)) for path in SOURCES} - {"", "__main__"}
    compiled = {path.stem for path in ROOT.glob("_*.pyx")}
    assert parts | compiled == set(LEVEL)


@pytest.mark.parametrize("part", ["manifests", "demo", "explain", "sidecar"])
def test_nothing_imports_this_but_the_command(part):
    for path in SOURCES:
        if part_of(module_of(path)) in (part, "cli"):
            continue
        found = {module for module in imports(path) if part_of(module) == part}
        assert not found, path


@pytest.mark.parametrize(
    ("package", "where"),
    [
        ("yaml", {"yaml_documents"}),
        ("uvloop", {"server", "worker_process"}),
        ("httptools", {"http1.heads", "admin.listener"}),
    ],
)
def test_a_package_is_imported_in_few_places(package, where):
    found = {
        module_of(path).removeprefix("fastmirror.")
        for path in SOURCES
        if any(module.split(".")[0] == package for module in imports(path))
    }
    assert found - {"demo.httpbin"} == where


def loaded_by(statement: str) -> set[str]:
    """The modules of a fresh interpreter after a statement."""
    text = f"import sys; {statement}; print(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", text],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT.parent,
        env={},
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import fastmirror.server",
        "import fastmirror.worker_process",
        READ + r"(b'\x81\xa7version\x01', 'r')",
        READ + """(b'{"version": 1}', 'r.json')""",
    ],
)
def test_serving_needs_no_yaml_and_no_manifests(statement):
    found = loaded_by(statement)
    assert any(name.startswith("fastmirror.") for name in found)
    assert not found & {"yaml", "fastmirror.manifests", "fastmirror.demo", "multiprocessing"}
    apart = ("fastmirror.manifests", "fastmirror.demo", "fastmirror.explain", "fastmirror.sidecar")
    assert not any(name.startswith(apart) for name in found)


def test_the_command_alone_imports_no_event_loop():
    found = loaded_by("import fastmirror.cli")
    assert not found & {"uvloop", "httptools", "yaml", "fastmirror.server"}


def test_yaml_is_imported_where_yaml_is_read():
    assert "yaml" in loaded_by(READ + "(b'version: 1', 'r.yaml')")
