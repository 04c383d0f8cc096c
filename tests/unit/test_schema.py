"""The JSON Schema against what decoding takes and refuses; jsonschema is the judge."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from fastmirror.cli import main
from fastmirror.manifests.compile import compile_manifests
from fastmirror.rules import model
from fastmirror.rules.load import RulesError, decode_rules, encode_rules
from fastmirror.rules.schema import rules_schema
from fastmirror.rules.units import seconds, size

from .random_rules import documents

ROOT = Path(__file__).parents[2]
SCHEMA = rules_schema()
VALIDATOR = Draft202012Validator(SCHEMA)


def examples() -> list[Any]:
    """Every whole rules document in the documentation."""
    found = []
    for page in sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")]):
        texts = re.findall(r"^```ya?ml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for text in texts:
            parsed = list(yaml.safe_load_all(text))
            for at, each in enumerate(parsed):
                if isinstance(each, dict) and "version" in each:
                    found.append(pytest.param(each, id=f"{page.name}-{at}"))
    return found


def taken(document: Any) -> bool:
    try:
        decode_rules(json.dumps(document).encode(), "rules.json")
    except RulesError:
        return False
    return True


def test_it_is_a_schema_and_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA


@pytest.mark.parametrize("document", examples())
def test_the_examples_are_valid(document: Any) -> None:
    VALIDATOR.validate(document)


def test_there_are_examples() -> None:
    assert len(examples()) >= 2


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "manifests").glob("**/*.yaml")), ids=str)
def test_what_compile_makes_is_valid(path: Path) -> None:
    try:
        rules, _ = compile_manifests([str(path)], lenient=True)
    except ValueError:
        return  # not one that can be compiled alone
    VALIDATOR.validate(json.loads(encode_rules(rules, ".json")))


@settings(max_examples=300, deadline=None)
@given(documents())
def test_what_decoding_takes_is_valid(document: dict[str, Any]) -> None:
    document["services"].append({"name": "empty"})
    if taken(document):
        VALIDATOR.validate(document)


def broken(**route: Any) -> dict[str, Any]:
    to = [{"service": "a"}]
    return {"version": 1, "services": [{"name": "a"}], "routes": [{"name": "r", "to": to, **route}]}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"version": 2},
        {"version": 1, "route": []},
        {"version": 1, "routes": {}},
        broken(timeouts=1),
        broken(timeout="10 seconds"),
        broken(timeout=[1]),
        broken(max_body="64KB x"),
        broken(mirrors=[{"service": "a", "percent": 101}]),
        broken(mirrors=[{"service": "a", "percent": "100"}]),
        broken(mirrors=[{"percent": 1}]),
        broken(mirrors=[{"service": "a", "host": "other"}]),
        broken(match=[{"path": "/"}]),
        broken(to=[{"service": "a", "weight": -1}]),
        broken(direct_response={"status": 99}),
    ],
    ids=json.dumps,
)
def test_what_is_broken_is_not(document: Any) -> None:
    assert not taken(document)
    assert not VALIDATOR.is_valid(document)


def test_without_its_fault_it_would_be() -> None:
    assert taken(broken())
    VALIDATOR.validate(broken())


numbers = st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,3})?", fullmatch=True)


@given(st.lists(st.tuples(numbers, st.sampled_from(["ms", "s", "m", "h", "d", ""])), max_size=3))
def test_durations_are_what_units_takes(parts: list[tuple[str, str]]) -> None:
    text = "".join(number + unit for number, unit in parts)
    try:
        seconds(text)
    except ValueError:
        return
    assert re.search(model.DURATION, text)


@given(st.integers(0, 1 << 20), st.sampled_from(["", " "]), st.text("KMGTiIbBk", max_size=3))
def test_sizes_are_what_units_takes(number: int, space: str, unit: str) -> None:
    text = f"{number}{space}{unit}"
    try:
        size(text)
        valid = True
    except ValueError as error:
        valid = "PiB" in str(error)  # of a size's form, and too large
    assert valid == bool(re.search(model.SIZE, text))


def test_structs_and_fields_say_what_they_are() -> None:
    definitions = SCHEMA["$defs"]
    structs = {
        name
        for name, value in vars(model).items()
        if isinstance(value, type) and issubclass(value, model.Model) and value is not model.Model
    }
    for name in set(definitions) & structs:
        assert definitions[name]["description"], name
    mirror = definitions["Mirror"]["properties"]
    assert mirror["percent"]["description"] == "absent: 100, or what fraction says"
    assert definitions["PathMatch"]["description"].startswith("``prefix`` is textual")
