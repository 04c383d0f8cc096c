"""The documents against the code: what there is is documented, and what is documented there is."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import split

import msgspec
import pytest

from fastmirror import counts, options
from fastmirror.admin.pages import GET, POST
from fastmirror.cli import main
from fastmirror.explain import report
from fastmirror.manifests.compile import compile_manifests
from fastmirror.metrics import MetricsPage
from fastmirror.mirror.mirror import share_of
from fastmirror.options import Options
from fastmirror.rules import model
from fastmirror.rules.load import decode_rules

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NO_DEFAULT = {"listen", "rules"}  # options that must be given


def page(name: str) -> str:
    return (ROOT / name).read_text()


def tables(text: str) -> list[list[list[str]]]:
    """Every Markdown table: its rows, the header first, as cells without their outer spaces."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
        found.append([rows[0], *rows[2:]])
    return found


def table(text: str, *header: str) -> dict[str, list[str]]:
    """The rows of the one table with that header, by their first cell without backquotes."""
    [rows] = [rows for rows in tables(text) if tuple(rows[0]) == header]
    return {row[0].strip("`"): row[1:] for row in rows[1:]}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def section(text: str, title: str) -> str:
    return text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


# -- the rules

STRUCTS = [
    value
    for value in vars(model).values()
    if isinstance(value, type) and issubclass(value, model.Model) and value is not model.Model
]


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """As the documents write it."""
    if field.required:
        return "required"
    value = field.default
    if field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    return written(value)


def says_something(value: object) -> bool:
    return written(value) not in ("{}", "[]", "absent: ")


def written(value: object) -> str:
    if value is None:
        return "absent: "
    if isinstance(value, msgspec.Struct):
        pairs = [(name, getattr(value, name)) for name in value.__struct_fields__]
        if not any(says_something(v) for _, v in pairs):
            return "{}"
        return "{" + ", ".join(f"{n}: {quoted(v)}" for n, v in pairs if v is not None) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(quoted, value)) + "]"
    return (value or '""') if isinstance(value, str) else str(value).lower()


def quoted(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else written(value)


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_field_of_the_rules_is_documented(struct: type[msgspec.Struct]) -> None:
    base = struct.__mro__[1]
    inherited = {field.name for field in msgspec.structs.fields(base)}
    text = section(page("docs/rules.md"), struct.__name__)
    rows = table(text, "field", "type", "default", "meaning")
    own = [f for f in msgspec.structs.fields(struct) if f.name not in inherited]
    assert list(rows) == [field.name for field in own]
    if inherited:
        assert f"[{base.__name__}](#{base.__name__.lower()})" in text
    for field in own:
        kind, default, meaning = rows[field.name]
        assert kind
        assert meaning
        expected = default_of(field)
        if expected == "absent: ":
            assert default.startswith(expected), field.name
        else:
            assert default.strip("`") == expected, field.name


# -- what explain says


@pytest.mark.parametrize(
    "struct",
    [
        each
        for each in vars(report).values()
        if isinstance(each, type) and each is not report.Struct
    ],
    ids=lambda struct: struct.__name__,
)
def test_every_field_of_a_report_is_documented(struct: type[msgspec.Struct]) -> None:
    text = page("docs/explain.md").split(f"\n### {struct.__name__}\n", 1)[1].split("\n### ", 1)[0]
    rows = table(text, "field", "type", "meaning")
    assert list(rows) == [field.name for field in msgspec.structs.fields(struct)]
    for field in msgspec.structs.fields(struct):
        kind, meaning = rows[field.name]
        assert meaning
        assert ("null" in kind) == ("None" in str(field.type)), field.name


def test_the_example_of_explain_is_what_it_says(tmp_path, capsys) -> None:
    text = page("docs/explain.md")
    [rules], [command] = blocks(text, "yaml"), blocks(text, "sh")
    file = tmp_path / "rules.yaml"
    file.write_text(rules)
    assert main([str(file) if word == "rules.yaml" else word for word in split(command)[1:]]) == 0
    said = "".join(f"    {line}".rstrip() + "\n" for line in capsys.readouterr().out.splitlines())
    assert said in text, said


# -- options


def test_every_option_is_documented() -> None:
    rows = table(page("docs/operating.md"), "flag", "environment", "default", "meaning")
    assert list(rows) == [options.flag(name) for name in Options.__dataclass_fields__]
    for name in Options.__dataclass_fields__:
        environment, default, meaning = rows[options.flag(name)]
        assert environment == f"`FASTMIRROR_{name.upper()}`"
        assert meaning
        if name in NO_DEFAULT:
            assert default == "required"
        else:
            parse = options._OPTIONS[name][0]
            assert parse(default.strip("`")) == getattr(Options(), name), name


def test_the_readme_has_the_same_defaults() -> None:
    rows = table(page("README.md"), "option", "default", "")
    for option, (default, _) in rows.items():
        name = option.split()[0].removeprefix("--").replace("-", "_")
        if name in NO_DEFAULT:
            assert default == "required"
        else:
            parse = options._OPTIONS[name][0]
            assert parse(default.strip("`")) == getattr(Options(), name), name


# -- metrics and the admin listener


def rendered() -> dict[str, tuple[str, set[str]]]:
    """Every metric: its type, and its labels without a histogram's own."""
    slots = counts.SlotMap()
    slots.base(("route", "r"), counts.ROUTE_SLOTS)
    slots.base(("mirror", "r", "m"), counts.MIRROR_SLOTS)
    slots.base(("service", "s"), counts.SERVICE_SLOTS)
    text = MetricsPage(counts.SharedCounts(1), slots, 0.0).render([])
    found: dict[str, tuple[str, set[str]]] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            _, _, name, kind = line.split()
            found[name] = (kind, set())
        elif not line.startswith("#"):
            assert line.startswith(name)
            found[name][1].update(set(re.findall(r'[{,](\w+)="', line)) - {"le"})
    return found


def test_every_metric_is_documented() -> None:
    rows = table(page("docs/operating.md"), "metric", "type", "labels", "meaning")
    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, (kind, labels, _) in rows.items()
    }
    assert documented == rendered()


