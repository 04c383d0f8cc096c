"""The sampling decision: xxh64 as the xxhash wheel has it, and shares exact to 2^-64."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from fastmirror._core import Sampler, random64, xxh64
from fastmirror.mirror.mirror import share_of
from fastmirror.rules.model import Fraction as RulesFraction
from fastmirror.rules.model import Mirror

WHOLE = 2**64
seeds = st.integers(0, WHOLE - 1)
percents = st.floats(0, 100)


def sampler(percent: float, salt: bytes = b"httpbin/v2") -> Sampler:
    return Sampler(Fraction(percent) / 100, salt)


@given(st.binary(max_size=300), seeds)
def test_xxh64_is_the_wheels(data, seed):
    assert xxh64(data, seed) == xxhash.xxh64_intdigest(data, seed)


@pytest.mark.parametrize("size", [*range(70), 255, 256, 257, 4096, 100_003])
def test_xxh64_of_every_length(size):
    data = bytes(at * 131 % 256 for at in range(size))
    assert xxh64(data) == xxhash.xxh64_intdigest(data)
    assert xxh64(data, WHOLE - 1) == xxhash.xxh64_intdigest(data, WHOLE - 1)


@pytest.mark.parametrize("offset", range(9))
def test_xxh64_does_not_depend_on_alignment(offset):
    data = bytes(range(200))
    assert xxh64(data[offset:]) == xxhash.xxh64_intdigest(data[offset:])


@pytest.mark.parametrize("seed", [-1, WHOLE])
def test_a_seed_has_64_bits(seed):
    with pytest.raises(OverflowError):
        xxh64(b"", seed)


# ---- the threshold


@given(st.fractions(0, 1))
def test_the_threshold_is_the_share_of_2_to_the_64_rounded_up(share):
    made = Sampler(share, b"")
    exact = math.ceil(share * WHOLE)
    assert made.always == (exact == WHOLE)
    assert made.threshold == (0 if made.always else exact)


@given(percents)
def test_no_percent_is_truncated(percent):
    made = sampler(percent)
    if percent == 0:
        assert made.threshold == 0
        assert not made.always
    elif not made.always:
        # Exactly as many of the 2^64 hashes pass as are below the real number.
        assert made.threshold - 1 < Fraction(percent) / 100 * WHOLE <= made.threshold


@pytest.mark.parametrize("percent", [5e-324, 1e-30, 1e-18, 0.0001, 0.00001])
def test_a_tiny_percent_is_not_never(percent):
    assert sampler(percent).threshold == max(1, math.ceil(Fraction(percent) / 100 * WHOLE))


def test_almost_always_is_not_always():
    made = sampler(math.nextafter(100, 0))
    assert not made.always
    assert WHOLE - 4096 < made.threshold < WHOLE


@pytest.mark.parametrize("share", [Fraction(-1, 2**70), Fraction(-1), Fraction(101, 100)])
def test_a_share_outside_0_to_1_is_refused(share):
    if share < -Fraction(1, WHOLE) or share > 1:
        with pytest.raises(ValueError, match="a share is from 0 to 1"):
            Sampler(share, b"")
    else:  # rounds up to 0
        assert Sampler(share, b"").threshold == 0


@pytest.mark.parametrize(
    ("spec", "share"),
    [
        (Mirror("s"), Fraction(1)),
        (Mirror("s", percent=0.0), Fraction(0)),
        (Mirror("s", percent=0.1), Fraction(0.1) / 100),
        (Mirror("s", fraction=RulesFraction(1)), Fraction(1, 100)),
        (Mirror("s", fraction=RulesFraction(1, 3)), Fraction(1, 3)),
        (Mirror("s", fraction=RulesFraction(0, 7)), Fraction(0)),
        (Mirror("s", fraction=RulesFraction(7, 7)), Fraction(1)),
    ],
)
def test_the_share_of_a_mirror(spec, share):
    assert share_of(spec) == share


# ---- decisions


@given(st.binary(max_size=100), st.binary(max_size=100), percents)
def test_anyone_can_recompute_a_decision(key, salt, percent):
    seed = xxhash.xxh64_intdigest(salt, 0)
    made = sampler(percent, salt)
    assert made.seed == seed
    below = xxhash.xxh64_intdigest(key, seed) < Fraction(percent) / 100 * WHOLE
    assert made.sampled(key) is below


@given(st.binary(max_size=40))
def test_0_is_never_and_100_is_always(key):
    assert not sampler(0).sampled(key)
    assert sampler(100).sampled(key)
    assert not sampler(0).sampled()
    assert sampler(100).sampled()


@given(st.binary(max_size=40), percents, percents)
def test_a_smaller_share_lies_within_a_larger_one(key, one, other):
    smaller, larger = sorted((one, other))
    assert sampler(smaller).sampled(key) <= sampler(larger).sampled(key)


@given(st.binary(max_size=40), percents, st.floats(0, 1))
def test_what_is_kept_of_a_share_is_what_a_smaller_one_has(key, percent, part):
    whole = sampler(percent)
    smaller = Sampler(Fraction(percent) / 100 * Fraction(part), b"httpbin/v2")
    kept = whole.sampled(key) and whole.kept(part, key)
    # But for the rounding of floats, at the very end of the part.
    end = Fraction(percent) / 100 * Fraction(part) * WHOLE
    distance = xxhash.xxh64_intdigest(key, whole.seed) - end
    assert kept == smaller.sampled(key) or abs(distance) < 2**14


def test_the_kept_part_grows_with_its_share():
    keys = [f"user-{number}".encode() for number in range(2_000)]
    half = sampler(50)
    sampled = {key for key in keys if half.sampled(key)}
    parts = [{key for key in sampled if half.kept(tenth / 10, key)} for tenth in range(11)]
    assert (parts[0], parts[10]) == (set(), sampled)
    assert all(less < more for less, more in pairwise(parts))
    assert abs(len(parts[5]) - 500) < 100


def test_without_a_key_chance_keeps_the_part():
    made, tries = sampler(10), 20_000
    assert sigmas(sum(made.kept(0.3) for _ in range(tries)), tries, 0.3) < 6
    assert not any(made.kept(0.0) for _ in range(100))
    assert all(made.kept(1.0) for _ in range(100))


def test_1_percent_of_the_keys_is_inside_10_percent():
    keys = [f"user-{number}".encode() for number in range(20_000)]
    one = {key for key in keys if sampler(1).sampled(key)}
    ten = {key for key in keys if sampler(10).sampled(key)}
    assert 100 < len(one) < 300
    assert one < ten


def test_another_salt_decides_independently():
    keys = [str(number).encode() for number in range(20_000)]
    both = [
        key for key in keys if sampler(50, b"a").sampled(key) and sampler(50, b"b").sampled(key)
    ]
    assert abs(len(both) - 5_000) < 4 * math.sqrt(20_000 * 0.25 * 0.75)


def sigmas(hits: int, tries: int, share: float) -> float:
    return abs(hits - tries * share) / math.sqrt(tries * share * (1 - share))


@pytest.mark.parametrize("percent", [0.1, 1, 10, 50, 90, 99.9])
def test_random_decisions_hold_the_share(percent):
    made, tries = sampler(percent), 200_000

    def attempt() -> float:
        hits = sum(made.sampled() for _ in range(tries))
        return sigmas(hits, tries, percent / 100)

    # Beyond 4 sigma by chance: once in 16,000 runs; twice in a row: never seen.
    assert attempt() < 4 or attempt() < 4


def test_fresh_bits_for_every_decision_and_every_mirror():
    one, two, tries = sampler(50, b"one"), sampler(50, b"two"), 100_000
    same = sum(one.sampled() == two.sampled() for _ in range(tries))
    assert sigmas(same, tries, 0.5) < 5


def test_random64_does_not_repeat_and_uses_all_bits():
    found = [random64() for _ in range(10_000)]
    assert len(set(found)) == len(found)
    for bit in range(64):
        ones = sum(value >> bit & 1 for value in found)
        assert sigmas(ones, len(found), 0.5) < 6
