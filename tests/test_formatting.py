"""Numbers, tables and names as text for people."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndsampler.utils import formatting


def test_a_folder_counts_all_files_below_it(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"123")
    (tmp_path / "y").write_bytes(b"45")
    assert formatting.folder_bytes(tmp_path) == 5
    assert formatting.folder_bytes(tmp_path / "none") == formatting.folder_bytes(None) == 0


@given(st.lists(st.lists(st.text("abc", min_size=1, max_size=9), min_size=3, max_size=3), max_size=5))
def test_columns_of_a_table_line_up(rows):
    lines = formatting.format_table(["name", "x", "y"], rows).splitlines()
    assert len(lines) == 2 + len(rows)
    assert {len(line) for line in lines} == {len(lines[1])}


@given(st.text())
def test_printable_text_has_no_control_characters_and_keeps_the_others(text):
    shown = formatting.printable(text)
    categories = {unicodedata.category(char) for char in shown if char not in "\u200c\u200d"}
    assert not categories & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    if text.isprintable() and text.isascii():
        assert shown == text


@pytest.mark.parametrize("seconds", [1e-5, 0.02, 0.9994, 1.0, 75.0])
def test_a_duration_is_within_a_percent_of_its_value(seconds):
    number, unit = formatting.format_duration(seconds).split()
    assert float(number) * {"ms": 1e-3, "s": 1.0}[unit] == pytest.approx(seconds, rel=0.01)
