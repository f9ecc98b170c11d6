"""
The old name of folds that keep groups together and categories balanced.

The class is now in scikit-learn: :class:`sklearn.model_selection.StratifiedGroupKFold`. The one here also
splits datasets of a few images, for which scikit-learn raises an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError
from ndsampler.utils.require import require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

__all__ = ["StratifiedGroupKFold"]


class StratifiedGroupKFold:
    """Splits rows into folds that keep groups together and have similar proportions of the categories.

    If there are fewer groups than folds, the test sets of the last folds are empty.

    Args:
        n_splits: number of folds.
        shuffle: whether to break ties at random.
        random_state: seed or generator for breaking ties; ignored without ``shuffle``.

    Raises:
        ArgumentError: for fewer than two folds.

    Example:
        >>> self = StratifiedGroupKFold(n_splits=2)
        >>> sorted(test.tolist() for _, test in self.split([0] * 4, y=[1, 2, 1, 2], groups=[5, 5, 6, 6]))
        [[0, 1], [2, 3]]
    """

    def __init__(
        self,
        n_splits: int = 3,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        if n_splits < 2:
            raise ArgumentError(f"n_splits is {n_splits!r}; expected two folds or more")
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds; the arguments are ignored."""
        return self.n_splits

    def split(
        self, X: Any, y: ArrayLike, groups: ArrayLike
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield (training rows, test rows) of each fold, ascending.

        Args:
            X: a sequence with one item for each row.
            y: the category of each row. Categories are ignored if even the most frequent one has fewer rows
                than there are folds.
            groups: the group of each row.

        Raises:
            ArgumentError: if there are no rows.
            MissingDependencyError: if scikit-learn is not installed.
        """
        selection = require("sklearn.model_selection", "scikit-learn", "StratifiedGroupKFold")
        rows, categories = np.arange(len(X)), np.asarray(y)
        if not len(rows):
            raise ArgumentError("there are no rows to split; expected at least one")
        n_filled = min(self.n_splits, len(np.unique(groups)))
        if np.unique(categories, return_counts=True)[1].max() < n_filled:
            categories = np.zeros(len(rows), dtype=np.int64)
        if n_filled > 1:
            state = self.random_state if self.shuffle else None
            filled = selection.StratifiedGroupKFold(n_filled, shuffle=self.shuffle, random_state=state)
            yield from filled.split(rows, categories, groups)
        else:
            yield rows[:0], rows
        for _ in range(self.n_splits - n_filled):
            yield rows, rows[:0]

    def __repr__(self) -> str:
        return (
            f"StratifiedGroupKFold(n_splits={self.n_splits}, random_state={self.random_state}, "
            f"shuffle={self.shuffle})"
        )
