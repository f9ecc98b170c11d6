"""The scripts beside the pipeline: what they read, and what they complain about."""

from __future__ import annotations

import pathlib
import runpy

import pytest

CI = pathlib.Path(__file__).resolve().parent.parent / ".ci"

OUTPUT = """\
  0 api_reference.txt:66         ok
  1 api_reference.txt:82         FAILED KeyError: 'im'
 12 project_page.txt:90          ok
documented examples: 2 of 3 pass
"""


@pytest.fixture(scope="module")
def acceptance():
    return runpy.run_path(str(CI / "acceptance.py"))


@pytest.fixture(scope="module")
def lowest():
    return runpy.run_path(str(CI / "lowest_requirements.py"))


def test_the_verdict_on_each_example_is_read(acceptance):
    assert acceptance["verdicts"](OUTPUT) == {0: True, 1: False, 12: True}


def test_pending_examples_are_read_without_their_reasons(acceptance):
    assert acceptance["read_pending"]("# those of video\n3  # time\n\n17\n") == {3, 17}


def test_what_is_as_listed_is_no_complaint(acceptance):
    assert acceptance["complaints"]({0: True, 1: False}, {1}) == []


def test_a_failure_that_is_not_listed_and_a_success_that_is_are_complaints(acceptance):
    lines = acceptance["complaints"]({0: True, 1: False}, {0, 7})
    assert [line.split(",")[0].split(":")[0] for line in lines] == [
        "example 0 passes now",
        "example 1 fails and is not on the list",
        "example 7 is listed as pending and does not exist",
    ]


def test_an_output_without_examples_is_a_complaint(acceptance):
    assert acceptance["complaints"]({}, set()) == ["no example was run"]


def test_the_lowest_version_is_the_greatest_bound_that_applies_here(lowest):
    text = '# numbers\nnumpy>=1.24\nnumpy>=1.26 ; python_version >= "3.0"\nnumpy>=9 ; python_version < "3"\n'
    assert {name: str(version) for name, version in lowest["lowest_versions"](text).items()} == {
        "numpy": "1.26"
    }


def test_a_requirement_without_a_lower_bound_is_refused(lowest):
    with pytest.raises(ValueError, match="no lower bound"):
        lowest["lowest_versions"]("numpy\n")


@pytest.mark.parametrize(
    "path", sorted((CI.parent / "requirements").glob("*.txt")), ids=lambda path: path.stem
)
def test_every_requirement_has_a_lower_bound_and_is_an_extra(path, lowest):
    assert lowest["lowest_versions"](path.read_text(encoding="utf-8"))
    metadata = (CI.parent / "pyproject.toml").read_text(encoding="utf-8")
    assert f'"requirements/{path.name}"' in metadata
