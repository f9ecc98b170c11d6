"""
Keyed permutations of any size. Any part of a permutation can be computed without the rest.

A permutation of fewer than 2**16 numbers sorts them by their keyed hashes. A larger one is a Feistel network
over the next even number of bits. Results beyond the end are passed through the network again until they are
in range (cycle walking). Neither depends on numpy's random generators, whose streams may change between
versions, so an interrupted order continues in the same way on any machine and version.

References:
    J. Black and P. Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002 (cycle walking).
    M. Luby and C. Rackoff, "How to Construct Pseudorandom Permutations from Pseudorandom Functions",
    SIAM Journal on Computing 17 (1988). Eight rounds, because four fail a chi-square test on small domains.
    G. L. Steele, D. Lea and C. H. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014
    (the mixing function, SplitMix64).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Permutations of fewer numbers are sorted hashes, because Feistel networks of few bits are visibly biased.
SMALL = 2**16

#: Number of positions that are computed at a time.
CHUNK = 2**13

#: Rounds of the Feistel network.
ROUNDS = 8

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the SplitMix64 hash of each value, computed in place.

    Args:
        values: array that is overwritten.

    Example:
        >>> mix(np.array([0, 1], np.uint64)).tolist()
        [16294208416658607535, 10451216379200822465]
    """
    values += np.uint64(_GOLDEN)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def make_key(*parts: int) -> int:
    """Return a 64-bit key that depends on all parts and on their order.

    Example:
        >>> make_key(0, 1) != make_key(1, 0)
        True
    """
    key = 0
    for part in parts:
        # Use Python integers, because numpy warns of overflow in scalars.
        key = _mix_int(key ^ (part & _MASK))
        key = _mix_int(key ^ (part >> 64 & _MASK))
    return key


def _mix_int(value: int) -> int:
    """Return the SplitMix64 hash of one value."""
    value = (value + _GOLDEN) & _MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def permute(positions: NDArray[np.int64], n: int, key: int) -> NDArray[np.int64]:
    """Return the numbers at some positions of a permutation of ``range(n)``.

    Args:
        positions: positions from 0 up to, not including, ``n``.
        n: size of the permutation.
        key: selects the permutation; see :func:`make_key`.

    Returns:
        An int64 number for each position.

    Example:
        >>> sorted(permute(np.arange(5), 5, key=1).tolist())
        [0, 1, 2, 3, 4]
    """
    if n < SMALL:
        return _sorted_hashes(n, key)[positions]
    # In chunks, the intermediate results stay in the processor's cache.
    parts = [_walk(positions[i : i + CHUNK], n, key) for i in range(0, len(positions), CHUNK)]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


@lru_cache(maxsize=64)
def _sorted_hashes(n: int, key: int) -> NDArray[np.int64]:
    """Return a complete small permutation. It is cached, so the caller must not change it."""
    hashes = mix(np.arange(n, dtype=np.uint64) ^ np.uint64(key))
    return np.argsort(hashes, kind="stable").astype(np.int64)


def _walk(positions: NDArray[np.int64], n: int, key: int) -> NDArray[np.int64]:
    """Apply a Feistel network to positions until all results are below ``n``."""
    half = (max(2, (n - 1).bit_length()) + 1) // 2
    keys = [make_key(key, number) for number in range(ROUNDS)]
    found = _feistel(positions.astype(np.uint64), half, keys)
    outside = np.flatnonzero(found >= n)
    while len(outside):
        found[outside] = _feistel(found[outside], half, keys)
        outside = outside[found[outside] >= n]
    return found.astype(np.int64)


def _feistel(values: NDArray[np.uint64], half: int, keys: list[int]) -> NDArray[np.uint64]:
    """Return a permutation of numbers of ``2 * half`` bits."""
    shift, mask = np.uint64(half), np.uint64(2**half - 1)
    left, right = values >> shift, values & mask
    for key in keys:
        left, right = right, left ^ (mix(right ^ np.uint64(key)) & mask)
    result: NDArray[np.uint64] = (left << shift) | right
    return result
