"""
The dataset for torch's data loaders. This module imports torch.
"""

from __future__ import annotations

import operator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ndsampler.errors import ArgumentError, ArgumentTypeError
from ndsampler.sampling.batch import BatchLoading, load_near
from ndsampler.training.labels import label_names, label_numbers
from ndsampler.training.masks import ignore_value
from ndsampler.training.outputs import OutputPlan
from ndsampler.training.permutation import make_key
from ndsampler.training.sample_index import SampleIndex
from ndsampler.training.targets import TRANSFORM, TargetSource
from ndsampler.training.transforms import call_with_keywords, seeded, takes_keywords
from ndsampler.utils.require import require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from ndsampler.coco_sampler import CocoSampler
    from ndsampler.training.order import EpochOrder
    from ndsampler.types import OutputName, Sample, TargetChoice, WindowDims

torch = require("torch", "torch", "ndsampler.training.SampleDataset")

#: Outputs that have the height and width of the image.
MASKS = ("masks", "mask", "valid")


if TYPE_CHECKING:
    from torch.utils.data import Dataset
else:
    Dataset = torch.utils.data.Dataset


class SampleDataset(Dataset[dict[str, Any]]):  # type: ignore[misc, unused-ignore]
    """Windows with their annotations as tensors, for a ``DataLoader``.

    The window, pixels, annotations and augmentation of a sample depend only on the seed, and on the index,
    the epoch and the position in its :class:`ndsampler.training.SampleIndex`. A plain integer is a position
    of epoch 0.

    The outputs follow the conventions of torchvision:

    * ``image``: (channels, height, width), or (time, channels, height, width) of a video
    * ``boxes``: (N, 4) left, top, right, bottom, clipped to the window
    * ``labels``: (N,) integers, where 0 is background: see :attr:`label_names`
    * ``masks``: (N, height, width), 1 inside the object
    * ``mask``: (height, width) labels, and :attr:`ignore_index` outside the image; where objects overlap,
      the smallest is on top: see :func:`ndsampler.training.rasterize`
    * ``keypoints``: (N, keypoint categories, 3) x, y, visibility
    * ``valid``: (height, width), True inside the image
    * ``frame_index``: (N,), the frame of each annotation of a video
    * ``target``: the target, including values that were inferred from it

    Annotations that lie completely outside the window are left out.

    Args:
        sampler: loads the samples.
        targets: ``'positives'`` or ``'pool'``; a grid from ``new_sample_grid``; a list of targets; or a
            function of epoch and position. With any of these, an index of -1 or below is a random negative.
        window_dims: (height, width) of all windows in pixels; None to keep those of the targets.
        outputs: names of the outputs in a sample.
        transform: changes a sample. It is called with the dictionary of outputs, or in the style of
            albumentations: see :func:`ndsampler.training.transforms.takes_keywords`. The global random
            generators of Python, numpy and torch are seeded for each call, and restored afterwards.
        seed: seed of the negatives and the transforms.
        options: further keys of all targets, such as ``{'channels': 'r|g|b'}``.
        tv_tensors: whether images, boxes, masks and keypoints have the types of ``torchvision.tv_tensors``,
            which ``torchvision.transforms.v2`` recognizes. ``keypoints`` then has the shape
            (N, categories, 2), and ``visible`` is a separate output.

    Raises:
        ArgumentError: if there are no targets, or for an unknown pool.
        UnknownOptionError: for an unknown output.

    Example:
        >>> import ndsampler
        >>> dataset = SampleDataset(ndsampler.CocoSampler.demo('shapes8'), 'positives', (64, 48))
        >>> sample = dataset[0]
        >>> sample['image'].shape, sample['boxes'].shape[1], sample['labels'].dtype
        (torch.Size([3, 64, 48]), 4, torch.int64)
    """

    def __init__(
        self,
        sampler: CocoSampler,
        targets: TargetChoice,
        window_dims: WindowDims = None,
        outputs: Sequence[OutputName] = ("image", "boxes", "labels"),
        transform: Callable[..., Any] | None = None,
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
        tv_tensors: bool = False,
    ) -> None:
        self.sampler, self.transform, self.seed = sampler, transform, as_seed(seed)
        self.source = TargetSource(sampler, targets, window_dims, options or {}, self.seed)
        labels = label_numbers(sampler.classes)
        names = outputs if isinstance(outputs, str) else tuple(outputs)
        self.plan = OutputPlan(names, labels, ignore_value(labels), len(sampler.kp_classes))  # type: ignore[arg-type]
        self._keywords = transform is not None and takes_keywords(transform)
        self._tv_tensors = bool(tv_tensors)
        # Shape and type of the images that were loaded last, if they were all the same.
        self._form: tuple[tuple[int, ...], Any] | None = None
        if tv_tensors:
            require("torchvision", "torchvision", "tv_tensors=True")
            if "image" not in names:
                raise ArgumentError("tv_tensors=True needs 'image' among the outputs")

    def __len__(self) -> int:
        """Return the number of targets.

        Raises:
            ArgumentTypeError: if the targets are a function.
        """
        return len(self.source)

    @property
    def label_names(self) -> list[str]:
        """Name of each label; the first is background."""
        return label_names(self.sampler.classes)

    @property
    def ignore_index(self) -> int:
        """Value of ``mask`` that a loss should ignore: 255, or 65535 if there are 255 labels or more."""
        return self.plan.ignore

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hexadecimal digits that identify the dataset, the targets and the window size."""
        return self.source.fingerprint

    def groups(self, key: str | Callable[[dict[str, Any]], Any] = "category_id") -> np.ndarray[Any, Any]:
        """Return a value for each target, for the groups of an :class:`ndsampler.training.EpochOrder`.

        Args:
            key: key of the targets, such as ``'category_id'`` or ``'gid'``, or a function of a target.

        Raises:
            ArgumentTypeError: if the targets are a function.
            KeyError: if a target lacks the key.

        Example:
            >>> import ndsampler
            >>> dataset = SampleDataset(ndsampler.CocoSampler.demo('shapes8'), 'positives')
            >>> len(dataset.groups('gid')) == len(dataset)
            True
        """
        stated = (self.source.stated(SampleIndex(row)) for row in range(len(self)))
        return np.array([target[key] if isinstance(key, str) else key(target) for target in stated])

    def check_order(self, order: EpochOrder) -> None:
        """Check before the first batch that this dataset can load the items of an order.

        Args:
            order: the order of the items that will be loaded.

        Raises:
            ArgumentError: if the order has more items than there are targets, or if it has negatives and no
                image has space for one.
        """
        if not self.source.is_function and order.n > len(self):
            raise ArgumentError(f"the order has {order.n} items; the dataset has only {len(self)} targets")
        if order.has_negatives:
            self.targets_at([SampleIndex(-1)])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample.

        Raises:
            NDSamplerError: as :meth:`ndsampler.CocoSampler.load_sample`.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several samples, and read their windows together.

        Raises:
            NDSamplerError: as :meth:`ndsampler.CocoSampler.load_sample`.
        """
        places = [SampleIndex.coerce(index) for index in indices]
        samples = load_targets(self.sampler, self.targets_at(places), self.plan.with_annots)
        return [self.finish(sample, place) for sample, place in zip(samples, places)]

    def load_into(
        self, indices: Sequence[int], allocate: Callable[..., NDArray[Any]]
    ) -> tuple[list[dict[str, Any]], NDArray[Any] | None]:
        """Return the samples of :meth:`__getitems__`, with their images in one array if that saves a copy.

        It saves a copy if images are not transformed and have the same shape as the previous ones.

        Args:
            indices: indexes of the samples.
            allocate: returns a new array of a given shape and type.

        Returns:
            The samples, and the (N, height, width, channels) array of their images; None instead of the array
            if it would not save a copy.

        Raises:
            NDSamplerError: as :meth:`ndsampler.CocoSampler.load_sample`.
        """
        is_own = type(self).__getitems__ is SampleDataset.__getitems__
        if self.transform is not None or not is_own or not isinstance(self.sampler, BatchLoading):
            return self.__getitems__(indices), None
        places = [SampleIndex.coerce(index) for index in indices]
        targets = self.targets_at(places)
        images = None if self._form is None else allocate((len(targets), *self._form[0]), self._form[1])
        samples = load_near(self.sampler, targets, images, self.plan.with_annots)
        forms = {(np.shape(sample["im"]), getattr(sample["im"], "dtype", None)) for sample in samples}
        self._form = forms.pop() if len(forms) == 1 and "image" in self.plan.names else None
        return [self.finish(sample, place) for sample, place in zip(samples, places)], images

    def targets_at(self, indices: Sequence[SampleIndex]) -> list[dict[str, Any]]:
        """Return the targets that are loaded for some indexes.

        Raises:
            OutOfRangeError: if an index is not below the number of targets.
        """
        return [self.source.target_at(index) for index in indices]

    def finish(self, sample: Sample, index: SampleIndex) -> Any:
        """Convert a loaded sample to the outputs of the dataset, and apply the transform.

        Args:
            sample: the sample of the target at the index.
            index: index of the sample. It seeds the transform.
        """
        arrays = self.plan.make(sample)
        if self.transform is None:
            return self._as_tensors(arrays)
        seed = make_key(self.seed, TRANSFORM, index.epoch, index.g)
        with seeded(seed):
            if self._keywords:
                return self._as_tensors(call_with_keywords(self.transform, arrays, seed))
            changed = self.transform(self._as_tensors(arrays))
        if changed is None:
            raise ArgumentTypeError("the transform returned None; expected the transformed sample")
        return changed

    def _as_tensors(self, arrays: dict[str, Any]) -> dict[str, Any]:
        """Return outputs as tensors."""
        found = {name: _as_tensor(name, value) for name, value in arrays.items()}
        return _as_tv_tensors(found) if self._tv_tensors else found


