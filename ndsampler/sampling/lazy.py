"""
Step 3 for ``finalize=False``: frames as delayed images, which read their pixels when they are finalized.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndsampler.frames.specs import fused_spec

if TYPE_CHECKING:
    from ndsampler.abstract_frames import Frames
    from ndsampler.frames.layout import Asset, FrameLayout
    from ndsampler.sampling.region import FrameRequest


def delay_frame(request: FrameRequest, frames: Frames) -> Any:
    """Return the window of a frame as a delayed image.

    Only the headers of files are read. The image reads through the cache of ``frames``, and only the region
    that its operations need.

    Args:
        request: the frame, its window, channels and scale.
        frames: reads the files.

    Returns:
        A ``delayed_image.DelayedChannelConcat``.
    """
    import kwimage
    from delayed_image import DelayedChannelConcat, DelayedNans

    region, layout = request.region, request.layout
    channels = fused_spec(request.channels)
    height, width = region.sample_dims
    if layout is None:
        return DelayedChannelConcat([DelayedNans((width, height), channels)])
    rows, cols = frames.reader.dims(layout)
    leaves = [_delay_asset(layout, asset, (cols, rows), frames) for asset in layout.assets]
    image = DelayedChannelConcat(leaves).take_channels(channels)
    space_rows, space_cols = region.data_dims[-2:]
    if request.warp_space_from_img is not None:
        image = image.warp(kwimage.Affine(request.warp_space_from_img), dsize=(space_cols, space_rows))
    image = image.crop(region.padded_box.slices, clip=False, wrap=False)
    if region.options.is_scaled:
        image = image.warp(kwimage.Affine(region.options.scale_matrix), dsize=(width, height))
    return image if isinstance(image, DelayedChannelConcat) else DelayedChannelConcat([image])


def _delay_asset(layout: FrameLayout, asset: Asset, dsize: tuple[int, int], frames: Frames) -> Any:
    """Return one file of a frame as a delayed image on the grid of the frame."""
    import kwimage
    from delayed_image import DelayedIdentity

    view = frames.reader.view(layout, asset)
    names = frames.reader.asset_channels(layout, asset)
    leaf = DelayedIdentity(view, fused_spec(names))
    if asset.warp_img_from_asset is None:
        return leaf
    return leaf.warp(kwimage.Affine(asset.warp_img_from_asset), dsize=dsize)
