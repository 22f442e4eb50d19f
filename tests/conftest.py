"""Settings that every test file shares."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import schuss
from cudasim.plugin import cuda, cudasim_folder, cupy  # noqa: F401
from hypothesis import settings

# The same examples on every run: a failure is then a change of the code, not of the dice.
settings.register_profile("schuss", deadline=None, derandomize=True, max_examples=60)
settings.register_profile("wide", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("SCHUSS_HYPOTHESIS", "schuss"))


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """A test that sets the number of threads leaves none of it behind."""
    before = schuss.get_num_threads()
    yield
    if schuss.get_num_threads() != before:
        schuss.set_num_threads(before)
