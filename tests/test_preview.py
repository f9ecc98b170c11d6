"""Samples as pictures."""

from __future__ import annotations

import cv2
import kwimage
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ndsampler import preview
from ndsampler.errors import ArgumentError
from ndsampler.preview import drawing
from ndsampler.preview import sheet as sheet_module

CLASSES = ["cat", "dog", "emu"]

#: Pixels by which a line, its dark edge and its smoothing may reach beyond the line.
REACH = 4

square = np.array([(10, 10), (30, 10), (30, 30), (10, 30)])


def make_sample(im=None, gid=3, **data):
    """Return a sample as load_sample does, with the given columns of detections."""
    im = np.full((40, 60, 3), 90, np.uint8) if im is None else im
    sample = {"im": im, "target": {"gid": gid, "aid": 1, "category_id": 1}}
    if data:
        columns = {"boxes": kwimage.Boxes([[10, 10, 20, 20]], "xywh"), "cids": np.array([1]), **data}
        meta = {"classes": CLASSES}
        sample["annots"] = {"frame_dets": [kwimage.Detections(data=columns, meta=meta, checks=False)]}
    return sample


def changed(sample, **options):
    """Return where the drawing of a sample differs from its pixels alone."""
    bare = {key: value for key, value in sample.items() if key != "annots"}
    return (preview.draw_sample(sample, **options) != preview.draw_sample(bare, **options)).any(2)


class TestToRgb:
    def test_bytes_stay_as_they_are(self):
        im = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
        assert (preview.to_rgb(im) == im).all()

    def test_a_fourth_channel_is_left_out(self):
        im = np.random.default_rng(0).integers(0, 256, (5, 7, 4)).astype(np.uint8)
        assert (preview.to_rgb(im) == im[..., :3]).all()

    @pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2)])
    def test_one_or_two_channels_are_grey(self, shape):
        im = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
        first = im.reshape(5, 7, -1)[..., :1]
        assert (preview.to_rgb(im) == first).all()

    @pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64])
    def test_other_types_spread_over_all_greys_and_keep_their_order(self, dtype):
        im = np.arange(3000, 3400).reshape(20, 20).astype(dtype)
        flat = preview.to_rgb(im)[..., 0].ravel().astype(int)
        assert (flat.min(), flat.max()) == (0, 255)
        assert (np.diff(flat) >= 0).all()

    def test_one_bright_pixel_does_not_darken_all_others(self):
        im = np.linspace(0, 1, 400).reshape(20, 20)
        im[0, 0] = 1e9
        assert 100 < np.median(preview.to_rgb(im)) < 155

    def test_pixels_without_a_value_are_checkered_and_leave_the_others_alone(self):
        im = np.linspace(0, 1, 400 * 3).reshape(20, 20, 3)
        holed = im.copy()
        holed[:, :10] = np.nan
        holed[0, 19, 0] = np.inf
        rgb = preview.to_rgb(holed)
        assert set(np.unique(rgb[:, :10])) == {96, 136}
        assert rgb[0, 19, 0] in (96, 136)
        assert rgb[:, 10:].min() == 0

    @pytest.mark.parametrize("value", [0.0, 7.0, np.nan])
    def test_a_constant_image_is_neither_black_nor_an_error(self, value):
        rgb = preview.to_rgb(np.full((4, 4, 3), value))
        assert 90 <= rgb.min() <= rgb.max() <= 140

    def test_truth_values_are_black_and_white(self):
        assert preview.to_rgb(np.array([[True, False]]))[0, :, 0].tolist() == [255, 0]

    @given(
        hnp.arrays(
            st.sampled_from([np.dtype(t) for t in ("u1", "i2", "u2", "i4", "f4", "f8", "?")]),
            hnp.array_shapes(min_dims=2, max_dims=3, max_side=6),
        )
    )
    @settings(max_examples=60, deadline=None)
    def test_anything_becomes_rgb_of_the_same_size(self, im):
        rgb = preview.to_rgb(im)
        assert rgb.dtype == np.uint8
        assert rgb.shape == (*im.shape[:2], 3)

    @pytest.mark.parametrize("shape", [(4,), (2, 3, 4, 5), (0, 4, 3), (4, 4, 0)])
    def test_other_shapes_are_refused_by_name(self, shape):
        with pytest.raises(ArgumentError, match=r"have shape \(.*expected \(height, width\)"):
            preview.to_rgb(np.zeros(shape))


