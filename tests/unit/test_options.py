"""Options: every one by flag and by environment, the flag first, mistakes by name."""

from __future__ import annotations

import dataclasses

import pytest

from fastmirror.options import OptionError, Options, flag, read_options
from fastmirror.rules.address import Address
from fastmirror.server import option_parser

# name, text, value; a text that is refused
GOOD = [
    ("listen", ":15001", [Address("", 15001)]),
    ("listen", "127.0.0.1:80", [Address("127.0.0.1", 80)]),
    ("listen", "[::1]:80", [Address("::1", 80)]),
    ("listen", "unix:/run/x", [Address("/run/x", 0)]),
    ("rules", "other.yaml", "other.yaml"),
    ("admin", "off", None),
    ("admin", ":15000", Address("", 15000)),
    ("admin", "unix:/run/admin", Address("/run/admin", 0)),
    ("workers", "4", 4),
    ("intercept", "off", "off"),
    ("intercept", "redirect", "redirect"),
    ("intercept", "tproxy", "tproxy"),
    ("unmatched", "reject", "reject"),
    ("detect_timeout", "2s", 2.0),
    ("opaque_ports", "", frozenset()),
    ("opaque_ports", "25,3306,7000-7002", frozenset({25, 3306, 7000, 7001, 7002})),
    ("mark", "1337", 1337),
    ("mark", "4294967295", 4294967295),
    ("access_log", "-", "-"),
    ("access_log", "/var/log/x", "/var/log/x"),
    ("access_log_format", "json", "json"),
    ("mirror_memory", "128MiB", 128 << 20),
    ("mirror_memory", "0", 0),
    ("mirror_max_load", "off", None),
    ("mirror_max_load", "1", 1),
    ("mirror_max_load", "100", 100),
    ("drain_time", "5s", 5.0),
    ("drain_time", "0", 0.0),
    ("log_level", "debug", "debug"),
    ("max_header_bytes", "1K", 1024),
    ("max_headers", "200", 200),
    ("max_uri_bytes", "256", 256),
    ("max_body_bytes", "1MiB", 1 << 20),
    ("max_body_bytes", "0", 0),
    ("max_connections", "1000", 1000),
    ("max_connections", "0", 0),
    ("idle_timeout", "1m", 60.0),
    ("request_timeout", "1m", 60.0),
    ("request_timeout", "0", 0.0),
    ("request_head_timeout", "10", 10.0),
    ("connect_timeout", "250ms", 0.25),
    ("upstream_idle_timeout", "2m", 120.0),
    ("x_forwarded_for", "off", False),
    ("x_forwarded_for", "on", True),
    ("x_request_id", "off", False),
    ("allow_connect", "on", True),
    ("allow_trace", "on", True),
]
BAD = [
    ("listen", "15001"),
    ("listen", ":0"),
    ("listen", "localhost"),
    ("admin", "no"),
    ("workers", "0"),
    ("workers", "257"),
    ("workers", "two"),
    ("workers", "-1"),
    ("workers", "1.0"),
    ("workers", "٣"),
    ("intercept", "maybe"),
    ("intercept", "on"),
    ("unmatched", "x"),
    ("detect_timeout", "0"),
    ("opaque_ports", "0"),
    ("opaque_ports", "65536"),
    ("opaque_ports", "20-10"),
    ("opaque_ports", "http"),
    ("opaque_ports", "1-2-3"),
    ("opaque_ports", "1-"),
    ("mark", "-1"),
    ("mark", "0x1"),
    ("mark", "4294967296"),
    ("access_log_format", "xml"),
    ("mirror_memory", "-1"),
    ("mirror_memory", "much"),
    ("mirror_max_load", "0"),
    ("mirror_max_load", "101"),
    ("mirror_max_load", "80%"),
    ("mirror_max_load", "on"),
    ("mirror_max_load", ""),
    ("drain_time", "soon"),
    ("drain_time", "-1"),
    ("log_level", "DEBUG"),
    ("log_level", "trace"),
    ("max_header_bytes", "1023"),
    ("max_headers", "0"),
    ("max_headers", "10001"),
    ("max_uri_bytes", "255"),
    ("max_body_bytes", "-1"),
    ("max_connections", "-1"),
    ("idle_timeout", "0"),
    ("request_timeout", "-1"),
    ("request_head_timeout", "0s"),
    ("connect_timeout", "inf"),
    ("upstream_idle_timeout", "nan"),
    ("x_forwarded_for", "yes"),
    ("x_request_id", "true"),
    ("allow_connect", "yes"),
    ("allow_trace", "1"),
]
ENOUGH = {"FASTMIRROR_LISTEN": ":1", "FASTMIRROR_RULES": "r"}


