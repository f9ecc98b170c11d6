"""Differences between the answers of two releases, those that are meant set apart."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path

#: (pattern of cases, pattern of leaves, pattern of theirs, pattern of ours, reason). A reason names
#: the defect of earlier releases ("defect 4") as CHANGELOG.md counts them, or says why in words.
Expected = tuple[str, str, str, str, str]

EXPECTED: list[Expected] = [
    ("*", "warnings", "*", "*", "one warning per process and form, none for modern calls"),
    ("*", "error_message", "*", "*", "messages say the value, what was expected and the way out"),
    ("*", "error", "TypeError", "ValueError", "a bad value is a ValueError everywhere"),
    ("*", "error", "OverflowError", "ValueError", "a bad value is a ValueError everywhere"),
    ("*", "error", "AttributeError", "ValueError", "a bad value is a ValueError everywhere"),
    ("*", "error", "IndexError", "ValueError", "an index out of range is an IndexError and a ValueError"),
    ("target/*id unknown", "error", "ValueError", "KeyError", "an unknown id in a target is both"),
    ("*video/slices", "target", "dict *", "dict *", "the order of inferred keys is that of other targets"),
    ("*video/native scale", "im/*", "*", "*", "what lies outside does not darken the border"),
    ("*video/native scale", "params/tf_rel_to_abs", "*", "*", "the matrix includes the scale, as documented"),
    ("target/centre*size", "error", "KeyError", "ValueError", "an incomplete window is a ValueError"),
    ("target/size without centre", "error", "KeyError", "ValueError", "an incomplete window is a ValueError"),
    ("target/window *", "error", "KeyError", "ValueError", "an unknown window is a ValueError"),
    ("*", "*aids", "* float64[[]0[]]*", "* int64[[]0[]]*", "ids are integers, even of none"),
    ("*", "*cids", "* float64[[]0[]]*", "* int64[[]0[]]*", "ids are integers, even of none"),
    (
        "*",
        "*rel_frame_index",
        "* float64[[]0[]]*",
        "* int64[[]0[]]*",
        "ids are integers, even of none",
    ),
    ("*", "*rel_c[xy]", "(absent)", "*", "defect 13: rel_cx and rel_cy were never set"),
    ("*", "*boxes", "* float64[[]0[]] *", "* float64[[]0, 4[]] *", "no boxes have four columns too"),
    ("target/slices outside", "*", "*", "*", "a window outside stays where it was asked for"),
    ("target/aid with other gid", "outcome", "*", "ValueError*", "an annotation of another image is refused"),
    ("edge/* out*", "*", "*", "*", "a window outside stays where it was asked for"),
    ("*", "target/annot_idx", "(absent)", "int -1", "always there, as documented"),
    ("*xarray*", "im*/coords", "*", "*", "coordinates say where rows, columns and frames lie"),
    ("target/pad float", "*", "*", "*", "whole numbers may be given as floats"),
    ("target/native scale", "*", "*", "*", "defect 4: options of videos failed on stills"),
    ("call/item rng", "*", "*", "*", "a random item by rng, as regions.get_item gives"),
    ("preselect*/window full", "*", "*", "*", "window_dims='full' takes the whole image"),
    ("preselect/sampler", "*", "*", "*", "defect 2"),
    (
        "preselect/negative sample",
        "*",
        "*",
        "*",
        "negatives are found by other draws, and are as large as asked for",
    ),
    (
        "*video/*scale*",
        "im",
        "*",
        "*",
        "borders of scaled windows are not darkened; inside, 0 to 2 grey levels",
    ),
    ("video/vidid alone", "im", "*", "*", "borders of resampled bands are not darkened"),
    ("video/no space", "im", "*", "*", "borders of resampled bands are not darkened"),
    ("video/outside", "im", "*", "*", "borders of resampled bands are not darkened"),
    ("*video/nodata *", "im", "*", "*", "the last row and column are data, and what lies outside is masked"),
    ("*video/wholly outside", "params/*", "*", "*", "a window outside stays where it was asked for"),
    ("*video/channels *", "outcome", "*", "*", "lists, None and groups of channels are understood"),
    ("*video/channels *", "im", "*float64*", "*float32*", "float32 holds NaN as well"),
    ("*video/channels *", "params/request_chanspec", "*", "*", "one kind of specification for every form"),
    ("*video/scale negative", "outcome", "*", "*", "a negative scale is refused"),
    (
        "*video/interpolation unknown",
        "error",
        "KeyError",
        "ValueError",
        "a bad value is a ValueError everywhere",
    ),
    ("*video*", "target/gids*", "*", "*", "gids of a whole video are a list"),
    ("*video*", "*real_frames*", "(absent)", "*", "says which frames were padded in time"),
    (
        "video grid/overlap pair",
        "error",
        "AssertionError",
        "ValueError",
        "a bad value is a ValueError everywhere",
    ),
    ("video grid/classes", "outcome", "*", "*", "classes of interest are chosen in videos too"),
    ("video grid/negative classes", "*", "*", "*", "negative classes were ignored in videos"),
    ("video grid/space time", "*", "*", "*", "space_dims and time_dim were ignored without window_dims"),
    ("property/depends", "", "str OrderedDict", "str dict", "dictionaries are ordered"),
    ("abstract/bases", "*", "*", "*", "errors of the library have a base of their own"),
    ("touching/*", "", "* float64[[]0[]]*", "* int64[[]0[]]*", "ids are integers, even of none"),
    (
        "*visible_thresh/*",
        "",
        "* float64*",
        "* int64*",
        "ids are integers, even of none",
    ),
    ("target/slices step", "*", "*", "*", "a step is refused; it was ignored"),
    ("target/slices empty", "*", "*", "*", "an empty window is refused"),
    ("target/slices three*", "*", "*", "*", "the third slice selects channels; it was ignored"),
    ("target/bbox", "*", "*", "*", "a box places the window; it was ignored"),
    ("flat box/*", "*", "*", "*", "a box without area is sampled as at least one pixel"),
    ("*video/gids and * *", "*_dims*", "*", "*", "the sizes are known, whatever vidid states"),
    ("stills as frames/*", "*real_frames*", "(absent)", "*", "says which frames were padded in time"),
    ("*/xarray", "im/indexes", "[[][]]", "[[]'c'[]]", "the channels of every xarray are an index"),
    ("target/window three", "*", "*", "*", "window_dims of the wrong number are refused"),
    ("target/width zero", "*", "*", "*", "a box without area is sampled as at least one pixel"),
    ("target/window zero", "*", "*", "*", "an empty window is refused"),
    ("target/pad negative", "*", "*", "*", "a negative pad is refused"),
    ("target/dtype", "*im", "*", "*", "defect 4: dtype was ignored"),
    ("target/nodata*", "*im", "*", "*", "defect 4: nodata was ignored"),
    (
        "target/padkw*",
        "*",
        "*",
        "*",
        "defect 4: modes failed, the caller's dict was written to",
    ),
    ("target/channels*", "*", "*", "*", "defect 4: channels failed on stills"),
    ("target/scale", "*", "*", "*", "defect 4: scale failed on stills"),
    ("call/old dtype", "*im", "*", "*", "defect 4: dtype was ignored"),
    ("call/old padkw", "*padkw*", "*", "*", "defect 4: the caller's padkw was written to"),
    ("call/load_target_annots", "outcome", "*", "list*", "takes every form of target"),
    ("frames */none", "*", "*", "*", "defect 3"),
    ("frames */open", "*", "*", "*", "defect 3"),
    ("frames */channels", "*", "*", "*", "defect 3"),
    ("frames */empty tuple", "*", "*", "*", "defect 3"),
    ("frames */step", "*", "*", "*", "a step is refused; it was ignored"),
    ("frames */ellipsis", "*", "*", "*", "every slice form that numpy has"),
    ("frames */bare slice", "*", "*", "*", "every slice form that numpy has"),
    ("frames */integer", "*", "*", "*", "every slice form that numpy has"),
    ("frames */three", "*", "*", "*", "a third slice chooses channels; it was ignored"),
    ("frames cog/*", "*", "*ndarray uint8*", "*ndarray uint8*", "defect 6: cog was lossy"),
    ("frames cog/sample", "im", "*", "*", "defect 6: cog was lossy"),
    ("frames cog/gray shape", "*", "*", "*", "every backend gives gray images two axes"),
    ("frames cog/type", "*", "*", "*", "cog images are read when sliced"),
    ("without *category_id/*", "*", "*", "*", "defect 12"),
    ("without bbox*/aid", "error", "KeyError", "ValueError", "defect 12: a clear error"),
    ("video/still of video", "*", "*", "*", "defect 5"),
    ("auxiliary video/still of video", "*", "*", "*", "defect 5"),
    ("video positive", "*", "*", "*", "defect 5"),
    ("video load_image", "*", "*", "*", "defect 5"),
    ("video frames", "*", "*", "*", "defect 5"),
    ("*video/nodata int", "*", "*", "*", "defect 11"),
    ("*video/pad *", "*", "*", "*", "defect 11"),
    ("*video/time *", "*", "*", "*", "defect 11"),
    ("*video/gids empty", "*", "*", "*", "defect 11"),
    ("*video/padkw*", "*", "*", "*", "defect 4: video samples ignored padkw"),
    ("preselect*/pos*", "*", "*", "*", "defect 2"),
    ("preselect*/both", "*", "*", "*", "defect 2"),
    ("preselect*/ratio*", "*", "*", "*", "defect 2"),
    ("preselect*/window and pos", "*", "*", "*", "defect 2"),
    ("preselect*/* negative", "*", "*", "*", "a negative count is refused"),
    ("index/ious some", "*", "*", "*", "defect 10"),
    ("index/iooas *", "*", "*", "*", "defect 10"),
    ("index/negatives *", "*", "*", "*", "negatives are found by other draws; no result is an empty one"),
    ("*grid/*", "positives_indexes*", "*", "*", "defect 1"),
    ("*grid/*", "negatives_indexes*", "*", "*", "defect 1"),
    ("select/*", "", "*", "*", "the choice between equals is drawn differently"),
    ("unsized/missing file", "error", "*", "*", "an image whose size cannot be read is named with its file"),
    ("position cog/*", "", "*ndarray uint8*", "*ndarray uint8*", "defect 6: cog was lossy"),
    ("position/no images", "", "bool False", "bool True", "frames without images are true, as other objects"),
    ("toy/empty", "1", "bool False", "bool True", "a sampler without positives is true, as other objects"),
    ("wrong file/*", "error", "*", "ValueError", "what is no dataset is a ValueError, whatever is wrong"),
    ("wrong file/*", "error", "*", "FileNotFoundError", "a dataset that does not exist is a missing file"),
    ("names/*", "*", "*", "*", "more names"),
    ("position/*", "error", "IndexError", "TypeError", "a position that is no whole number, as in a list"),
    ("rng/*generator", "*", "*", "*", "rng may be a generator of numpy"),
    ("rng/*nan", "error", "ValueError", "TypeError", "what is no seed is a TypeError"),
    ("tree/* to ours as text", "ids/*", "str *", "int *", "ids are whole numbers again"),
    ("names of classes/*", "*", "*", "*", "names are compared without regard to case"),
    ("cog/absent", "error", "RuntimeError", "FileNotFoundError", "a missing file, without osgeo"),
]


def differences(theirs: dict, ours: dict, only: str = "*") -> list[tuple[str, str, str, str, str | None]]:
    """All leaves that differ: (case, leaf, theirs, ours, reason or None).

    Where one side raises and the other answers, that is the only difference, under the leaf ``outcome``.
    """
    found = []
    for case in [*theirs, *(c for c in ours if c not in theirs)]:
        if case == "meta" or not fnmatch.fnmatchcase(case, only):
            continue
        left, right = theirs.get(case, {}), ours.get(case, {})
        if ("error" in left) != ("error" in right):
            pairs = [("outcome", _outcome(left), _outcome(right))]
        else:
            leaves = [*left, *(k for k in right if k not in left)]
            pairs = [(leaf, left.get(leaf, "(absent)"), right.get(leaf, "(absent)")) for leaf in leaves]
        found += [(case, *pair, reason_of(case, *pair)) for pair in pairs if pair[1] != pair[2]]
    return found


def _outcome(leaves: dict) -> str:
    if "error" in leaves:
        return f"{leaves['error']} ({leaves['error_message']})"
    return leaves.get("", "(absent)")


def reason_of(case: str, leaf: str, old: str, new: str) -> str | None:
    """Why a difference is meant; None when nothing says so."""
    if re.search(r"(^|/)tr(/|$)", leaf):
        return "the same object as target"
    if re.sub(r", '(rel_c[xy]|annot_idx|real_frames)'", "", new) == re.sub(r", 'annot_idx'", "", old):
        return "defect 13: rel_cx and rel_cy were never set; annot_idx and real_frames are always there"
    if _plain(old) == _plain(new):
        return "a Python number instead of a numpy one, or the reverse"
    for case_pattern, leaf_pattern, old_pattern, new_pattern, reason in EXPECTED:
        pairs = ((case, case_pattern), (leaf, leaf_pattern), (old, old_pattern), (new, new_pattern))
        if all(fnmatch.fnmatchcase(text, pattern) for text, pattern in pairs):
            return reason
    return None


def _plain(text: str) -> str:
    return re.sub(r"^(u?int|float)\d+ ", r"\1 ", text)


def report(theirs_path: str, ours_path: str, only: str = "*", everything: bool = False) -> int:
    """Print the differences; returns 1 when one is left that nothing expects."""
    theirs, ours = (json.loads(Path(p).read_text()) for p in (theirs_path, ours_path))
    found = differences(theirs, ours, only)
    open_ones = [d for d in found if d[4] is None]
    shown = found if everything else open_ones
    last = None
    for case, leaf, old, new, reason in shown:
        if case != last:
            print(f"## {case}")
            last = case
        print(f"    {leaf}: {old}\n        -> {new}" + (f"   [{reason}]" if reason else ""))
    cases = {d[0] for d in open_ones}
    print(f"{len(found)} leaves differ, {len(open_ones)} of them in {len(cases)} cases are not expected")
    return 1 if open_ones else 0