def test_every_drop_reason_and_failure_kind_is_documented() -> None:
    text = page("docs/operating.md")
    assert tuple(table(text, "reason", "meaning")) == counts.DROP_REASONS
    assert tuple(table(text, "kind", "meaning")) == counts.FAILURE_KINDS


@pytest.mark.parametrize("names", [counts.CODE_CLASSES[:1], counts.SIDES, counts.TUNNEL_KINDS])
def test_label_values_are_documented(names: tuple[str, ...]) -> None:
    for name in names:
        assert f"`{name}`" in page("docs/operating.md")


def test_every_admin_path_is_documented() -> None:
    rows = table(page("docs/operating.md"), "request", "answer")
    assert list(rows) == [f"GET {path}" for path in GET] + [f"POST {path}" for path in POST]
    for path in (*GET, *POST):
        assert f"{path}`" in page("README.md"), path


# -- examples


def yaml_examples() -> list[tuple[str, int, str]]:
    return [
        (path.name, number, text)
        for path in PAGES
        for number, text in enumerate(blocks(path.read_text(), "yaml"))
    ]


@pytest.mark.parametrize(("name", "number", "text"), yaml_examples())
def test_yaml_examples_are_valid(name: str, number: int, text: str, tmp_path: Path) -> None:
    if text.startswith("version:"):
        assert decode_rules(text.encode(), "example.yaml").services
    else:
        file = tmp_path / "example.yaml"
        file.write_text(text)
        rules, _ = compile_manifests([str(file)])
        assert rules.routes


def test_the_example_recomputes_what_the_proxy_decides() -> None:
    from fastmirror._core import Sampler

    text = section(page("docs/rules.md"), "Mirroring")
    names: dict[str, object] = {}
    [code] = blocks(text, "python")
    exec(code, names)
    [example] = blocks(text, "yaml")
    [route] = decode_rules(example.encode(), "example.yaml").routes
    [mirror] = route.mirrors
    salt = "app/app/v2"
    assert salt in code
    sampler = Sampler(share_of(mirror), salt.encode())
    is_copied = names["is_copied"]
    assert callable(is_copied)
    decisions = [is_copied(f"user{i}", mirror.percent, salt) for i in range(1000)]
    assert decisions == [sampler.sampled(f"user{i}".encode()) for i in range(1000)]
    assert 400 < sum(decisions) < 600
    for percent in (0.1, 12.5, 99.9):
        one = Sampler(share_of(model.Mirror(service="app", percent=percent)), salt.encode())
        keys = [f"{i}" for i in range(2000)]
        assert [is_copied(key, percent, salt) for key in keys] == [
            one.sampled(key.encode()) for key in keys
        ]


def test_flags_in_the_documents_exist(capsys: pytest.CaptureFixture[str]) -> None:
    known = {"--help", "--version"}
    commands = "run compile check show schema explain iptables inject healthcheck drain demo"
    for command in commands.split():
        assert main([command, "--help"]) == 0
        known |= set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        # Other programs have flags of their own.
        others = r"(python3 -m http\.server|setpriv|docker|kubectl) .*|^ {4}ip6?tables .*"
        text = re.sub(others, "", path.read_text(), flags=re.MULTILINE)
        assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) <= known, path.name


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", page("Makefile"), re.MULTILINE))
    for path in PAGES:
        used = re.findall(r"(?:`|^ {4})make((?: [a-z]+)+)", path.read_text(), re.MULTILINE)
        assert {word for words in used for word in words.split()} <= targets, path.name


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = path.parent / file if file else path
        assert target.exists(), link
        if anchor:
            titles = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert anchor in anchors, link