class TestDrawSample:
    def test_a_sample_without_annotations_shows_its_pixels(self):
        sample = make_sample()
        assert (preview.draw_sample(sample) == sample["im"]).all()

    def test_the_sample_is_not_written_to(self):
        sample = make_sample(keypoints=None)
        before = sample["im"].copy()
        preview.draw_sample(sample)
        assert (sample["im"] == before).all()

    @pytest.mark.parametrize("side", [None, 60, 180, 33])
    def test_a_box_is_drawn_on_its_edges(self, side):
        sample = make_sample(cids=np.array([-1]))
        scale = (side or 60) / 60
        marks = changed(sample, side=side)
        y, x = np.nonzero(marks)
        assert x.min() == pytest.approx(10 * scale, abs=REACH)
        assert x.max() == pytest.approx(30 * scale, abs=REACH)
        assert y.min() == pytest.approx(10 * scale, abs=REACH)
        assert y.max() == pytest.approx(30 * scale, abs=REACH)
        middle = np.s_[round(10 * scale) + REACH : round(30 * scale) - REACH]
        assert not marks[middle, middle].any()

    def test_a_category_writes_its_name_in_its_color(self):
        named = preview.draw_sample(make_sample(keypoints=None), side=300)
        bare = preview.draw_sample(make_sample(cids=np.array([-1])), side=300)
        color = preview.category_color(1)
        assert (named == color).all(2).sum() > (bare == color).all(2).sum() + 100

    @pytest.mark.parametrize("cids", [np.array([-1]), [None]])
    def test_no_category_is_grey_and_nameless(self, cids):
        sample = make_sample(cids=cids)
        drawn = preview.draw_sample(sample)[changed(sample)]
        assert len(drawn)
        # The pixels are grey too, so that a mixture with anything but grey would show.
        assert np.ptp(drawn.astype(int), axis=1).max() <= 2

    def test_a_box_without_numbers_is_left_out(self):
        boxes = kwimage.Boxes(np.full((1, 4), np.nan), "xywh")
        assert not changed(make_sample(boxes=boxes)).any()

    @pytest.mark.parametrize(
        "segmentation",
        [
            kwimage.Polygon(exterior=square),
            kwimage.MultiPolygon([kwimage.Polygon(exterior=square)]),
            kwimage.Segmentation.coerce(kwimage.Polygon(exterior=square)),
            kwimage.Polygon(exterior=square).to_mask((40, 60)),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_every_kind_of_segmentation_tints_its_inside(self, segmentation):
        sample = make_sample(segmentations=[segmentation], cids=np.array([-1]))
        marks = changed(sample)
        assert marks[12:28, 12:28].all()
        assert not marks[:, 36:].any()

    def test_a_hole_in_a_polygon_stays_free(self):
        polygon = kwimage.Polygon(
            exterior=square, interiors=[np.array([(15, 15), (25, 15), (25, 25), (15, 25)])]
        )
        marks = changed(make_sample(segmentations=[polygon], cids=np.array([-1])))
        assert marks[12, 20]
        assert not marks[18:22, 18:22].any()

    def test_labelled_keypoints_are_drawn_and_others_are_not(self):
        points = kwimage.Points(
            xy=np.array([(20.0, 20.0), (45.0, 20.0), (np.nan, 3)]), visible=np.array([2, 0, 2])
        )
        marks = changed(make_sample(keypoints=[points], cids=np.array([-1])))
        assert marks[18:22, 18:22].all()
        assert not marks[15:25, 40:].any()

    def test_missing_pieces_are_no_error(self):
        data = {
            "boxes": kwimage.Boxes([[1, 1, 5, 5], [10, 10, 9, 9]], "xywh"),
            "segmentations": [None, None],
            "keypoints": [None, None],
            "cids": np.array([0, 2]),
        }
        assert changed(make_sample(**data)).any()

    def test_an_annotation_far_larger_than_the_window_is_drawn(self):
        boxes = kwimage.Boxes([[-1e9, -1e9, 2e9, 2e9]], "xywh")
        polygon = kwimage.Polygon(exterior=(square - 20) * 1e8)
        assert changed(make_sample(boxes=boxes, segmentations=[polygon])).any()

    def test_a_frame_of_a_video_sample_is_drawn(self):
        im = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (10, 200)])
        assert (preview.draw_sample({"im": im}, frame=1) == 200).all()

    @pytest.mark.parametrize("order", ["b|g|r", "g|ir|b|r", "r|g|b", "ir|red|swir", "pan|blue|green|red"])
    def test_red_is_shown_red_wherever_it_comes(self, order):
        from delayed_image.channel_spec import FusedChannelSpec

        names = order.split("|")
        im = np.random.default_rng(0).integers(0, 256, (5, 6, len(names))).astype(np.uint8)
        sample = {"im": im, "params": {"request_chanspec": FusedChannelSpec.coerce(order)}}
        shown = {"b|g|r": [2, 1, 0], "g|ir|b|r": [3, 0, 2], "pan|blue|green|red": [3, 2, 1]}.get(
            order, [0, 1, 2]
        )
        assert (preview.draw_sample(sample) == im[..., shown]).all()

    def test_names_come_from_the_classes_that_are_given(self):
        import kwcoco

        sample = make_sample(keypoints=None)
        tree = kwcoco.CategoryTree.from_coco([{"id": 1, "name": "emu"}, {"id": 5, "name": "yak"}])
        as_tree = preview.draw_sample(sample, tree, side=200)
        assert (as_tree == preview.draw_sample(sample, {1: "emu", 5: "yak"}, side=200)).all()
        assert (as_tree == preview.category_color(0)).all(2).any()

    def test_a_category_that_the_classes_lack_is_named_by_its_id(self):
        sample = make_sample(cids=np.array([77]))
        assert (preview.draw_sample(sample, {1: "cat"}, side=200) == preview.category_color(77)).all(2).any()

    @pytest.mark.parametrize("side", [0, -5])
    def test_a_size_of_nothing_is_refused(self, side):
        with pytest.raises(ArgumentError, match=f"side is {side}; expected"):
            preview.draw_sample(make_sample(), side=side)


