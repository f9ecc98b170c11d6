"""Samplers under edit, replaced images, prune, verify and forks at once: nothing is wrong or left over."""

from __future__ import annotations

from helpers_faults import each_caching
from helpers_processes import needs_fork
from helpers_soak import expect_nothing_wrong, soak


@needs_fork
@each_caching
def test_samplers_under_edit_and_maintenance_with_forks(backend, tmp_path, amount):
    expect_nothing_wrong(*soak(tmp_path, backend, amount(short=1, whole=10, soak=300)))
