"""What an instance is called: a table of wish, look and last operation."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

import pytest

from howdah.core.operation import Line, Operation, Outcome, Status, status
from howdah.phrase import say

SOUND: dict[str, Any] = {"alive": True, "pooler_alive": True, "last": None, "converged": 1, "busy": False}


def last(outcome: Outcome) -> Operation:
    return Operation(1, "abcd1234", 1, "test", "tests", outcome=outcome)


@pytest.mark.parametrize(
    ("wish", "seen", "expected"),
    [
        ("running", {}, "running"),
        ("running", {"last": last("done")}, "running"),
        ("running", {"alive": False}, "down"),
        ("running", {"pooler_alive": False}, "down"),
        ("running", {"alive": False, "last": last("done")}, "down"),
        # accepted, and nobody has begun, or somebody is at work
        ("running", {"converged": 0, "alive": False, "last": last("waiting")}, "creating"),
        ("running", {"converged": 0, "alive": False, "last": last("running"), "busy": True}, "creating"),
        ("running", {"last": last("waiting")}, "updating"),
        ("running", {"last": last("running"), "busy": True}, "updating"),
        ("stopped", {"last": last("running"), "busy": True}, "updating"),
        # begun, and nobody works on it: its process was killed
        ("running", {"converged": 0, "alive": False, "last": last("running")}, "error"),
        ("running", {"converged": 0, "last": last("running")}, "error"),
        ("running", {"alive": False, "last": last("running")}, "error"),
        ("running", {"last": last("running")}, "running"),
        # failed: an error while it does not serve
        ("running", {"converged": 0, "alive": False, "last": last("failed")}, "error"),
        ("running", {"alive": False, "last": last("failed")}, "error"),
        ("running", {"last": last("failed")}, "running"),
        # refused: the wish went back to what was there before
        ("running", {"last": last("withdrawn")}, "running"),
        ("running", {"alive": False, "last": last("withdrawn")}, "down"),
        ("stopped", {"alive": False, "pooler_alive": False}, "stopped"),
        ("stopped", {"alive": False, "last": last("done")}, "stopped"),
        ("stopped", {"alive": False, "last": last("failed")}, "error"),
        ("deleted", {"alive": False}, "deleting"),
        ("deleted", {"last": last("failed")}, "deleting"),
    ],
)
def test_what_an_instance_is_called(wish: str, seen: dict[str, Any], expected: Status) -> None:
    assert status(wish, **{**SOUND, **seen}) == expected


def test_whatever_is_seen_there_is_a_name_for_it_and_running_is_never_said_of_what_is_dead() -> None:
    lasts = (None, *(last(outcome) for outcome in get_args(Outcome)))
    for wish, alive, pooler, operation, converged, busy in product(
        ("running", "stopped", "deleted"), (True, False), (True, False), lasts, (0, 3), (True, False)
    ):
        called = status(wish, alive=alive, pooler_alive=pooler, last=operation, converged=converged, busy=busy)
        assert called in get_args(Status)
        assert called != "running" or (alive and pooler and wish == "running")
        assert (called == "deleting") == (wish == "deleted")


def test_a_line_says_what_and_why_and_stays_translatable() -> None:
    line = Line("StartServer", say("start PostgreSQL"), say("{name} is not running", name="it"), 1.5)
    assert str(line.headline) == "start PostgreSQL: it is not running"
    assert line.headline.translated(lambda text: text.replace("start", "begin")) == "begin PostgreSQL: it is not running"
