"""The ``fastmirror`` command. Invariant: exit 0 for a clean stop or what is valid, 1 for what
could not run or is not valid, with one line that says why, 2 for usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from fastmirror import __version__
from fastmirror.options import OptionError, read_options
from fastmirror.rules.load import RulesError, encode_rules, load_rules

_USAGE = """\
usage: fastmirror --listen ADDR --rules FILE [OPTION ...]
       fastmirror {run,compile,check,show,schema,explain,iptables,inject,healthcheck,drain,demo} ...

  run          serve (what happens without a command; see: fastmirror run --help)
  compile      make rules of Istio and Gateway API manifests
  check        say what is wrong with rules or manifests
  show         print rules as YAML
  schema       print the JSON Schema of rules, for editors
  explain      say what becomes of a request under rules
  iptables     send this host's or pod's connections to the proxy
  inject       add the sidecar to Kubernetes manifests
  healthcheck  exit 0 where a running proxy is ready
  drain        drain a running proxy, and wait for its end
  demo         Istio's mirroring task, on this machine

  --version, --help"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has had enough; Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _dispatch(arguments: Sequence[str] | None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--help"], ["-h"]):
        print(_USAGE)
        return 0
    if given == ["--version"]:
        print(f"fastmirror {__version__}")
        return 0
    command = _COMMANDS.get(given[0]) if given else None
    try:
        if command is not None:
            return command(given[1:])
        if given and not given[0].startswith("-"):
            print(_USAGE, file=sys.stderr)
            print(f"fastmirror: there is no command {given[0]!r}", file=sys.stderr)
            return 2
        return _run(given)
    except SystemExit as stop:  # argparse
        return stop.code if isinstance(stop.code, int) else 2


def _run(arguments: list[str]) -> int:
    from fastmirror.server import option_parser, run

    parser = option_parser()
    parsed = parser.parse_args(arguments)
    try:
        options = read_options(parsed)
    except OptionError as error:
        parser.print_usage(sys.stderr)
        print(f"fastmirror: {error}", file=sys.stderr)
        return 2
    return run(options, arguments)


def _compile(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fastmirror compile", allow_abbrev=False)
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST", help="a file, or - for stdin")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="MessagePack, or .yaml or .json"
    )
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="HOST[:PORT]=ADDR[,ADDR...]",
        help="the addresses of a name, or (HOST/SUBSET=...) of one of its subsets",
    )
    parser.add_argument("--no-dns", action="store_true", help="refuse names without an address")
    parser.add_argument(
        "--lenient", action="store_true", help="warn of what is not supported, and leave it out"
    )
    parser.add_argument(
        "--shadow-host",
        default="-shadow",
        metavar="keep|SUFFIX",
        help="the copy's Host: as it is, as since Istio 1.28, or with a suffix (-shadow)",
    )
    parser.add_argument(
        "--gateway",
        action="append",
        default=[],
        metavar="NAME|NAMESPACE/NAME|mesh",
        help="only what is bound to it (by default all, whatever its gateways)",
    )
    parser.add_argument(
        "--workload-labels",
        metavar="KEY=VALUE[,KEY=VALUE...]",
        help="what sourceLabels and workloadSelector are compared with",
    )
    parser.add_argument(
        "--workload-namespace",
        metavar="NAMESPACE",
        help="what sourceNamespace is compared with (default)",
    )
    options = parser.parse_args(arguments)
    try:
        from fastmirror.manifests.compile import compile_manifests
        from fastmirror.manifests.source import ManifestError
    except ImportError as error:
        print(f"fastmirror: {error}", file=sys.stderr)
        return 1
    try:
        rules, warnings = compile_manifests(
            options.manifests,
            maps=options.map,
            dns=not options.no_dns,
            lenient=options.lenient,
            shadow_host=options.shadow_host,
            workload_labels=options.workload_labels,
            workload_namespace=options.workload_namespace,
            gateways=options.gateway,
        )
    except ManifestError as error:
        print(error, file=sys.stderr)
        return 1
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    suffix = options.output[options.output.rfind(".") :] if "." in options.output else ""
    return _write(options.output, encode_rules(rules, suffix))


