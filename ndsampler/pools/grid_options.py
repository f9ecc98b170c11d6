"""
Options for selecting and classifying the windows of a grid.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from ndsampler.errors import ArgumentTypeError
from ndsampler.pools.area import Area
from ndsampler.pools.arguments import as_amount, as_flag, as_names

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["NEGATIVE_CLASSES", "GridOptions"]

#: Categories that do not make a window positive.
NEGATIVE_CLASSES = frozenset({"ignore", "background"})


@dataclass(frozen=True)
class GridOptions:
    """Options for classifying and returning the windows of a grid."""

    classes_of_interest: Collection[str] | None = None
    """Names of the categories that make a window positive, in lower case; if empty, all categories except
    the negative ones."""

    ignore_coverage_thresh: float | None = 0.6
    """Largest fraction of a window that ``ignore`` annotations may cover; None or 0 sets no limit."""

    negative_classes: Collection[str] | None = field(default=NEGATIVE_CLASSES)
    """Names of the categories that do not make a window positive, in lower case."""

    use_annots: bool = True
    """Whether annotations are used; if not, every target is negative."""

    legacy: bool = True
    """Whether the result also has the positive and the negative targets as lists."""

    verbose: int = 1
    """Whether the numbers of targets are logged."""

    split: Area | None = None
    """The part of the dataset that windows must be inside; None for the whole dataset."""

    @classmethod
    def from_arguments(cls, given: dict[str, Any]) -> GridOptions:
        """Return the options that keyword arguments describe.

        Args:
            given: the arguments by name.

        Raises:
            ArgumentTypeError: if a name is not an option.
            ArgumentError: if a value is invalid.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ArgumentTypeError(f"a grid has no option {unknown[0]!r}; expected some of {known}")
        options = cls(**given)
        if options.split is not None and not isinstance(options.split, Area):
            raise ArgumentTypeError(
                f"split is {options.split!r}; expected one of those that "
                "ndsampler.training.spatial_split returns, or None"
            )
        if options.ignore_coverage_thresh is not None:
            as_amount(options.ignore_coverage_thresh, "ignore_coverage_thresh", "a fraction of a window")
        return replace(
            options,
            classes_of_interest=as_names(options.classes_of_interest, "classes_of_interest"),
            negative_classes=as_names(options.negative_classes, "negative_classes"),
            use_annots=as_flag(options.use_annots, "use_annots"),
            legacy=as_flag(options.legacy, "legacy"),
        )
