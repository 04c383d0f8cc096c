"""The hash and the threshold."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fastmirror._core import Sampler, random64, xxh64


@pytest.mark.parametrize("size", [8, 36, 256, 4096])
def test_xxh64(timed, size):
    assert timed(xxh64, bytes(size), 1) == xxh64(bytes(size), 1)


@pytest.mark.parametrize("key", [b"user-1234", b"0d9c1f1e-6a0c-4b52-9d0f-2a3c4b5d6e7f", None])
def test_a_decision(timed, key):
    assert timed(Sampler(Fraction(1, 10), b"httpbin/v2").sampled, key) in (True, False)


def test_fresh_bits(timed):
    assert 0 <= timed(random64) < 2**64
