"""What iptables-save prints, and what iptables-restore reads. Invariant: nothing but our chains
and the rules that lead to them is ever touched; what does not change is not written.
"""

from __future__ import annotations

import re
from collections import Counter

from fastmirror.sidecar.chains import PREFIX, TABLES, Jump, Ruleset

_MARK = re.compile(r"-j (?:TPROXY .*--tproxy-mark|MARK --set-xmark) 0x([0-9a-f]+)/")


def read_saved(text: str) -> Ruleset:
    """Our part of what iptables-save printed."""
    found = Ruleset()
    table = ""
    positions: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":" + PREFIX):
            found.chains.setdefault((table, line[1:].split()[0]), [])
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            positions[table, chain] += 1
            if chain.startswith(PREFIX):
                found.chains.setdefault((table, chain), []).append(rule)
            elif _target(rule).startswith(PREFIX):
                found.jumps.append(Jump(table, chain, rule, positions[table, chain]))
    return found


def marks(rules: Ruleset) -> set[int]:
    """Which marks our chains give to packets, or know them by."""
    found = (_MARK.search(rule) for chain in rules.chains.values() for rule in chain)
    return {int(match[1], 16) for match in found if match}


def _target(rule: str) -> str:
    words = rule.split()
    for option in ("-j", "-g"):
        if option in words[:-1]:
            return words[words.index(option) + 1]
    return ""


def transaction(current: Ruleset, wanted: Ruleset) -> str:
    """The input of ``iptables-restore --noflush`` that makes ``wanted`` of ``current``; empty
    where there is nothing to do. Each table is changed in one step.
    """
    return "".join(_table(table, current, wanted) for table in TABLES)


def _table(table: str, current: Ruleset, wanted: Ruleset) -> str:
    had = {name: rules for (where, name), rules in current.chains.items() if where == table}
    want = {name: rules for (where, name), rules in wanted.chains.items() if where == table}
    old = Counter(jump for jump in current.jumps if jump.table == table)
    new = Counter(jump for jump in wanted.jumps if jump.table == table)
    changed = {name: rules for name, rules in want.items() if had.get(name) != rules}
    gone = [name for name in had if name not in want]
    # Naming a chain makes it, or empties it.
    lines = [f":{name} - [0:0]" for name in [*changed, *gone]]
    lines += [f"-D {jump.chain} {jump.rule}" for jump in (old - new).elements()]
    for name, rules in changed.items():
        lines += [f"-A {name} {rule}" for rule in rules]
    for jump in sorted((new - old).elements(), key=lambda each: each.position):
        where = f"-I {jump.chain} {jump.position}" if jump.position else f"-A {jump.chain}"
        lines.append(f"{where} {jump.rule}")
    lines += [f"-X {name}" for name in gone]
    return "\n".join([f"*{table}", *lines, "COMMIT", ""]) if lines else ""