def as_seed(seed: Any) -> int:
    """Return a seed as an ``int``.

    Raises:
        ArgumentTypeError: if the seed is not an integer.
    """
    try:
        return operator.index(seed)
    except TypeError:
        raise ArgumentTypeError(f"seed is {seed!r}; expected an integer") from None


def load_targets(sampler: Any, targets: list[dict[str, Any]], with_annots: Any) -> list[Sample]:
    """Return the samples of targets, and read them together if the sampler supports it."""
    if len(targets) > 1 and hasattr(sampler, "load_samples"):
        result: list[Sample] = sampler.load_samples(targets, with_annots=with_annots)
        return result
    return [sampler.load_sample(target, with_annots=with_annots) for target in targets]


def _as_tensor(name: str, value: Any) -> Any:
    """Return an output as a tensor. Targets and tensors are returned unchanged.

    Raises:
        ArgumentTypeError: if torch does not support the type of the values.
    """
    if name == "image" and isinstance(value, list):
        return [_as_tensor(name, part) for part in value]
    if not isinstance(value, np.ndarray):
        return value
    if name == "image" and value.ndim > 2:
        value = value.transpose(*range(value.ndim - 3), -1, -3, -2)
    try:
        tensor = torch.from_numpy(value)
    except TypeError as ex:
        raise ArgumentTypeError(
            f"torch has no type for {name} of {value.dtype}; choose another one with "
            "options={'dtype': 'int32'}"
        ) from ex
    return tensor.long() if name == "mask" else tensor


def _as_tv_tensors(found: dict[str, Any]) -> dict[str, Any]:
    """Return outputs in the types of torchvision."""
    from torchvision import tv_tensors

    image = found["image"]
    dims = tuple(image.shape[-2:])
    typed = {**found, "image": tv_tensors.Video(image) if image.ndim == 4 else tv_tensors.Image(image)}
    typed.update({name: tv_tensors.Mask(found[name]) for name in MASKS if name in found})
    if "boxes" in found:
        typed["boxes"] = tv_tensors.BoundingBoxes(found["boxes"], format="XYXY", canvas_size=dims)
    if "keypoints" in found:
        typed["keypoints"] = tv_tensors.KeyPoints(found["keypoints"][..., :2], canvas_size=dims)
        typed["visible"] = found["keypoints"][..., 2]
    return typed