def read(*arguments: str, **environment: str) -> Options:
    return read_options(option_parser().parse_args(arguments), environment)


def twin(name: str) -> str:
    return f"FASTMIRROR_{name.upper()}"


def test_defaults():
    found = read("--listen", ":15001", "--rules", "r")
    assert found == Options(listen=[Address("", 15001)], rules="r")
    assert found.admin == Address("127.0.0.1", 15000)
    assert (found.workers, found.access_log, found.access_log_format) == (1, "off", "text")
    assert (found.mirror_memory, found.idle_timeout) == (64 << 20, 600.0)
    assert (found.max_header_bytes, found.max_headers) == (65536, 100)
    assert (found.max_uri_bytes, found.max_body_bytes) == (32768, 0)
    assert (found.request_head_timeout, found.connect_timeout) == (30.0, 1.0)


def test_every_option_is_tried_here():
    names = {each.name for each in dataclasses.fields(Options)}
    assert {name for name, _, _ in GOOD} == names
    assert {name for name, _ in BAD} >= names - {"rules", "access_log"}


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_by_flag(name, text, value):
    found = read(flag(name), text, **{key: ENOUGH[key] for key in ENOUGH if key != twin(name)})
    assert getattr(found, name) == value


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_by_environment(name, text, value):
    assert getattr(read(**{**ENOUGH, twin(name): text}), name) == value


@pytest.mark.parametrize(("name", "text", "value"), GOOD)
def test_the_flag_wins(name, text, value):
    wrong = next((other for tried, other in BAD if tried == name), "something else")
    assert getattr(read(flag(name), text, **{**ENOUGH, twin(name): wrong}), name) == value


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_mistake_names_the_flag(name, text):
    with pytest.raises(OptionError) as caught:
        read(f"{flag(name)}={text}", **ENOUGH)
    assert str(caught.value).startswith(f"{flag(name)}: ")
    assert text in str(caught.value)


@pytest.mark.parametrize(("name", "text"), BAD)
def test_a_mistake_names_the_variable(name, text):
    with pytest.raises(OptionError) as caught:
        read(**{**ENOUGH, twin(name): text})
    assert str(caught.value).startswith(f"{twin(name)}: ")
    assert text in str(caught.value)


def test_listen_repeats():
    expected = [Address("", 1), Address("::1", 2)]
    assert read("--listen", ":1", "--listen", "[::1]:2", "--rules", "r").listen == expected
    assert read(FASTMIRROR_LISTEN=":1  [::1]:2", FASTMIRROR_RULES="r").listen == expected


def test_the_flag_replaces_all_of_the_variable():
    assert read("--listen", ":3", **{**ENOUGH, "FASTMIRROR_LISTEN": ":1 :2"}).listen == [
        Address("", 3)
    ]


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"FASTMIRROR_RULES": "r"}, "--listen: expected an address to listen on"),
        ({"FASTMIRROR_RULES": "r", "FASTMIRROR_LISTEN": " "}, "--listen: expected an address"),
        ({"FASTMIRROR_LISTEN": ":1"}, "--rules: expected a file"),
    ],
)
def test_what_must_be_given(environment, text):
    with pytest.raises(OptionError, match=text):
        read(**environment)


def test_other_variables_are_not_ours():
    assert read(**ENOUGH, FASTMIRROR_NOTHING="x", WORKERS="9").workers == 1


@pytest.mark.parametrize("arguments", [["--nothing"], ["--work", "2"], ["extra"], ["--workers"]])
def test_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        option_parser().parse_args(arguments)
    assert caught.value.code == 2
    assert "usage: fastmirror run" in capsys.readouterr().err


def test_help_has_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        option_parser().parse_args(["--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for each in dataclasses.fields(Options):
        assert f"{flag(each.name)} " in text
