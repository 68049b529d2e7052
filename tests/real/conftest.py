"""What the tests on whole instances share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.real import heard
from tests.real.instances import Place, place


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    """A place with the instance `shop`, for all tests of one file; a file that needs another makes its own."""
    with place() as made:
        made.create("shop")
        yield made


@pytest.fixture(scope="session", autouse=True)
def every_complaint_is_in_the_table() -> Iterator[None]:
    """Fail when a server of these tests complained of something that the table of messages does not explain."""
    yield
    if heard.UNKNOWN:
        pytest.fail("not in howdah.catalog.messages:\n" + "\n".join(f"  {each}" for each in sorted(heard.UNKNOWN)), pytrace=False)
