"""Draw one window in the four spaces: python docs/figures/four_spaces.py OUTPUT.png."""

from __future__ import annotations

import pathlib
import sys
import tempfile

import kwcoco
import kwimage
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

import ndsampler
from ndsampler.demo.landscape import make_scene

SEED = 327

#: (height, width) of the video, of its frame, and of the frame's second file.
VIDEO_DIMS, IMAGE_DIMS, HEAT_DIMS = (300, 400), (235, 315), (36, 47)

#: What the sample shows, in pixels of the video, and by how much it is enlarged.
WINDOW, SCALE = (slice(50, 134), slice(98, 210)), 2

WHITE, BLUE = "#ffffff", "#2fd0ff"

VID_FROM_IMG = kwimage.Affine.affine(scale=0.92, theta=0.28, offset=(78, 2))
IMG_FROM_HEAT = kwimage.Affine.affine(scale=6.2, offset=(12, 7))


def corners(height: float, width: float, x: float = 0, y: float = 0) -> np.ndarray:
    """Return the outline of a rectangle, closed."""
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height], [x, y]])


def look_at(scene: np.ndarray, scene_from_grid: kwimage.Affine, dims: tuple[int, int]) -> np.ndarray:
    """Return what a camera with this grid sees of the scene."""
    warp = scene_from_grid.inv()
    return kwimage.warp_affine(scene, warp, dsize=dims[::-1], antialias=True, origin_convention="corner")


def make_files(folder: pathlib.Path) -> tuple[dict[str, np.ndarray], list[dict]]:
    """Write a color and a thermal picture of one scene; return them and an annotation of the image."""
    scene = make_scene(2 * VIDEO_DIMS[1], 2 * VIDEO_DIMS[0], seed=SEED)
    painted = scene.rows(0, scene.height)
    scene_from_vid = kwimage.Affine.scale(2)
    scene_from_img = scene_from_vid @ VID_FROM_IMG
    color = look_at(painted, scene_from_img, IMAGE_DIMS)
    warmth = 255 - painted.astype(np.float32) @ np.array([0.2, 0.9, -0.1], np.float32)
    heat = look_at(warmth.clip(0, 255).astype(np.uint8), scene_from_img @ IMG_FROM_HEAT, HEAT_DIMS)
    kwimage.imwrite(folder / "color.png", color)
    kwimage.imwrite(folder / "heat.png", heat)
    return {"color": color, "heat": heat}, annotate(scene, scene_from_vid, scene_from_img)


def annotate(scene: object, scene_from_vid: kwimage.Affine, scene_from_img: kwimage.Affine) -> list[dict]:
    """Return an annotation of the largest object inside the window, in pixels of the image."""
    rows, cols = WINDOW
    low = np.array([cols.start, rows.start]) * 2 + 8
    high = np.array([cols.stop, rows.stop]) * 2 - 8
    best, size = None, 0.0
    for thing in scene.annotated:  # type: ignore[attr-defined]
        outline = np.asarray(thing.outline, float)
        area = float(np.prod(np.ptp(outline, axis=0)))
        if (outline > low).all() and (outline < high).all() and area > size:
            best, size = outline, area
    polygon = kwimage.Polygon(exterior=best).warp(scene_from_img.inv())
    box = polygon.box().to_xywh().data
    return [{"bbox": [float(v) for v in box], "segmentation": polygon.to_coco(style="new")}]


def make_sampler(folder: pathlib.Path, annotations: list[dict]) -> ndsampler.CocoSampler:
    """Return a sampler of a video whose one frame is made of the two files."""
    assets = [
        {"file_name": "color.png", "channels": "r|g|b"},
        {"file_name": "heat.png", "channels": "heat", "warp_aux_to_img": IMG_FROM_HEAT.concise()},
    ]
    image = {"id": 1, "name": "frame", "video_id": 1, "frame_index": 0, "assets": assets}
    image |= {"width": IMAGE_DIMS[1], "height": IMAGE_DIMS[0], "warp_img_to_vid": VID_FROM_IMG.concise()}
    content = {
        "videos": [{"id": 1, "name": "video", "width": VIDEO_DIMS[1], "height": VIDEO_DIMS[0]}],
        "images": [image],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **ann} for ann in annotations],
        "categories": [{"id": 1, "name": "object"}],
    }
    return ndsampler.CocoSampler(kwcoco.CocoDataset(content, bundle_dpath=folder))


def show(axes: Axes, pixels: np.ndarray, title: str, subtitle: str) -> None:
    """Draw pixels with their corner at (0, 0), as coordinates count."""
    height, width = pixels.shape[:2]
    cmap = {"cmap": "inferno"} if pixels.ndim == 2 or pixels.shape[2] == 1 else {}
    axes.imshow(np.squeeze(pixels), extent=(0, width, height, 0), interpolation="nearest", **cmap)
    axes.set_title(title, fontsize=9.5, fontweight="bold", pad=4)
    axes.set_xlabel(subtitle, fontsize=7.5, color="#444444", labelpad=3)
    axes.set_xticks([])
    axes.set_yticks([])


def outline(axes: Axes, points: np.ndarray, warp: kwimage.Affine, color: str, width: float = 1.8) -> None:
    """Draw an outline given in pixels of the image."""
    x, y = kwimage.warp_points(warp.matrix, points).T
    shade = [patheffects.Stroke(linewidth=width + 1.8, foreground="#000000"), patheffects.Normal()]
    axes.plot(x, y, color=color, lw=width, solid_joinstyle="miter", path_effects=shade)