class TestLabels:
    def test_names_do_not_cover_each_other(self):
        boxes = kwimage.Boxes([[100, 100, 40, 40], [102, 100, 40, 40], [104, 100, 40, 40]], "xywh")
        im = np.zeros((300, 300, 3), np.uint8)
        board = drawing.Drawing(im, 1.0)
        for ltrb in boxes.to_ltrb().data:
            board.label("elephant", tuple(ltrb), (255, 0, 0))
        spots = board._labels
        assert len(spots) == 3
        for number, spot in enumerate(spots):
            assert not any(drawing.overlap(spot, other) for other in spots[:number])

    def test_a_name_stays_inside_the_picture(self):
        for box in [(-50, -50, 9, 9), (290, 290, 400, 400), (-9, 140, 7, 150), (0, 0, 300, 300)]:
            board = drawing.Drawing(np.zeros((300, 300, 3), np.uint8), 1.0)
            board.label("elephant", box, (255, 0, 0))
            x0, y0, x1, y1 = board._labels[0]
            assert 0 <= x0 < x1 <= 300
            assert 0 <= y0 < y1 <= 300

    def test_a_name_wider_than_the_picture_is_left_out(self):
        board = drawing.Drawing(np.zeros((20, 20, 3), np.uint8), 1.0)
        board.label("elephant", (2, 2, 9, 9), (255, 0, 0))
        assert not board.picture.any()

    @pytest.mark.parametrize("box", [(150, 150, 190, 190), (98, 10, 190, 190)])
    def test_a_box_that_is_hardly_in_the_picture_has_no_name(self, box):
        board = drawing.Drawing(np.zeros((100, 100, 3), np.uint8), 1.0)
        board.label("cat", box, (255, 0, 0))
        assert not board.picture.any()


