"""The interface of samplers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

__all__ = ["AbstractSampler"]


class AbstractSampler:
    """
    The interface of samplers.

    A sampler implements the methods that it supports. For example, a sampler that generates its
    positives and negatives may have no ``load_sample``. Other methods raise :class:`NotImplementedError`.

    Example:
        >>> class Constant(AbstractSampler):
        ...     @property
        ...     def n_positives(self):
        ...         return 3
        >>> Constant().n_positives
        3
        >>> Constant().load_item(0)
        Traceback (most recent call last):
        NotImplementedError: Constant does not implement load_item; a sampler that supports it must override
            it
    """

    @property
    def class_ids(self) -> Sequence[int]:
        """Category ids, in the order of the dataset.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("class_ids")

    @property
    def image_ids(self) -> Sequence[int]:
        """Ids of the images that can be sampled, sorted.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("image_ids")

    @property
    def n_positives(self) -> int:
        """Number of positive targets in the current pool.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("n_positives")

    def lookup_class_name(self, class_id: int) -> str:
        """Return the name of a category.

        Args:
            class_id: id of the category.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("lookup_class_name")

    def lookup_class_id(self, class_name: str) -> int:
        """Return the id of a category.

        Args:
            class_name: name of the category.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("lookup_class_id")

    def load_image(self, image_id: int) -> Any:
        """Return the pixels of one image, as (height, width, channels).

        Args:
            image_id: id of the image.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("load_image")

    def load_sample(
        self,
        tr: dict[str, Any],
        pad: tuple[int, int] | None = None,
        window_dims: tuple[int, int] | None = None,
        visible_thresh: float = 0.1,
    ) -> dict[str, Any]:
        """Return the sample that a target describes.

        Args:
            tr: the target, which describes the image and the window.
            pad: (height, width) of context to add on each side, in pixels.
            window_dims: (height, width) of the window in pixels; by default the target's own.
            visible_thresh: leave out annotations unless more than this fraction of them is inside the window.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("load_sample")

    def load_item(
        self,
        index: int,
        pad: tuple[int, int] | None = None,
        window_dims: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        """Return one sample of the pool: positives first, then negatives.

        Args:
            index: position in the pool.
            pad: (height, width) of context to add on each side, in pixels.
            window_dims: (height, width) of the window in pixels; by default the target's own.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("load_item")

    def load_positive(
        self,
        index: int | None = None,
        pad: tuple[int, int] | None = None,
        window_dims: tuple[int, int] | None = None,
        rng: int | np.random.RandomState | None = None,
    ) -> dict[str, Any]:
        """Return a positive sample.

        Args:
            index: position among the positives; None draws one.
            pad: (height, width) of context to add on each side, in pixels.
            window_dims: (height, width) of the window in pixels; by default the target's own.
            rng: seed or generator for the draw.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("load_positive")

    def load_negative(
        self,
        index: int | None = None,
        pad: tuple[int, int] | None = None,
        window_dims: tuple[int, int] | None = None,
        rng: int | np.random.RandomState | None = None,
    ) -> dict[str, Any]:
        """Return a negative sample.

        Args:
            index: position among the negatives; None draws one.
            pad: (height, width) of context to add on each side, in pixels.
            window_dims: (height, width) of the window in pixels; by default the target's own.
            rng: seed or generator for the draw.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("load_negative")

    def preselect(self, **kwargs: Any) -> tuple[int, int]:
        """Set up a pool of targets before an epoch begins.

        Args:
            **kwargs: arguments of the sampler that select the targets.

        Returns:
            The number of positives and of negatives in the pool.

        Raises:
            NotImplementedError: unless the sampler overrides it.
        """
        self._refuse("preselect")

    def _refuse(self, member: str) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__} does not implement {member}; a sampler that supports it must override it"
        )
