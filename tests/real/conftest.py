"""What the tests on whole instances share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from tests.real import heard
from tests.real.instances import Place, place

if TYPE_CHECKING:  # Playwright takes its time, and few tests need it
    from playwright.sync_api import Browser as Chromium
    from tests.real.served import Served


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    """A place with the instance `shop`, for all tests of one file; a file that needs another makes its own."""
    with place() as made:
        made.create("shop")
        yield made


@pytest.fixture(scope="module")
def served(here: Place) -> Iterator[Served]:
    """`howdah serve` on that place."""
    from tests.real.served import serving

    with serving(here.home) as made:
        yield made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """A real browser."""
    from tests.real.served import chromium_here

    with chromium_here() as opened:
        yield opened


@pytest.fixture(scope="session", autouse=True)
def every_complaint_is_in_the_table() -> Iterator[None]:
    """Fail when a server of these tests complained of something that the table of messages does not explain."""
    yield
    if heard.UNKNOWN:
        pytest.fail("not in howdah.catalog.messages:\n" + "\n".join(f"  {each}" for each in sorted(heard.UNKNOWN)), pytrace=False)
