"""What tests and doctests share."""

from __future__ import annotations

import hypothesis
import kwcoco
import pytest

from ndsampler.utils.quiet import stdout_to_log

# A slow machine is no failed property.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")

#: Demo sets that doctests use.
DEMO_SETS = (("shapes3", {}), ("shapes8", {}), ("shapes128", {}), ("vidshapes2", {"num_frames": 5}))


@pytest.fixture(scope="session", autouse=True)
def demo_sets() -> None:
    """Make the demo sets before the first example asks for them: kwcoco prints while it does."""
    with stdout_to_log():
        # kwcoco makes a set twice before it takes it for made.
        for key, options in 2 * DEMO_SETS:
            kwcoco.CocoDataset.demo(key, verbose=0, **options)
