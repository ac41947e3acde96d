"""One warm process for all kill tests."""

import sys

import pytest

from kill.driver import Warm


@pytest.fixture(scope="session")
def warm():
    if not sys.platform.startswith("linux"):
        pytest.skip("needs Linux: forks, and watches over what becomes of orphans")
    with Warm() as process:
        yield process