def _write(path: str, data: bytes) -> int:
    """The whole file or none of it: a proxy may be watching it."""
    import tempfile

    try:
        if path == "-" or (os.path.exists(path) and not os.path.isfile(path)):
            with open(sys.stdout.fileno() if path == "-" else path, "wb", closefd=path != "-") as f:
                f.write(data)
            return 0
        with tempfile.NamedTemporaryFile(
            dir=os.path.dirname(os.path.abspath(path)), prefix=".fastmirror-", delete=False
        ) as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(file.name, 0o666 & ~mask)
        os.replace(file.name, path)
    except OSError as error:
        print(f"fastmirror: {path}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _check(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fastmirror check", allow_abbrev=False)
    parser.add_argument("files", nargs="+", metavar="FILE", help="rules, or manifests")
    options = parser.parse_args(arguments)
    manifests = [path for path in options.files if _is_manifest(path)]
    code = 0
    for path in options.files:
        if path in manifests:
            continue
        try:
            load_rules(path)
        except RulesError as error:
            print(error, file=sys.stderr)
            code = 1
        else:
            print(f"{path}: valid rules")
    if manifests:
        from fastmirror.manifests.compile import compile_manifests
        from fastmirror.manifests.source import ManifestError

        try:
            _, warnings = compile_manifests(manifests)
        except ManifestError as error:
            print(error, file=sys.stderr)
            code = 1
        else:
            for warning in warnings:
                print(f"warning: {warning}", file=sys.stderr)
            for path in manifests:
                print(f"{path}: valid manifests")
    return code


def _is_manifest(path: str) -> bool:
    """A folder, or a YAML or JSON file whose documents say their kind; rules say their version."""
    import re

    if os.path.isdir(path):
        return True
    if not path.endswith((".yaml", ".yml", ".json")):
        return False
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 20)
    except OSError:
        return False  # which load_rules says better
    return re.search(r'(?m)^(apiVersion|kind|\s*\{?\s*"apiVersion")\s*:', text) is not None


def _show(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fastmirror show", allow_abbrev=False)
    parser.add_argument("rules", metavar="FILE")
    options = parser.parse_args(arguments)
    try:
        sys.stdout.write(encode_rules(load_rules(options.rules), ".yaml").decode())
    except RulesError as error:
        print(error, file=sys.stderr)
        return 1
    except ImportError:
        print("fastmirror: YAML needs PyYAML: pip install PyYAML", file=sys.stderr)
        return 1
    return 0


def _schema(arguments: list[str]) -> int:
    argparse.ArgumentParser(prog="fastmirror schema", allow_abbrev=False).parse_args(arguments)
    import json

    from fastmirror.rules.schema import rules_schema

    print(json.dumps(rules_schema(), indent=2))
    return 0


def _explain(arguments: list[str]) -> int:
    from fastmirror.explain.command import run

    return run(arguments)


def _iptables(arguments: list[str]) -> int:
    from fastmirror.sidecar.iptables import run

    return run(arguments)


def _inject(arguments: list[str]) -> int:
    from fastmirror.sidecar.inject import run

    return run(arguments, _write)


def _healthcheck(arguments: list[str]) -> int:
    from fastmirror.sidecar.probe import healthcheck

    return healthcheck(arguments)


def _drain(arguments: list[str]) -> int:
    from fastmirror.sidecar.probe import drain

    return drain(arguments)


def _demo(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fastmirror demo", allow_abbrev=False)
    parser.add_argument("--plain", action="store_true", help="no colour, no movement")
    options = parser.parse_args(arguments)
    from fastmirror.demo.main import run

    return run(plain=options.plain)


_COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "compile": _compile,
    "check": _check,
    "show": _show,
    "schema": _schema,
    "explain": _explain,
    "iptables": _iptables,
    "inject": _inject,
    "healthcheck": _healthcheck,
    "drain": _drain,
    "demo": _demo,
}
