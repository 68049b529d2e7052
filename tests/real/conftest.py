"""What the tests on whole instances share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.real.instances import Place, place


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    """A place with the instance `shop`, for all tests of one file; a file that needs another makes its own."""
    with place() as made:
        made.create("shop")
        yield made