def arrow(figure: Figure, start: Axes, end: Axes, text: str, at: float) -> None:
    """Draw an arrow from one panel to the next, its name at a height of the figure."""
    a, b = start.get_position(), end.get_position()
    middle = b.y0 + b.height / 2
    y = min(max(middle, a.y0 + 0.35 * a.height), a.y1 - 0.35 * a.height)
    xy = ((a.x1 + 0.006, y), (b.x0 - 0.006, min(max(y, b.y0 + 0.4 * b.height), b.y1 - 0.4 * b.height)))
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "lw": 1.6, "color": "#333333"}
    figure.add_artist(FancyArrowPatch(*xy, transform=figure.transFigure, **style))
    x = (a.x1 + b.x0) / 2
    figure.text(x, at, text, ha="center", va="center", fontsize=7.5, family="monospace")


def draw(output: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files, annotations = make_files(pathlib.Path(folder))
        sampler = make_sampler(pathlib.Path(folder), annotations)
        target = {"vidid": 1, "channels": "r|g|b", "scale": SCALE}
        sample = sampler.load_sample({**target, "space_slice": WINDOW})
        heat = sampler.load_sample({**target, "space_slice": WINDOW, "channels": "heat"})["im"][0]
        video = sampler.load_sample({**target, "scale": 1}, with_annots=False)["im"][0]
    seen = kwimage.warp_affine(
        np.ones(IMAGE_DIMS, np.uint8), VID_FROM_IMG, dsize=VIDEO_DIMS[::-1], origin_convention="corner"
    )
    video = np.where(seen[..., None] > 0, video, 232).astype(np.uint8)

    rows, cols = WINDOW
    img_from_vid = VID_FROM_IMG.inv()
    window = kwimage.warp_points(
        img_from_vid.matrix,
        corners(rows.stop - rows.start, cols.stop - cols.start, cols.start, rows.start).astype(float),
    )
    (ring,) = [ann["segmentation"]["exterior"] for ann in annotations]
    ring_of_object = np.array([*ring, ring[0]], float)
    sample_from_vid = kwimage.Affine(np.linalg.inv(sample["params"]["tf_rel_to_abs"]))

    figure = plt.figure(figsize=(9.6, 4.0), dpi=120)
    panels = {
        "color": figure.add_axes((0.012, 0.555, 0.17, 0.37)),
        "heat": figure.add_axes((0.012, 0.065, 0.17, 0.37)),
        "image": figure.add_axes((0.275, 0.27, 0.19, 0.46)),
        "video": figure.add_axes((0.548, 0.26, 0.2, 0.46)),
        "sample": figure.add_axes((0.842, 0.555, 0.152, 0.36)),
        "sample2": figure.add_axes((0.842, 0.075, 0.152, 0.36)),
    }
    height, width = sample["im"].shape[1:3]
    show(panels["color"], files["color"], "asset", f"color.png, {IMAGE_DIMS[1]} × {IMAGE_DIMS[0]}")
    show(panels["heat"], files["heat"], "asset", f"heat.png, {HEAT_DIMS[1]} × {HEAT_DIMS[0]}")
    show(panels["image"], files["color"], "image", f"{IMAGE_DIMS[1]} × {IMAGE_DIMS[0]}; boxes of a dataset")
    show(panels["video"], video, "video", f"{VIDEO_DIMS[1]} × {VIDEO_DIMS[0]}; all frames alike")
    show(panels["sample"], sample["im"][0], "sample", f"r|g|b, {width} × {height}")
    show(panels["sample2"], heat, "", f"heat, {width} × {height}")

    identity = kwimage.Affine.eye()
    warps = {
        "color": identity,
        "heat": IMG_FROM_HEAT.inv(),
        "image": identity,
        "video": VID_FROM_IMG,
        "sample": sample_from_vid @ VID_FROM_IMG,
        "sample2": sample_from_vid @ VID_FROM_IMG,
    }
    for name, warp in warps.items():
        outline(panels[name], window, warp, WHITE, 3.2 if name.startswith("sample") else 1.8)
        outline(panels[name], ring_of_object, warp, BLUE)
    heat_border = corners(*map(float, HEAT_DIMS))
    x, y = kwimage.warp_points(IMG_FROM_HEAT.matrix, heat_border).T
    panels["image"].plot(x, y, color="white", lw=1.2, ls=(0, (4, 3)))
    for axes in panels.values():
        axes.autoscale(False)
    figure.canvas.draw()
    arrow(figure, panels["color"], panels["image"], "warp_img_\nfrom_asset", 0.72)
    arrow(figure, panels["heat"], panels["image"], "warp_img_\nfrom_asset", 0.24)
    arrow(figure, panels["image"], panels["video"], "warp_vid_\nfrom_img", 0.55)
    arrow(figure, panels["video"], panels["sample"], "warp_sample_\nfrom_vid", 0.78)
    arrow(figure, panels["video"], panels["sample2"], "", 0)
    figure.savefig(output)


def shrink(path: pathlib.Path) -> None:
    """Rewrite a picture with 256 colors."""
    from PIL import Image

    with Image.open(path) as image:
        small = image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


if __name__ == "__main__":
    draw(pathlib.Path(sys.argv[1]))
    shrink(pathlib.Path(sys.argv[1]))
