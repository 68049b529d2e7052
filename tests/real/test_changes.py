"""No change drops a client that it can keep: numbered writes and new logins through the pooler, and none fails, is lost or doubled.

How long clients wait is measured by `python -m bench.disruption`; here stands only what must never happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.changes import Bed, Change, Kind, changes, copied
from bench.load import Load, Window, load
from tests.real.instances import place
from tests.real.servers import poolers, version_of

FIRST, *OTHERS = poolers()


@pytest.fixture(scope="module", params=[FIRST, *(pytest.param(each, marks=pytest.mark.long) for each in OTHERS)], ids=version_of)
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    with place() as here:
        made = copied(here.home, Path(request.param.path))
        made.create()
        yield made


@pytest.mark.parametrize("kind", ["reload", "restart", "takeover", "statements"])
def test_nobody_is_dropped(bed: Bed, kind: Kind) -> None:
    newest = poolers()[-1].path
    with load(bed.wish(clients=4, direct_clients=1)) as under_way:
        told = [(each, _made(each, bed, under_way)) for each in changes(bed, newest) if each.kind == kind]
        balance = under_way.stop()
    for change, window in told:
        assert (window.pooled.failed, window.pooled.ended) == (0, 0), f"{change.title}: {window}"
        assert change.leaves_port or window.logins.failed == 0, f"{change.title}: {window}"
        assert window.pooled.done > 0, "there was a load"
        assert change.ends_direct or window.direct.failed == 0, f"{change.title}: {window}"
    assert balance.acknowledged > 0
    assert (balance.lost, balance.doubled) == (0, 0)
    bed.run("repair", "shop")
    assert bed.told("verify", "shop")["verdict"] == "proven"


def _made(change: Change, bed: Bed, under_way: Load) -> Window:
    with under_way.window(change.key) as window:
        change.make(bed)
    print(window)
    return window
