"""
A sampler that generates toy images when they are requested.

Every image depends only on the seed and its id, so nothing is stored, and all
processes draw the same image. The positions of its objects are planned first,
and then the image is drawn.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.abstract_sampler import AbstractSampler
from ndsampler.errors import ArgumentError, TargetError, UnknownIdError, UnknownOptionError, WindowError
from ndsampler.utils.fork_safety import fork_safe
from ndsampler.utils.random_state import ProcessMark, ensure_rng
from ndsampler.utils.toy_images import DRAWABLE, MIN_SIDE, draw_objects, mix_bits, plan_boxes
from ndsampler.windows import as_int, check_affordable, normalize_pad

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndsampler.category_tree import CategoryTree
    from ndsampler.utils.random_state import Rng

__all__ = ["DynamicToySampler"]

#: Smallest and largest number of objects in an image with an object at its center, and in one without.
POSITIVE_COUNTS = (1, 12)
NEGATIVE_COUNTS = (0, 6)

#: Number of annotation ids that are reserved for each image. The first id is 1.
AIDS_PER_IMAGE = 16


class DynamicToySampler(AbstractSampler):
    """
    A sampler of generated images: noise with simple shapes.

    A positive has an object at the center of its window; a negative has none there.
    There are as many negatives as positives, and each sample is a separate image:
    images with even ids are positives, and those with odd ids are negatives.

    For a dataset on disk see :meth:`kwcoco.CocoDataset.demo`.

    Args:
        n_positives: number of different positives.
        seed: seed or generator; equal seeds give equal images. None gives different images each time.
        gsize: (width, height) of an image in pixels, and by default of the windows.
        categories: names of shapes, or COCO categories with these names; by default star, eff
            and superstar. A category for the background is added.

    Raises:
        ArgumentError: if ``n_positives`` is negative, or ``categories`` is empty.
        UnknownOptionError: if there is no shape with one of the names.
        WindowError: if ``gsize`` is not a pair of valid sizes.

    Example:
        >>> sampler = DynamicToySampler(10, seed=0, gsize=(80, 60))
        >>> sample = sampler.load_positive(3)
        >>> sample["im"].shape
        (60, 80, 3)
        >>> bool((sample["im"] == DynamicToySampler(10, seed=0, gsize=(80, 60)).load_positive(3)["im"]).all())
        True
    """

    @fork_safe
    def __init__(
        self,
        n_positives: float = 1e5,
        seed: Rng = None,
        gsize: tuple[int, int] = (416, 416),
        categories: Sequence[str | dict[str, Any]] | None = None,
    ) -> None:
        if n_positives < 0:
            raise ArgumentError(f"n_positives is {n_positives!r}; expected 0 or more")
        self.seed = seed
        self._n_positives = int(n_positives)
        self._dims = _as_dims(tuple(gsize)[::-1], "gsize")
        self._cats = _object_categories(categories)
        self._background = _background_category(self._cats)
        self._cats = [cat for cat in self._cats if cat["name"] != "background"]
        self._rng = ensure_rng(seed)
        self._key = int(self._rng.randint(0, 2**31 - 1))
        self._origin = ProcessMark.here()

    def __bool__(self) -> bool:
        """Return True, even if there are no positives."""
        return True

    def __len__(self) -> int:
        """Return the number of positives plus negatives."""
        return self.n_images

    @property
    def BACKGROUND_CLASS_ID(self) -> int:
        """Category id of negatives."""
        return int(self._background["id"])

    @property
    @fork_safe
    def catgraph(self) -> CategoryTree:
        """The categories, background last: the old name of :attr:`classes`."""
        return self.classes

    @property
    @fork_safe
    def classes(self) -> CategoryTree:
        """The categories, background last."""
        from ndsampler.category_tree import CategoryTree

        result: CategoryTree = CategoryTree.from_coco(
            [{"name": c["name"], "id": c["id"]} for c in self._all_cats]
        )
        return result

    @property
    def class_ids(self) -> list[int]:
        """Category ids, background last."""
        return [cat["id"] for cat in self._all_cats]

    @property
    def image_ids(self) -> list[int]:
        """Ids of the images: one for each positive and each negative."""
        return list(range(self.n_images))

    @property
    def n_positives(self) -> int:
        """Number of different positives; there are as many negatives."""
        return self._n_positives

    @property
    def n_images(self) -> int:
        """Number of different images, one for each positive and each negative."""
        return 2 * self._n_positives

    @property
    def n_annots(self) -> int:
        """Number of objects in all images."""
        return int(self._counts(np.arange(self.n_images)).sum())

    @property
    def n_categories(self) -> int:
        """Number of categories, including the background."""
        return len(self._all_cats)

    def lookup_class_name(self, class_id: int) -> str:
        """Return the name of a category.

        Args:
            class_id: id of the category.

        Raises:
            UnknownIdError: if there is none.

        Example:
            >>> DynamicToySampler(1).lookup_class_name(3)
            'star'
        """
        return str(self._lookup("id", class_id)["name"])

    def lookup_class_id(self, class_name: str) -> int:
        """Return the id of a category.

        Args:
            class_name: name of the category.

        Raises:
            UnknownIdError: if there is none.

        Example:
            >>> DynamicToySampler(1).lookup_class_id("star")
            3
        """
        return int(self._lookup("name", class_name)["id"])

    def preselect(  # type: ignore[override]
        self,
        n_pos: int | None = None,
        n_neg: int | None = None,
        neg_to_pos_ratio: float | None = None,
        window_dims: tuple[int, int] | None = None,
        rng: Rng = None,
        verbose: int = 0,
    ) -> tuple[int, int]:
        """Return the number of positives and negatives that can be loaded; there is no pool to set up.

        Args:
            n_pos: ignored; there are always ``n_positives``.
            n_neg: number of negatives.
            neg_to_pos_ratio: number of negatives for each positive, rounded down, instead of ``n_neg``.
            window_dims: ignored.
            rng: ignored.
            verbose: ignored.

        Returns:
            The numbers of positives and negatives; by default they are equal.

        Example:
            >>> DynamicToySampler(10).preselect(n_pos=3, neg_to_pos_ratio=0.25)
            (10, 2)
        """
        if n_neg is None:
            n_neg = int(self._n_positives * (1 if neg_to_pos_ratio is None else neg_to_pos_ratio))
        return self._n_positives, n_neg

    @fork_safe
    def load_image(self, image_id: int | None = None, rng: Rng = None) -> NDArray[np.uint8]:
        """Return the pixels of an image.

        Args:
            image_id: id of the image; None draws one.
            rng: seed or generator for the draw.

        Returns:
            (height, width, 3) pixels, of the size ``gsize``.

        Raises:
            UnknownIdError: if the id is not a whole number of 0 or more.

        Example:
            >>> DynamicToySampler(10, gsize=(80, 60)).load_image(4).shape
            (60, 80, 3)
        """
        image: NDArray[np.uint8] = self.load_image_with_annots(image_id, rng)[0]["imdata"]
        return image

    @fork_safe
    def load_image_with_annots(
        self, image_id: int | None = None, rng: Rng = None
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Return an image and its annotations, as COCO dictionaries.

        Args:
            image_id: id of the image; None draws one.
            rng: seed or generator for the draw.

        Returns:
            The image, with its pixels under ``imdata``, and its annotations.

        Raises:
            UnknownIdError: if the id is not a whole number of 0 or more.

        Example:
            >>> img, anns = DynamicToySampler(10, seed=0).load_image_with_annots(4)
            >>> anns[0]["image_id"]
            4
        """
        gid = self._draw(self.n_images, rng) if image_id is None else _as_index(image_id, "image id")
        height, width = self._dims
        imdata, anns = self._make_image(gid, self._dims, (width / 2, height / 2))
        img = {"id": gid, "file_name": f"{gid}.png", "width": width, "height": height, "channels": "rgb"}
        return {**img, "imdata": imdata}, anns

    @fork_safe
    def load_sample(  # type: ignore[override]
        self,
        tr: dict[str, Any],
        pad: Any = None,
        window_dims: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        """Generate the sample of a target again.

        Args:
            tr: a target that this sampler returned; ``gid`` is the image, and ``width`` and ``height`` the
                size.
            pad: pixels to add on each side: a number, or (height, width).
            window_dims: (height, width) of the window in pixels, instead of the target's.

        Returns:
            See :meth:`load_positive`.

        Raises:
            TargetError: if the target has no ``gid``.
            UnknownIdError: if its ``gid`` is not a whole number of 0 or more.
            WindowError: if the size of the window, or the pad, is not a sane size.

        Example:
            >>> sampler = DynamicToySampler(10)
            >>> first = sampler.load_negative()
            >>> bool((sampler.load_sample(first["target"])["im"] == first["im"]).all())
            True
        """
        if "gid" not in tr:
            raise TargetError(
                f"the target has the keys {sorted(tr)}; expected a gid; pass a target of this sampler"
            )
        if window_dims is None and {"width", "height"} <= tr.keys():
            window_dims = (tr["height"], tr["width"])
        sample = self._make_sample(_as_index(tr["gid"], "gid"), pad, window_dims)
        return {**sample, "target": {**tr, **sample["target"]}}

    @fork_safe
    def load_item(
        self, index: int, pad: Any = None, window_dims: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """Return an item of the pool: positives come first, then negatives.

        Args:
            index: position from 0; ``n_positives`` is the first negative.
            pad: pixels to add on each side: a number, or (height, width).
            window_dims: (height, width) of the window in pixels; by default those of ``gsize``.

        Returns:
            As :meth:`load_positive`.

        Raises:
            UnknownIdError: if the index is not a whole number of 0 or more.
            WindowError: if the size of the window, or the pad, is not a sane size.

        Example:
            >>> sampler = DynamicToySampler(10)
            >>> [sampler.load_item(index)["target"]["aid"] >= 0 for index in (9, 10)]
            [True, False]
        """
        index = _as_index(index, "index")
        if index < self._n_positives:
            return self.load_positive(index, pad=pad, window_dims=window_dims)
        return self.load_negative(index - self._n_positives, pad=pad, window_dims=window_dims)

    @fork_safe
    def load_positive(
        self,
        index: int | None = None,
        pad: Any = None,
        window_dims: tuple[int, int] | None = None,
        rng: Rng = None,
    ) -> dict[str, Any]:
        """Return a window with an object at its center.

        Args:
            index: which one, from 0; None draws one. Equal indexes give equal samples.
            pad: pixels to add on each side: a number, or (height, width).
            window_dims: (height, width) of the window in pixels; by default those of ``gsize``.
            rng: seed or generator for the draw.

        Returns:
            ``im`` (height, width, 3), the ``target``, and ``annots`` relative to the sample:
            ``aids, cids, rel_cxywh, rel_boxes, rel_kpts, rel_ssegs``, the object at the centre first.

        Raises:
            ArgumentError: if a random one is requested and there are none.
            UnknownIdError: if the index is not a whole number of 0 or more.
            WindowError: if the size of the window, or the pad, is not a sane size.

        Example:
            >>> sample = DynamicToySampler(10).load_positive(pad=(10, 20), window_dims=(64, 100))
            >>> sample["im"].shape
            (84, 140, 3)
            >>> bool(sample["target"]["category_id"] == sample["annots"]["cids"][0])
            True
        """
        index = self._draw(self._n_positives, rng) if index is None else _as_index(index, "index")
        return self._make_sample(2 * index, pad, window_dims)

    @fork_safe
    def load_negative(
        self,
        index: int | None = None,
        pad: Any = None,
        window_dims: tuple[int, int] | None = None,
        rng: Rng = None,
    ) -> dict[str, Any]:
        """Return a window without an object at its center.

        Args:
            index: which one, from 0; None draws one. Equal indexes give equal samples.
            pad: pixels to add on each side: a number, or (height, width).
            window_dims: (height, width) of the window in pixels; by default those of ``gsize``.
            rng: seed or generator for the draw.

        Returns:
            See :meth:`load_positive`; the target's ``aid`` is -1, and its category is the background.

        Raises:
            ArgumentError: if a random one is requested and there are none.
            UnknownIdError: if the index is not a whole number of 0 or more.
            WindowError: if the size of the window, or the pad, is not a sane size.

        Example:
            >>> sampler = DynamicToySampler(10)
            >>> target = sampler.load_negative()["target"]
            >>> (target["aid"], sampler.lookup_class_name(target["category_id"]))
            (-1, 'background')
        """
        index = self._draw(self._n_positives, rng) if index is None else _as_index(index, "index")
        return self._make_sample(2 * index + 1, pad, window_dims)

    @property
    def _all_cats(self) -> list[dict[str, Any]]:
        return [*self._cats, self._background]

    def _depends(self) -> list[Any]:
        """Return the values that determine the images of this sampler."""
        return [self._n_positives, self._key, self._dims, [(c["name"], c["id"]) for c in self._all_cats]]

    def _lookup(self, key: str, value: Any) -> dict[str, Any]:
        for cat in self._all_cats:
            if cat[key] == value:
                return cat
        known = [cat[key] for cat in self._all_cats]
        raise UnknownIdError(f"no category has the {key} {value!r}; expected one of {known}")

    def _draw(self, total: int, rng: Rng) -> int:
        """Return a random number below ``total``, from this sampler's own generator if none is given."""
        if total == 0:
            raise ArgumentError(
                "cannot draw from a sampler with 0 positives; pass an index, or set n_positives > 0"
            )
        return int((self._own_rng() if rng is None else ensure_rng(rng)).randint(0, total))

    def _own_rng(self) -> np.random.RandomState:
        """Return the random state of this sampler, which differs between worker processes."""
        here = ProcessMark.here()
        if here != self._origin:
            self._rng = here.own_state(self._rng, self._origin)
            self._origin = here
        return self._rng

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._origin = self._origin.moved()

    def _counts(self, gids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of objects in each image."""
        noise = mix_bits(self._key, gids, stream=1)
        lows, highs = np.array([POSITIVE_COUNTS, NEGATIVE_COUNTS], dtype=np.uint64).T
        kind = gids % 2
        result: NDArray[np.int64] = (lows[kind] + noise % (highs[kind] - lows[kind] + np.uint64(1))).astype(
            np.int64
        )
        return result

    def _make_image(
        self, gid: int, dims: tuple[int, int], center: tuple[float, float]
    ) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
        """Return the pixels of an image and its annotations, starting with the one at the center."""
        gids = np.array([gid])
        rng = np.random.RandomState(mix_bits(self._key, gids, stream=0).astype(np.uint32))
        boxes = plan_boxes(rng, dims, center, int(self._counts(gids)[0]), with_center=gid % 2 == 0)
        cats = [self._cats[i] for i in rng.randint(0, len(self._cats), size=len(boxes))]
        imdata, anns = draw_objects(rng, dims, boxes, [cat["name"] for cat in cats])
        for offset, (ann, cat) in enumerate(zip(anns, cats, strict=True)):
            ann.update(id=gid * AIDS_PER_IMAGE + 1 + offset, image_id=gid, category_id=cat["id"])
        return imdata, anns

    def _make_sample(self, gid: int, pad: Any, window_dims: tuple[int, int] | None) -> dict[str, Any]:
        """Return the sample whose window, including its margins, is a whole image."""
        height, width = self._dims if window_dims is None else _as_dims(window_dims, "window_dims")
        (top, bottom), (left, right) = normalize_pad(pad)
        dims = (height + top + bottom, width + left + right)
        check_affordable(dims, np.dtype(np.float32).itemsize, 3, "the window with its pad")
        center = (left + width / 2, top + height / 2)
        imdata, anns = self._make_image(gid, dims, center)
        positive = gid % 2 == 0
        target = {
            "aid": anns[0]["id"] if positive else -1,
            "gid": gid,
            "rel_cx": center[0],
            "rel_cy": center[1],
            "cx": center[0],
            "cy": center[1],
            "width": width,
            "height": height,
            "category_id": anns[0]["category_id"] if positive else self.BACKGROUND_CLASS_ID,
        }
        return {"im": imdata, "target": target, "annots": _as_annots(anns, self._keypoint_names())}

    def _keypoint_names(self) -> list[str]:
        """Return the sorted names of the keypoints of the shapes of this sampler."""
        return sorted({name for cat in self._cats for name in cat.get("keypoints", [])})


def _as_annots(anns: list[dict[str, Any]], keypoint_names: list[str]) -> dict[str, Any]:
    """Return annotations in the format of samples."""
    import kwimage

    boxes = kwimage.Boxes(np.array([ann["bbox"] for ann in anns], dtype=np.float64).reshape(-1, 4), "xywh")
    boxes = boxes.to_cxywh()
    points = [kwimage.Points.from_coco(ann["keypoints"], classes=keypoint_names) for ann in anns]
    polys = [kwimage.MultiPolygon.coerce(ann["segmentation"]) for ann in anns]
    return {
        "aids": np.array([ann["id"] for ann in anns], dtype=np.int64),
        "cids": np.array([ann["category_id"] for ann in anns], dtype=np.int64),
        "rel_cxywh": boxes.data,
        "rel_boxes": boxes,
        "rel_kpts": kwimage.PointsList(points, meta={"classes": keypoint_names}),
        "rel_ssegs": kwimage.PolygonList(polys),
    }


def _as_dims(dims: Any, what: str) -> tuple[int, int]:
    """Check two sides in pixels and return them as ``int``.

    Raises:
        WindowError: if they are not two whole numbers in the valid range.
    """
    sides = tuple(dims) if isinstance(dims, Iterable) and not isinstance(dims, str) else ()
    if len(sides) != 2:
        raise WindowError(f"{what} is {dims!r}; expected a pair of whole numbers of pixels")
    height, width = (as_int(side, what) for side in sides)
    if min(height, width) < MIN_SIDE:
        raise WindowError(
            f"{what} is {dims!r}; expected sides of {MIN_SIDE} pixels or more, so that shapes can be drawn"
        )
    check_affordable((height, width), np.dtype(np.float32).itemsize, 3, what)
    return height, width


def _as_index(value: Any, what: str) -> int:
    """Check a whole number of 0 or more and return it as ``int``.

    Raises:
        UnknownIdError: if it is not a whole number of 0 or more.
    """
    if isinstance(value, (int, np.integer)) and operator.index(value) >= 0:
        return operator.index(value)
    raise UnknownIdError(f"{what} is {value!r}; expected a whole number of 0 or more")


def _object_categories(categories: Any) -> list[dict[str, Any]]:
    """Return the categories to draw as COCO dictionaries.

    Raises:
        ArgumentError: if there are none.
        UnknownOptionError: if there is no shape with one of the names.
    """
    from kwcoco.demo.toypatterns import CategoryPatterns

    given = None if categories is None else list(categories)
    names = [cat if isinstance(cat, str) else cat["name"] for cat in given or []]
    foreign = sorted(set(names) - {*DRAWABLE, "background"})
    if foreign:
        raise UnknownOptionError(f"there are no shapes named {foreign}; expected some of {list(DRAWABLE)}")
    if given is not None and not set(names) - {"background"}:
        raise ArgumentError(f"categories are {categories!r}; expected at least one shape of {list(DRAWABLE)}")
    return list(CategoryPatterns.coerce(given).categories)


def _background_category(cats: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the category of negatives: the given one, or else a new one with the first free id."""
    used = {cat["id"]: cat["name"] for cat in cats}
    given = [cid for cid, name in used.items() if name == "background"]
    return {
        "name": "background",
        "id": given[0] if given else next(i for i in itertools.count() if i not in used),
    }
