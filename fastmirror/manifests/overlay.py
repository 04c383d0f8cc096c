"""A mapping laid over another, as a delegate's rule over the one that delegates to it.

Invariant: a value keeps its place. What is wrong with it is said of the manifest that it is from.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fastmirror.manifests.fields import Field


@dataclass(frozen=True, slots=True, kw_only=True)
class _Overlay(Field):
    over: Field
    under: Field
    deep: Collection[str]

    def __getitem__(self, key: str) -> Field:
        over, under = self.over[key], self.under[key]
        if key in self.deep:
            return overlay(over, under)
        return over if over.given else under


def overlay(over: Field, under: Field, deep: Collection[str] = ()) -> Field:
    """The fields of ``over``, and those of ``under`` that it has not; the fields named in ``deep``
    are mappings to be laid over each other in the same way.
    """
    if not isinstance(over.value, dict) or not isinstance(under.value, dict):
        return over if over.given else under
    value = {**under.value, **{key: child.value for key, child in over.entries().items()}}
    return _Overlay(over.origin, value, over.path, over=over, under=under, deep=deep)


def part(of: Field, names: Collection[str]) -> Field:
    """A mapping without the fields that are not named."""
    if not isinstance(of.value, dict):
        return of
    value = {key: value for key, value in of.value.items() if key in names}
    return Field(of.origin, value, of.path)
