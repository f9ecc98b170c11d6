"""
Step 3 for ``finalize=False``: frames as kwcoco's delayed images, which read when they are finalized.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ndsampler.abstract_frames import Frames
    from ndsampler.frames.layout import Asset, FrameLayout
    from ndsampler.sampling.window import SampleRegion


def delay_frames(region: SampleRegion, names: tuple[str, ...], frames: Frames) -> list[Any]:
    """Return the window of every frame of a region as a delayed image.

    Nothing but the headers of files is read. Each image reads through the cache of ``frames``, the
    region that its operations ask for.

    Args:
        region: frames and window; of its options, channels and scale.
        names: channels.
        frames: reads them.

    Returns:
        A ``delayed_image.DelayedChannelConcat`` for each frame.
    """
    return [_delay_frame(layout, warp, names, region, frames) for layout, warp in region.warped_layouts]


def _delay_frame(
    layout: FrameLayout | None, warp: Any, names: tuple[str, ...], region: SampleRegion, frames: Frames
) -> Any:
    """Return the window of one frame as a delayed image."""
    import kwimage
    from delayed_image import DelayedChannelConcat, DelayedNans
    from delayed_image.channel_spec import FusedChannelSpec

    channels = FusedChannelSpec.coerce("|".join(names))
    height, width = region.sample_dims
    if layout is None:
        return DelayedChannelConcat([DelayedNans((width, height), channels)])
    rows, cols = frames.reader.dims(layout)
    leaves = [_delay_asset(layout, asset, (cols, rows), frames) for asset in layout.assets]
    image = DelayedChannelConcat(leaves).take_channels(channels)
    space_rows, space_cols = region.data_dims[-2:]
    if warp is not None:
        image = image.warp(kwimage.Affine(warp), dsize=(space_cols, space_rows))
    box = region.padded_box
    image = image.crop(box.slices, clip=False, wrap=False)
    if region.options.is_scaled:
        image = image.warp(kwimage.Affine(region.options.scale_matrix), dsize=(width, height))
    return image if isinstance(image, DelayedChannelConcat) else DelayedChannelConcat([image])


def _delay_asset(layout: FrameLayout, asset: Asset, dsize: tuple[int, int], frames: Frames) -> Any:
    """Return one file of a frame, on the frame's grid."""
    import kwimage
    from delayed_image import DelayedIdentity
    from delayed_image.channel_spec import FusedChannelSpec

    view = frames.reader.view(layout, asset)
    names = frames.reader.asset_channels(layout, asset)
    leaf = DelayedIdentity(view, FusedChannelSpec.coerce("|".join(names)))
    if asset.warp_img_from_asset is None:
        return leaf
    return leaf.warp(kwimage.Affine(asset.warp_img_from_asset), dsize=dsize)
