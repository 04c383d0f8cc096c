"""Hash rings and Maglev tables, against plain ones that are written down here, and by what they are
for: shares by weight, and few keys that move.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from fractions import Fraction
from math import ceil

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from fastmirror.upstream.tables import Maglev, Ring

KEYS = [xxhash.xxh64_intdigest(f"key {number}".encode()) for number in range(8000)]
PRIMES = (2, 3, 7, 53, 211, 1009)

clusters = st.dictionaries(
    st.integers(1, 65535).map(lambda port: f"10.0.0.1:{port}".encode()),
    st.integers(1, 20),
    min_size=1,
    max_size=12,
)


def owners(table: Ring | Maglev, names: list[bytes]) -> list[bytes]:
    return [names[table.owner(table.find(key))] for key in KEYS]


def ring(names: list[bytes], weights: list[int], least: int = 1024) -> Ring:
    return Ring(names, weights, least)


def maglev(names: list[bytes], weights: list[int], size: int = 65537) -> Maglev:
    return Maglev(names, weights, size)


KINDS = pytest.mark.parametrize("kind", [ring, maglev])


def plain_ring(cluster: dict[bytes, int], least: int) -> list[tuple[int, bytes]]:
    lightest, total = min(cluster.values()), sum(cluster.values())
    each = ceil(Fraction(lightest * least, total))
    return sorted(
        (xxhash.xxh64_intdigest(name + b"_%d" % number), name)
        for name, weight in cluster.items()
        for number in range(ceil(Fraction(each * weight, lightest)))
    )


def plain_maglev(cluster: dict[bytes, int], size: int) -> list[bytes]:
    """Each name's order of places is written out; a name's turns come as its weight adds up."""
    order = {}
    for name in sorted(cluster):
        first = xxhash.xxh64_intdigest(name) % size
        step = xxhash.xxh64_intdigest(name, 1) % (size - 1) + 1
        order[name] = [(first + step * at) % size for at in range(size)]
    table: dict[int, bytes] = {}
    heaviest, turns = max(cluster.values()), dict.fromkeys(cluster, 0)
    round_ = 0
    while len(table) < size:
        round_ += 1
        for name in sorted(cluster):
            if len(table) < size and Fraction(cluster[name] * round_, heaviest) >= turns[name]:
                turns[name] += 1
                table[next(place for place in order[name] if place not in table)] = name
    return [table[place] for place in range(size)]


@given(clusters, st.integers(1, 300))
def test_a_ring_is_as_it_should_be(cluster, least):
    names = list(cluster)
    made, plain = Ring(names, list(cluster.values()), least), plain_ring(cluster, least)
    assert made.size == len(plain) >= least
    assert [names[made.owner(at)] for at in range(made.size)] == [name for _, name in plain]
    hashes = [point for point, _ in plain]
    for key in (*KEYS[:50], 0, 2**64 - 1, hashes[0], hashes[-1]):
        assert made.find(key) == bisect_left(hashes, key) % made.size


@given(clusters, st.sampled_from(PRIMES))
def test_a_maglev_table_is_as_it_should_be(cluster, size):
    names = list(cluster)
    made = Maglev(names, list(cluster.values()), size)
    assert [names[made.owner(at)] for at in range(size)] == plain_maglev(cluster, size)
    assert [made.find(key) for key in KEYS[:20]] == [key % size for key in KEYS[:20]]


@KINDS
@given(cluster=clusters)
def test_the_order_of_the_endpoints_makes_no_difference(kind, cluster):
    names = list(cluster)
    other = names[::-1]
    one = owners(kind(names, [cluster[name] for name in names]), names)
    assert one == owners(kind(other, [cluster[name] for name in other]), other)


def some(count: int) -> list[bytes]:
    return [b"10.0.0.%d:8080" % number for number in range(1, count + 1)]


@KINDS
@pytest.mark.parametrize("weights", [[1] * 8, [1, 2, 3, 4, 5], [1, 1, 10]])
def test_each_gets_its_share(kind, weights):
    names = some(len(weights))
    found = Counter(owners(kind(names, weights, *([65536] if kind is ring else [])), names))
    for name, weight in zip(names, weights, strict=True):
        fair = len(KEYS) * weight / sum(weights)
        assert fair * 0.85 < found[name] < fair * 1.15


@KINDS
@pytest.mark.parametrize("count", [3, 10, 30])
def test_few_keys_move_when_an_endpoint_goes_or_comes(kind, count):
    names = some(count)
    before = owners(kind(names, [1] * count), names)
    after = owners(kind(names[:-1], [1] * (count - 1)), names[:-1])
    own = sum(name == names[-1] for name in before)
    others = sum(
        one != other and one != names[-1] for one, other in zip(before, after, strict=True)
    )
    assert own < len(KEYS) * 1.4 / count
    assert others < len(KEYS) * 0.5 / count ** (0.5 if kind is ring else 1) + 100


def test_the_largest_ring_is_not_larger():
    made = Ring(some(3), [1, 1_000_000, 1_000_000], 8_388_608)
    assert 8_000_000 < made.size <= 8_388_608
    assert Ring(some(2), [1, 1_000_000], 1024).size == 1_000_001


@KINDS
def test_a_place_that_is_none(kind):
    table = kind(some(2), [1, 1])
    for at in (-1, table.size):
        with pytest.raises(IndexError):
            table.owner(at)