class TestColors:
    def test_the_first_fifty_categories_differ(self):
        colors = {preview.category_color(index) for index in range(50)}
        assert len(colors) == 50

    def test_a_color_does_not_depend_on_what_else_is_drawn(self):
        alone = make_sample(cids=np.array([2]))
        pair = make_sample(
            boxes=kwimage.Boxes([[10, 10, 20, 20], [40, 5, 9, 9]], "xywh"), cids=np.array([2, 0])
        )
        for sample in (alone, pair):
            assert (preview.draw_sample(sample, side=200) == preview.category_color(2)).all(2).any()


class TestCaption:
    def test_it_says_positive_or_negative_category_image_and_size(self):
        assert preview.caption_of(make_sample(), CLASSES) == "positive dog | image 3 | 60 x 40"
        negative = {"im": np.zeros((5, 7)), "tr": {"gid": 4, "aid": -1, "category_id": 0}}
        assert preview.caption_of(negative, CLASSES) == "negative | image 4 | 7 x 5"

    def test_a_target_without_annotation_is_neither(self):
        sample = {"im": np.zeros((2, 5, 7, 1)), "target": {"vidid": 2}}
        assert preview.caption_of(sample) == "video 2 | 7 x 5"


class TestSheet:
    def test_each_sample_has_its_place(self):
        samples = [{"im": np.full((10, 10, 3), value, np.uint8)} for value in (60, 120, 180, 240)]
        sheet = preview.draw_sheet(samples, columns=2, side=100)
        for value in (60, 120, 180, 240):
            assert (sheet == value).all(2).sum() >= 100 * 100
        assert sheet.shape[1] == 2 * 100 + 3 * preview.GAP

    @pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (12, 4), (24, 6), (6, 3)])
    def test_the_default_grid_is_full(self, count, columns):
        assert sheet_module._default_columns(count) == columns

    @given(st.integers(1, 200))
    def test_the_default_grid_is_wider_than_high_and_not_a_band(self, count):
        columns = sheet_module._default_columns(count)
        rows = -(-count // columns)
        assert rows <= 2 * columns
        assert columns <= 3 * rows

    def test_the_legend_names_each_category_once_in_order(self, monkeypatch):
        written = []
        monkeypatch.setattr(sheet_module, "write_text", lambda picture, text, *args: written.append(text))
        samples = [make_sample(cids=np.array([cid])) for cid in (2, 0, 2)]
        preview.draw_sheet(samples, captions=["", "", ""], title="a title")
        assert written[:3] == ["a title", "cat", "emu"]

    def test_captions_that_are_too_long_are_cut(self, monkeypatch):
        written = []
        monkeypatch.setattr(sheet_module, "write_text", lambda picture, text, *args: written.append(text))
        preview.draw_sheet([make_sample()], captions=["word " * 40], side=100)
        assert written[0].endswith("..")
        assert drawing.text_size(written[0], 0.42)[0] <= 100

    def test_letters_that_the_fonts_lack_are_no_error(self):
        sample = make_sample(keypoints=None)
        assert preview.draw_sheet([sample], {1: "größe 猫"}, title="übersicht").any()

    def test_many_categories_take_more_than_one_line(self):
        names = {number: f"category number {number}" for number in range(12)}
        samples = [make_sample(cids=np.array([cid])) for cid in names]
        few = preview.draw_sheet(samples[:1] * 12, names, side=100)
        assert len(preview.draw_sheet(samples, names, side=100)) > len(few)

    @given(st.integers(1, 40), st.one_of(st.none(), st.integers(1, 9)))
    def test_no_place_is_taken_twice_beside_a_block_of_four(self, count, columns):
        across, cells = sheet_module._cells(count, columns, block=True)
        block = {(row, column) for row in (0, 1) for column in (0, 1)}
        assert len(cells) == len(set(cells)) == count
        assert not block & set(cells)
        assert max(column for _, column in [*cells, (1, 1)]) == across - 1

    @pytest.mark.parametrize("shape", [(50, 50), (30, 70), (70, 30), (208, 208)])
    @pytest.mark.parametrize("count", [1, 4, 5])
    def test_an_overview_has_the_room_of_four_samples(self, shape, count):
        samples = [{"im": np.full((10, 10, 3), 60, np.uint8)}] * count
        overview = {"im": np.full((*shape, 3), 200, np.uint8), "target": {"gid": 2, "space_dims": (900, 800)}}
        sheet = preview.draw_sheet(samples, side=100, overview=overview)
        seen = (sheet == 200).all(2)
        y, x = np.nonzero(seen)
        assert max(np.ptp(x) + 1 - 208, np.ptp(y) + 1 - 226) == 0
        assert (sheet == 60).all(2).sum() >= count * 100 * 100

    def test_an_overview_draws_edges_of_boxes_lightly(self):
        sample = make_sample(keypoints=None)
        drawn = sheet_module._draw_overview(sample, CLASSES, (60, 60)).astype(int)
        bare = sheet_module._draw_overview({"im": sample["im"]}, CLASSES, (60, 60)).astype(int)
        y, x = np.nonzero((drawn != bare).any(2))
        assert (x.min(), x.max(), y.min(), y.max()) == (10, 29, 10, 29)
        assert (drawn[15, 15] == bare[15, 15]).all()
        color = np.array(preview.category_color(1))
        assert (np.abs(drawn[10, 12] - color) < np.abs(bare[10, 12] - color)).any()
        assert not (drawn[10, 12] == color).all()

    def test_the_caption_of_an_overview_tells_the_size_of_all(self):
        sample = make_sample(keypoints=None)
        sample["target"] = {"gid": 2, "space_dims": (900, 800)}
        assert sheet_module._size_caption(sample) == "image 2 | 800 x 900 pixels at 60 x 40 | 1 annotations"

    @pytest.mark.parametrize("shape", [(20, 40), (40, 20), (30, 30)])
    def test_a_strip_shows_all_frames_in_one_row(self, monkeypatch, shape):
        written = []
        monkeypatch.setattr(sheet_module, "write_text", lambda picture, text, *args: written.append(text))
        im = np.stack([np.full((*shape, 3), value, np.uint8) for value in (60, 120, 180)])
        strip = {"im": im, "target": {"vidid": 7, "time_slice": slice(2, 5)}}
        sheet = preview.draw_sheet([make_sample()] * 4, side=260, captions=[""] * 4, strip=strip)
        tops = set()
        for value in (60, 120, 180):
            y, _ = np.nonzero((sheet == value).all(2))
            tops.add((y.min(), y.max()))
        assert len(tops) == 1
        assert written[-3:] == [f"video 7 | frame {frame}" + written[-1][17:] for frame in (2, 3, 4)]

    def test_no_samples_are_refused(self):
        with pytest.raises(ArgumentError, match="no samples to draw; expected at least one"):
            preview.draw_sheet([])

    def test_wrong_options_are_refused(self):
        with pytest.raises(ArgumentError, match="2 captions; expected one for each of 1"):
            preview.draw_sheet([make_sample()], captions=["a", "b"])
        with pytest.raises(ArgumentError, match="columns is 0; expected 1 or more"):
            preview.draw_sheet([make_sample()], columns=0)


class TestWriteSheet:
    def test_the_file_holds_the_sheet(self, tmp_path):
        samples = [make_sample(keypoints=None)] * 3
        path = preview.write_sheet(tmp_path / "sheet ü.png", samples, side=80)
        decoded = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert (decoded == preview.draw_sheet(samples, side=80)).all()
        assert [p.name for p in tmp_path.iterdir()] == ["sheet ü.png"]

    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch):
        path = tmp_path / "sheet.png"
        path.write_bytes(b"old")

        def fail(*args):
            raise OSError("no space left")

        monkeypatch.setattr("os.replace", fail)
        with pytest.raises(OSError, match="no space left"):
            preview.write_sheet(path, [make_sample()])
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]
