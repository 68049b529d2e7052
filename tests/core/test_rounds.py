"""When the loop looks at an instance again: at once when something changed, later each time when it fails, and in its own five minutes."""

from __future__ import annotations

from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, cast

from howdah.core.instance import Instance
from howdah.core.operation import Line, Operation
from howdah.errors import Conflict, Failed, Refusal
from howdah.phrase import say
from howdah.service.births import Births
from howdah.service.caller import Done
from howdah.service.rounds import FULL_SECONDS, Rounds

WANT = Instance("abcd1234", "shop", 15, 5432, settled=True)


class Clockwork:
    """One instance, what a glance shows, what a pass comes to, and the time; a pass is made at once, in the same thread."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.shown: Hashable = "calm"
        self.outcome: Refusal | tuple[Line, ...] = ()
        self.passes: list[float] = []
        self.refilled: list[float] = []
        self.asked: Operation | None = None
        self.generation, self.moves = WANT.generation, 0
        self.rounds = Rounds(lambda: cast(Births, self), cast(Any, self), now=lambda: self.time)

    # -- as the sentry, the service and the store

    store = property(lambda self: self)

    def glance(self, want: Instance) -> Hashable:
        return self.shown

    def moved(self) -> int:
        return self.moves

    def everything(self) -> tuple[Instance, ...]:
        return (WANT.next() if self.generation > WANT.generation else WANT,)

    def converged_generation(self, instance_id: str) -> int:
        return 1

    def last(self, instance_id: str) -> Operation | None:
        return self.asked

    def clear_trash(self) -> None:
        raise Conflict("busy", say("somebody else is emptying it"))

    def refill_spares(self) -> None:
        self.refilled.append(self.time)

    def wake(self) -> None: ...
    def close(self) -> None: ...

    def attend(self, instance_id: str, caller: object) -> Done:
        self.passes.append(self.time)
        if isinstance(self.outcome, Refusal):
            raise self.outcome
        operation = Operation(1, WANT.id, 1, "repair", "howdah serve", story=self.outcome) if self.outcome else None
        return Done(WANT, operation)

    # -- as the time

    def submit(self, work: Any, *given: Any) -> None:
        work(*given)

    def run(self, seconds: float, step: float = 0.5) -> list[float]:
        """Let time go by, round after round; return when passes were made, from now on."""
        begun, before = self.time, len(self.passes)
        while self.time < begun + seconds:
            self.rounds._round(cast(ThreadPoolExecutor, self))
            self.time += step
        return [at - begun for at in self.passes[before:]]


LINE = (Line("StartServer", say("start PostgreSQL"), say("PostgreSQL is not running"), 1.0),)


def test_what_is_calm_is_looked_at_every_five_minutes() -> None:
    clock = Clockwork()
    first = clock.run(FULL_SECONDS * 3)
    assert first[0] == 0 and 0 < first[1] <= FULL_SECONDS
    assert [later - earlier for earlier, later in pairwise(first[1:])] == [FULL_SECONDS] * (len(first) - 2)


def test_a_change_is_looked_at_at_once() -> None:
    clock = Clockwork()
    clock.run(5)
    clock.shown = "changed"
    assert clock.run(2)[:1] == [0]
    clock.moves += 1
    clock.generation += 1
    assert clock.run(2)[:1] == [0], "somebody wished something"


def test_what_fails_is_tried_later_each_time_and_at_once_for_a_new_wish() -> None:
    clock = Clockwork()
    clock.outcome = Failed("no", say("cannot"))
    tries = clock.run(1400)
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps[:8] == [1, 2, 4, 8, 16, 32, 64, 128] and max(gaps) == 300
    clock.shown = "flapping"
    assert clock.run(5) == [], "what fails changes what is seen each time; that is no reason to hurry"
    clock.moves += 1
    clock.generation += 1
    assert clock.run(2)[:1] == [0]


def test_what_has_to_be_put_right_again_and_again_is_slowed_down() -> None:
    clock = Clockwork()
    clock.outcome = LINE
    clock.shown = object()
    gaps = []
    for _ in range(12):  # changed anew as soon as it is right
        before, made = clock.time, len(clock.passes)
        while len(clock.passes) == made:
            clock.shown = object()
            clock.run(0.5)
        gaps.append(clock.time - before)
    assert gaps[:3] == [0.5] * 3 and gaps == sorted(gaps) and 10 <= gaps[-1] <= 11
    clock.outcome = ()
    clock.run(400)
    clock.shown = object()
    assert clock.run(1)[:1] == [0], "a calm while later it is quick again"


def test_what_came_back_and_served_for_a_while_is_put_right_at_once_each_time() -> None:
    clock = Clockwork()
    clock.run(400)
    for _ in range(9):  # the instance is calm in between, so the next look for its own sake is minutes away
        clock.shown, clock.outcome = object(), LINE
        assert clock.run(1)[:1] == [0]
        clock.outcome = ()
        clock.run(15)


def test_who_asks_for_a_pass_is_not_kept_waiting_by_earlier_failures() -> None:
    clock = Clockwork()
    clock.outcome = Failed("no", say("cannot"))
    clock.run(1400)
    clock.rounds._charges[WANT.id].tries = 5000  # days later
    assert clock.run(900)
    clock.moves += 1
    clock.asked = Operation(7, WANT.id, 1, "repair", "anna", outcome="waiting")
    assert clock.run(2)[:2] == [0, 1], "and it begins to be patient anew"


def test_who_is_busy_is_asked_again_soon() -> None:
    clock = Clockwork()
    clock.outcome = Conflict("busy", say("busy"))
    assert len(clock.run(10)) >= 9


def test_spares_are_seen_to_every_minute_whatever_becomes_of_the_trash() -> None:
    clock = Clockwork()
    clock.run(150)
    assert [at - 1000 for at in clock.refilled] == [0, 60, 120]
