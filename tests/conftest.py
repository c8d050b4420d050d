"""All unit tests compute on the CPU, so that they mean the same on every machine."""

import os

import lmxlab
import mlx.core as mx
import pytest

mx.set_default_device(mx.cpu)
os.environ["LMXLAB_RUNS"] = "off"  # panels keep their runs in memory

EXACT = lmxlab.runtime.compiled_is_exact()


@pytest.fixture(autouse=True)
def seeded():
    """The same random numbers for a test alone, among others, and on every day."""
    mx.random.seed(0)


def pytest_collection_modifyitems(items):
    """Skip what holds bit for bit only where lmxlab sets the compiler's flags."""
    reason = "compiled and eager agree bit for bit only with lmxlab's own kernel flags"
    for item in items:
        if item.get_closest_marker("exact") and not EXACT:
            item.add_marker(pytest.mark.skip(reason=reason))
