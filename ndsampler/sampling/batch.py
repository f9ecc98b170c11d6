"""
Loading many samples at once: their windows are read together, and the other steps are those of one sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ndsampler.errors import ArgumentTypeError
from ndsampler.frames.batch import FrameRead, read_batch
from ndsampler.frames.batch_output import check_threads, output_places, put_pixels
from ndsampler.sampling.annots import load_annots, parse_request
from ndsampler.sampling.assemble import assemble_sample
from ndsampler.sampling.native import video_channels
from ndsampler.sampling.read import describe_pixels, frame_grid, read_frames
from ndsampler.sampling.resolve import resolve_region
from ndsampler.sampling.target import normalize_target, take_arguments
from ndsampler.sampling.unedited import resolve_unedited
from ndsampler.utils.fork_safety import fork_safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from typing_extensions import Unpack

    from ndsampler.coco_frames import CocoFrames
    from ndsampler.coco_regions import CocoRegions
    from ndsampler.isect_indexer import FrameIntersectionIndex
    from ndsampler.sampling.annots import AnnotRequest
    from ndsampler.sampling.finish import FramePixels
    from ndsampler.sampling.region import FrameRequest, SampleRegion
    from ndsampler.sampling.shapes import GeometryStore
    from ndsampler.types import MovedArguments, Sample, Target, WithAnnots

#: For each frame of a region, the request and its result: pixels, an error, or None for a frame outside the
#: video.
FrameResults: TypeAlias = "list[tuple[FrameRequest, NDArray[Any] | Exception | None]]"


@dataclass(frozen=True, eq=False)
class Resolved:
    """A target after step 2."""

    index: FrameIntersectionIndex | None
    """The annotations of the dataset; None if none are requested."""
    region: SampleRegion
    """The region."""
    target: dict[str, Any]
    """The target with the inferred keys."""


class BatchLoading:
    """Base class of samplers that load many samples at once."""

    dset: Any
    """The dataset."""
    frames: CocoFrames
    """The frames, which read the files."""
    regions: CocoRegions
    """The regions, which contain the annotations."""

    if TYPE_CHECKING:

        @property
        def _geometries(self) -> GeometryStore:
            """The parsed polygons and keypoints."""

    @fork_safe
    def load_samples(
        self,
        targets: Iterable[Target | Mapping[str, Any]],
        out: Any = None,
        threads: int = 0,
        *,
        with_annots: WithAnnots = True,
        annot_ids: Iterable[int] | None = None,
        visible_thresh: float = 0.0,
        **kwargs: Unpack[MovedArguments],
    ) -> list[Sample]:
        """Load many samples in less time than one by one with :meth:`load_sample`.

        Each file is opened once. Overlapping windows are decoded once, if their common region has no more
        pixels than the separate windows. This applies to windows at full resolution if their channels are in
        one file on the grid of the image or video. Other windows are read one by one.

        In addition to the samples, this takes up to 32 MB of memory for each thread.

        Args:
            targets: the targets; see :meth:`load_sample`.
            out: array that the pixels are written to; ``im`` of each sample is then a view into it. Its shape
                is (N, ...) with the shape of ``im``, and its type that of the pixels. Objects that numpy
                accepts as an array, such as a tensor on the CPU, are allowed.
            threads: number of threads that read files; 0 for the calling thread.
            with_annots: see :meth:`load_sample`. This and the following arguments apply to all targets.
            annot_ids: see :meth:`load_sample`.
            visible_thresh: see :meth:`load_sample`.
            **kwargs: see :meth:`load_sample`.

        Returns:
            The samples in the order of the targets.

        Raises:
            NDSamplerError: the error of the first target that cannot be loaded: see :meth:`load_sample`.
            ArgumentError: if the pixels of a sample do not fit into ``out``, or ``threads`` is not a number
                of threads.

        Example:
            >>> import numpy as np
            >>> from ndsampler import CocoSampler
            >>> self = CocoSampler.demo('shapes8')
            >>> targets = [{'gid': 1, 'slices': (slice(0, 64), slice(i, i + 64))} for i in (0, 32)]
            >>> out = np.zeros((2, 64, 64, 3), np.uint8)
            >>> samples = self.load_samples(targets, out=out, with_annots=False)
            >>> bool((out[0, :, 32:] == out[1, :, :32]).all()), samples[1]['im'].base is out
            (True, True)
        """
        request = parse_request(with_annots, annot_ids, visible_thresh)
        listed, threads = list_targets(targets), check_threads(threads)
        places = None if out is None else output_places(out, len(listed))
        samples = []
        for number, sample in enumerate(self._load_each(listed, kwargs, request, places, threads)):
            if places is not None:
                sample["im"] = put_pixels(sample["im"], places[number], number)
            samples.append(sample)
        return samples

    def _load_each(
        self,
        targets: Sequence[Any],
        kwargs: Mapping[str, Any],
        request: AnnotRequest | None,
        places: list[NDArray[Any]] | None,
        threads: int,
    ) -> Iterator[Sample]:
        """Yield samples whose windows are read together, with pixels in the given arrays if they fit.

        Args:
            targets: the targets.
            kwargs: further arguments of :meth:`load_samples`.
            request: which annotations to include.
            places: an array for the pixels of each sample; None for new arrays.
            threads: number of threads that read files.
        """
        resolved, failure = self._resolve_all(targets, kwargs, request)
        reads = _read_all([item.region for item in resolved], self.frames, places, threads)
        for item in resolved:
            # Remove the pixels from the list, so that they are freed after they have been cast or copied.
            yield self._assemble(item, reads.pop(), request)
        if failure is not None:
            raise failure

    def _resolve_all(
        self, targets: Sequence[Any], kwargs: Mapping[str, Any], request: AnnotRequest | None
    ) -> tuple[list[Resolved], Exception | None]:
        """Resolve targets up to the first that cannot be resolved; return its error too."""
        resolved: list[Resolved] = []
        try:
            for target in targets:
                given = take_arguments(target, kwargs) if kwargs else target
                resolved.append(self._resolve(given, request))
        except Exception as ex:  # an earlier target may fail later; its error must be raised first
            return resolved, ex
        return resolved, None

    def _resolve(self, target: Any, request: AnnotRequest | None) -> Resolved:
        """Resolve one target: steps 1 and 2."""
        if request is None:
            return Resolved(None, *resolve_region(normalize_target(target, self.dset), self.frames))
        return Resolved(*resolve_unedited(target, self.dset, self.frames, self.regions))

    def _assemble(self, item: Resolved, read: FrameResults | None, request: AnnotRequest | None) -> Sample:
        """Return the sample of a resolved target.

        Args:
            item: the target.
            read: the results for each frame; None to read the frames now.
            request: which annotations to include.
        """
        region, annots = item.region, None
        frames = read_frames(region, self.frames) if read is None else _describe(read, self.frames)
        if request is not None and item.index is not None:
            annots = load_annots(region, item.index, self._geometries, request)
        kp_classes = self._geometries.kp_classes
        return assemble_sample(region, item.target, frames, annots, self.regions.classes, kp_classes)


@fork_safe
def load_near(sampler: BatchLoading, targets: Sequence[Any], places: Any, with_annots: Any) -> list[Sample]:
    """Load samples like :meth:`BatchLoading.load_samples`, with pixels in a given array if they fit.

    Args:
        sampler: loads the samples.
        targets: the targets.
        places: (N, height, width, channels) array for the pixels. Samples with another shape or type, and
            samples whose pixels are changed after reading, get their own arrays. None for new arrays.
        with_annots: as in :meth:`BatchLoading.load_samples`.
    """
    request = parse_request(with_annots, None, 0.0)
    return list(sampler._load_each(targets, {}, request, None if places is None else list(places), 0))


def list_targets(targets: Any) -> list[Any]:
    """Check a collection of targets and return it as a list.

    Args:
        targets: the argument of the user.

    Raises:
        ArgumentTypeError: if it is a single target, or not a collection.
    """
    if isinstance(targets, (Mapping, str)) or not isinstance(targets, Iterable):
        raise ArgumentTypeError(f"targets is {targets!r}; expected a list of targets")
    return list(targets)


def _read_all(
    regions: Sequence[SampleRegion], frames: CocoFrames, places: list[NDArray[Any]] | None, threads: int
) -> list[FrameResults | None]:
    """Read the frames of regions together: step 3 for all samples.

    Returns:
        The results for each region, the last region first; None for a region that must be read alone.
    """
    requests = [_frame_requests(region, frames) for region in regions]
    reads: list[FrameRead] = []
    for number, of_region in enumerate(requests):
        dest = None if places is None or regions[number].is_video else places[number]
        for request in of_region or ():
            if request.layout is not None:
                reads.append(FrameRead(request.layout, frame_grid(request), request.channels, dest))
    results = iter(read_batch(frames.reader, reads, threads))
    found: list[FrameResults | None] = [
        None
        if of_region is None
        else [(request, None if request.layout is None else next(results)) for request in of_region]
        for of_region in requests
    ]
    return found[::-1]


def _describe(read: FrameResults, frames: CocoFrames) -> list[FramePixels]:
    """Return the frames of a sample.

    Raises:
        NDSamplerError: if one could not be read.
    """
    described = []
    for request, result in read:
        if isinstance(result, Exception):
            raise result
        described.append(describe_pixels(result, request, frames))
    return described


def _frame_requests(region: SampleRegion, frames: CocoFrames) -> list[FrameRequest] | None:
    """Return a request for each frame; None for a region that must be read alone, or cannot be read."""
    if region.is_lazy or region.is_native or not (region.options.padkw is None or region.lies_inside):
        return None
    try:
        channels = video_channels(region, frames) if region.is_video else region.options.channels
    except Exception:  # reading it alone raises the same error
        return None
    return region.frame_requests(channels)
