"""
The assets of a frame, their bands, and their transforms to the image.

These functions plan which bands to read; :mod:`ndsampler.frames.reader` reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ndsampler.cache.identity import Source
from ndsampler.errors import TargetError, UnknownChannelError
from ndsampler.frames.specs import spec_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Names of the bands of a file for which the dataset states no channels, by the number of bands.
DEFAULT_CHANNELS = {1: ("gray",), 2: ("gray", "a"), 3: ("r", "g", "b"), 4: ("r", "g", "b", "a")}

#: Maximum number of channels that a code such as ``'x.0:1024'`` may select.
MAX_CHANNELS = 65_536

#: Selects every channel of a frame.
ALL_CHANNELS = "<all>"


def default_channels(count: int) -> tuple[str, ...]:
    """Return names for the bands of a file for which the dataset states no channels.

    Example:
        >>> default_channels(3), default_channels(5)[:2]
        (('r', 'g', 'b'), ('u0', 'u1'))
    """
    return DEFAULT_CHANNELS.get(count) or tuple(f"u{index}" for index in range(count))


@dataclass(frozen=True, eq=False)
class Asset:
    """One file of a frame."""

    source: Source
    """The file."""
    channels: tuple[str, ...] | None = None
    """A name for each band; None if the dataset states none."""
    warp_img_from_asset: NDArray[Any] | None = None
    """3x3 matrix from the pixels of the file to those of the image; None for the identity."""
    dims: tuple[int, int] | None = None
    """(height, width) that the dataset states for the file; None if it states none."""

    @property
    def path(self) -> str:
        """Absolute path of the file."""
        return self.source.path


@dataclass(frozen=True, eq=False)
class FrameLayout:
    """The assets of one frame."""

    gid: Any
    """Image id."""
    assets: tuple[Asset, ...]
    """The assets in the order of the dataset; the image's own file, if it has one, is the first."""
    dims: tuple[int, int] | None = None
    """(height, width) that the dataset states for the image; None if it states none."""
    warp_vid_from_img: NDArray[Any] | None = None
    """3x3 matrix from the pixels of the image to those of the video; None for the identity."""
    has_own_file: bool = True
    """Whether the image has a file of its own. The bands of that file are then the default channels."""
    folder: str | None = None
    """The folder to which file names of the dataset are relative; None without a dataset."""

    @property
    def is_plain(self) -> bool:
        """Whether the default channels are the bands of one file on the image's own grid."""
        return self.has_own_file and self.assets[0].warp_img_from_asset is None

    @property
    def default_assets(self) -> tuple[Asset, ...]:
        """The assets with the default channels: the image's own file if it has one, else all assets."""
        return self.assets[:1] if self.has_own_file else self.assets


@dataclass(frozen=True)
class BandRead:
    """The bands to read from one asset, and their positions in the output."""

    asset: Asset
    """The file."""
    bands: tuple[int, ...]
    """Indexes of the bands in the file."""
    places: tuple[int, ...]
    """The positions of the bands among the requested channels."""


@dataclass(frozen=True)
class ReadPlan:
    """The reads that give the requested channels of one frame."""

    reads: tuple[BandRead, ...]
    """One for each asset that has requested channels."""
    channels: tuple[str, ...]
    """Channel names in the order of the output."""
    missing: tuple[int, ...] = field(default=())
    """Positions of requested channels that the frame does not have."""


def parse_channels(request: Any) -> tuple[str, ...] | str | None:
    """Return a request for channels as names.

    Args:
        request: None (or kwcoco's ``NoParam``) for the default; ``'<all>'``; a code such as
            ``'r|g|b'``; a list of codes; a ``ChannelSpec`` or ``FusedChannelSpec``.

    Returns:
        Names in the requested order, :data:`ALL_CHANNELS`, or None for the default.

    Raises:
        TargetError: if the request has another type, no channel, too many, or the same channel twice.

    Example:
        >>> parse_channels('B1|B8')
        ('B1', 'B8')
    """
    if request is None or type(request).__name__ == "NoParamType":
        return None
    if isinstance(request, str) and request == ALL_CHANNELS:
        return ALL_CHANNELS
    BaseChannelSpec, FusedChannelSpec = spec_classes()
    if isinstance(request, (list, tuple)):
        names = [name for item in request for name in parse_channels(item) or ()]
    elif isinstance(request, (str, BaseChannelSpec)):
        try:
            spec = (
                request.fuse() if isinstance(request, BaseChannelSpec) else FusedChannelSpec.coerce(request)
            )
            if spec.numel() > MAX_CHANNELS:
                raise ValueError(
                    f"this code selects {spec.numel()} channels; expected at most {MAX_CHANNELS}"
                )
            names = list(spec.normalize().as_list())
        except (ValueError, TypeError, KeyError, OverflowError) as ex:
            raise TargetError(f"channels is {request!r}; expected a code such as 'r|g|b': {ex}") from ex
    else:
        raise TargetError(
            f"channels is {request!r}; expected a code such as 'r|g|b', a list or a ChannelSpec"
        )
    if not names or len(set(names)) != len(names):
        raise TargetError(f"channels is {request!r}; expected one or more names, each once")
    return tuple(names)


def plan_reads(
    layout: FrameLayout,
    names: tuple[str, ...] | str | None,
    counts: dict[str, int],
    *,
    allow_missing: bool = False,
    sort_all: bool = False,
) -> ReadPlan:
    """Choose the assets, and the bands in them, that contain the requested channels.

    Args:
        layout: the assets of the frame.
        names: channels as :func:`parse_channels` returns them.
        counts: number of bands of each asset, by path.
        allow_missing: list channels that the frame lacks in the plan instead of raising an error.
        sort_all: sort the channels of ``'<all>'`` by name, as for video.

    Returns:
        The plan.

    Raises:
        UnknownChannelError: if a channel is missing, unless ``allow_missing``.
    """
    pool = layout.default_assets if names is None else layout.assets
    where: dict[str, tuple[Asset, int]] = {}
    for asset in pool:
        for band, name in enumerate(band_names(asset, counts[asset.path])):
            where.setdefault(name, (asset, band))
    wanted = tuple(sorted(where) if sort_all else where) if names in (None, ALL_CHANNELS) else tuple(names)
    missing = tuple(place for place, name in enumerate(wanted) if name not in where)
    if missing and not allow_missing:
        raise UnknownChannelError(
            f"image {layout.gid} has no channel {wanted[missing[0]]!r}; it has {'|'.join(where)}"
        )
    reads = []
    for asset in pool:
        places = tuple(
            place for place, name in enumerate(wanted) if name in where and where[name][0] is asset
        )
        if places:
            reads.append(BandRead(asset, tuple(where[wanted[place]][1] for place in places), places))
    return ReadPlan(tuple(reads), wanted, missing)


def band_names(asset: Asset, count: int) -> tuple[str, ...]:
    """Return a name for each band of a file.

    Stated names come first, and default names follow for the other bands: the fourth band of an RGBA file for
    which the dataset states ``r|g|b`` is named ``a``.

    Example:
        >>> band_names(Asset(Source('a.png'), ('r', 'g', 'b')), 4)
        ('r', 'g', 'b', 'a')
    """
    if asset.channels is None:
        return default_channels(count)
    stated = asset.channels[:count]
    rest = (
        name
        for name in (*default_channels(count), *(f"u{i}" for i in range(2 * count)))
        if name not in stated
    )
    return stated + tuple(next(rest) for _ in range(count - len(stated)))
