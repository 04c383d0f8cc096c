"""The corpus's own reader: what is not understood is an error that says where."""

from __future__ import annotations

import pytest

from .corpus import RequestEntry, ResponseEntry, octets, parse


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: b", "f.yaml: expected a list of entries"),
        ("- {name: x, send: [}", "f.yaml: while parsing"),
        (
            "- {name: x, send: y, status: [400], sends: z}",
            r"entry 1 \(x\): .*unknown field `sends`",
        ),
        ("- {name: x, send: y, status: 400}", r"entry 1 \(x\): Expected `array`, got `int`"),
        ("- {name: x, send: y, status: ['400']}", r"entry 1 \(x\): Expected `int`, got `str`"),
        ("- {send: y, status: [400]}", r"entry 1 \(None\): .*missing required field `name`"),
        ("- {name: x, send: y}", r"entry 1 \(x\): expected an outcome"),
        ("- {name: x, send: y, unfinished: true, status: [400]}", "expected an outcome"),
        ("- {name: x, send: y, forwarded: {}, keeps: true}", "keeps and partial go with status"),
        ("- {name: x, send: y, status: [400], closes: true}", "closes, then and copied go with"),
        ("- {name: x, send: y, forwarded: {bodies: z}}", "unknown field `bodies`"),
        (
            "- {name: x, send: y, forwarded: {body: [{repeat: z}]}}",
            "missing required field `times`",
        ),
        ('- {name: x, send: "\\u20ac", status: [400]}', "no octet: '\u20ac'"),
        ("- &a {name: x, send: y, status: [400]}\n- *a", r"entry 2 \(x\): another entry"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text, RequestEntry, "f.yaml")


def test_an_answer_needs_an_outcome_too() -> None:
    with pytest.raises(ValueError, match="expected an outcome: status, passed, or cut alone"):
        parse("- {name: x, send: y, cut: true, status: [502]}", ResponseEntry, "f.yaml")
    with pytest.raises(ValueError, match="missing required field `reused`"):
        parse("- {name: x, send: y, passed: {}}", ResponseEntry, "f.yaml")


def test_octets() -> None:
    (entry,) = parse(
        '- {name: x, send: ["a\\r\\n\\0\\xff", {repeat: "bc", times: 3}], status: [400]}',
        RequestEntry,
        "f.yaml",
    )
    assert entry.data == b"a\r\n\0\xffbcbcbc"
    assert octets("") == b""
