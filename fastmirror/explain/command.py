"""``fastmirror explain``. Invariant: nothing is sent anywhere, and no rules are changed; what is
not understood is one line on standard error and exit code 2, rules that are not valid exit code 1.
"""

from __future__ import annotations

import argparse
import sys

import msgspec

from fastmirror.explain.asking import request_head
from fastmirror.explain.outcomes import explain
from fastmirror.explain.stage import Stage
from fastmirror.explain.text import text
from fastmirror.rules.address import is_ip
from fastmirror.rules.load import RulesError, load_rules


def run(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="fastmirror explain",
        allow_abbrev=False,
        description="What becomes of a request under rules, without sending it.",
    )
    parser.add_argument("--rules", required=True, metavar="FILE", help="as of the proxy")
    parser.add_argument("method", metavar="METHOD", help="such as GET")
    parser.add_argument(
        "url", metavar="URL", help="http://HOST/PATH, or /PATH with -H 'Host: HOST'"
    )
    parser.add_argument(
        "-H",
        "--header",
        action="append",
        default=[],
        metavar="'name: value'",
        help="a header field; may be repeated",
    )
    parser.add_argument(
        "--source",
        default="127.0.0.1",
        metavar="IP",
        help="where the client connects from (127.0.0.1)",
    )
    parser.add_argument("--json", action="store_true", help="all of it, for programs")
    options = parser.parse_args(arguments)
    try:
        head = request_head(options.method, options.url, options.header)
        if not is_ip(options.source):
            raise ValueError(f"--source: expected an IP address, got {options.source!r}")
    except ValueError as error:
        parser.print_usage(sys.stderr)
        print(f"fastmirror explain: {error}", file=sys.stderr)
        return 2
    try:
        rules = load_rules(options.rules)
    except RulesError as error:
        print(error, file=sys.stderr)
        return 1
    stage = Stage()
    try:
        report = explain(rules, head, options.source, stage)
    finally:
        stage.close()
    if options.json:
        print(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        sys.stdout.write(text(report))
    return 0
