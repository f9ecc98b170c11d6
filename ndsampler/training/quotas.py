"""
Quotas: the number of draws of each class in every block of an order.

The number of draws of a class is exact, not random. Each class has an interval from a to b between 0 and 1
whose length is its share. Among the first p positions of an epoch, it gets round(b * p) - round(a * p) draws.
This number differs from its share of p by at most one, and the same holds for any set of neighboring classes,
such as those below one node of a hierarchy. No state is carried from block to block, so every block is a pure
function of its number.

References:
    Cumulative rounding as in L. H. Cox and L. R. Ernst, "Controlled Rounding", INFOR 20 (1982).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from ndsampler.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Shares are whole multiples of 2**-SHARE_BITS, so that counts are exact integers on every machine.
SHARE_BITS = 60

#: Minimum number of positions in a block.
MIN_BLOCK = 64

#: Minimum share of a class. With smaller shares, blocks would be longer than any epoch.
MIN_SHARE = 1e-7


@dataclass(frozen=True)
class Quotas:
    """Divides the positions of an epoch among classes.

    Example:
        >>> quotas = Quotas.from_shares([0.75, 0.25], length=1000)
        >>> quotas.drawn_before(quotas.block)
        [48, 16]
    """

    bounds: tuple[int, ...]
    """Sums of the shares before each class, and after the last, times ``2**SHARE_BITS``."""
    block: int
    """Number of positions in a block. The last block of an epoch may have up to twice as many."""
    length: int
    """Number of positions in an epoch."""

    @classmethod
    def from_shares(cls, shares: Sequence[float | Fraction], length: int) -> Quotas:
        """Return the quotas of classes with given shares.

        Args:
            shares: the share of each class, above 0. The shares sum to 1.
            length: number of positions in an epoch.

        Raises:
            ArgumentError: if a share is below :data:`MIN_SHARE`, or the shares do not sum to 1.
        """
        exact = [Fraction(share) for share in shares]
        if not exact or float(min(exact)) < MIN_SHARE or abs(float(sum(exact)) - 1) > 1e-6:
            shown = ", ".join(f"{float(share):g}" for share in exact[:10])
            raise ArgumentError(f"the shares are {shown}; expected numbers above {MIN_SHARE} that sum to 1")
        total = sum(exact)
        reached, bounds = Fraction(0), [0]
        for share in exact:
            reached += share
            bounds.append(round(reached / total * 2**SHARE_BITS))
        # If a class expects two draws in a block, rounding at both ends cannot make its number negative.
        block = max(MIN_BLOCK, math.ceil(2 / (min(exact) / total)) + 1)
        return cls(tuple(bounds), min(block, length), length)

    @property
    def n_blocks(self) -> int:
        """Number of blocks in an epoch."""
        return max(1, self.length // self.block)

    def block_at(self, position: int) -> int:
        """Return the number of the block that contains a position."""
        return min(position // self.block, self.n_blocks - 1)

    def span(self, number: int) -> tuple[int, int]:
        """Return the first position of a block, and the position after its last."""
        start = number * self.block
        return start, self.length if number == self.n_blocks - 1 else start + self.block

    def drawn_before(self, position: int) -> list[int]:
        """Return the number of draws of each class before a position: the start of a block, or the end."""
        half = 2 ** (SHARE_BITS - 1)
        edges = [(bound * position + half) >> SHARE_BITS for bound in self.bounds]
        return [after - before for before, after in pairwise(edges)]

    def draws_in(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the classes of the draws in a block, unshuffled, and the rank of each draw in its class.

        Args:
            number: number of the block.

        Returns:
            The class index of each draw, ascending, and the number of draws of that class before it in the
            epoch.
        """
        before, after = (np.array(self.drawn_before(position)) for position in self.span(number))
        ends = np.cumsum(after - before)
        classes = np.repeat(np.arange(len(ends)), after - before)
        return classes, np.arange(len(classes)) + (after - ends)[classes]
