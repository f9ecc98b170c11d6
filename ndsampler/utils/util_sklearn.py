"""
Folds that keep groups whole and categories balanced, under their old name.

They live in scikit-learn now: :class:`sklearn.model_selection.StratifiedGroupKFold`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.utils.require import require

if TYPE_CHECKING:
    import numpy as np

__all__ = ["StratifiedGroupKFold"]


def StratifiedGroupKFold(
    n_splits: int = 3, shuffle: bool = False, random_state: int | np.random.RandomState | None = None
) -> Any:
    """Return scikit-learn's splitter of that name.

    Args:
        n_splits: number of folds.
        shuffle: whether chance decides between equals.
        random_state: decides what is left to chance; without ``shuffle`` nothing is.

    Raises:
        MissingDependencyError: if scikit-learn is not installed.

    Example:
        >>> folds = StratifiedGroupKFold(n_splits=2)
        >>> sorted(test.tolist() for _, test in folds.split([0] * 4, y=[1, 2, 1, 2], groups=[5, 5, 6, 6]))
        [[0, 1], [2, 3]]
    """
    selection = require("sklearn.model_selection", "scikit-learn", "StratifiedGroupKFold")
    return selection.StratifiedGroupKFold(
        n_splits=n_splits, shuffle=shuffle, random_state=random_state if shuffle else None
    )
