"""A pooler holds a crowd of idle TLS clients and answers any of them; neither a storm of logins nor stalled handshakes shut anybody
out who is there.

How quickly it answers is printed, window by window, with controls; what fails is judged.
"""

from __future__ import annotations

import pytest
from bench.crowd import Told, measure
from bench.pooled import Measured, instance


@pytest.mark.alone
@pytest.mark.parametrize(
    ("clients", "storm", "half"), [(150, 100, 50), pytest.param(10_000, 2_000, 500, marks=pytest.mark.long)], ids=["small", "whole"]
)
def test_a_crowd_is_held_and_answered(clients: int, storm: int, half: int) -> None:
    with instance(max_client_conn=clients + storm + half + 100) as bed:
        told = crowded(bed, (clients, storm, half), 1.0 if clients < 1000 else 4.0)
        assert (told.let_in.held, told.let_in.failed) == (clients, 0), told.let_in
        assert (told.storm.held, told.storm.failed) == (storm, 0), told.storm
        assert told.stalled == half
        for window in told.windows:
            assert window.answers.failed == 0, window
            assert window.answers.done > 0, window


def crowded(bed: Measured, sizes: tuple[int, int, int], seconds: float) -> Told:
    pids = bed.pooler_pids()
    assert pids
    told = measure(bed.where("pooled", sslmode="require"), "127.0.0.1", bed.port("pooled"), pids, sizes, seconds)
    print(told)
    return told
