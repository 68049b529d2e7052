"""The loop, kept running: a quick look at every instance each second, a full one when something changed, and from time to time anyway.

A quick look connects to nobody. A full one is a pass under the instance's lease, so that two loops and any number of commands share a
store. What fails is tried again, each time later. Nothing is remembered here that the next start would need: what was accepted stands in
the store.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from howdah.core.instance import Instance
from howdah.core.machine import Sentry
from howdah.core.operation import Operation
from howdah.errors import Conflict, Refusal
from howdah.phrase import Phrase, say
from howdah.service.births import Births
from howdah.service.caller import Caller, Done, Question
from howdah.service.perthread import PerThread

QUICK_SECONDS = 1.0
FULL_SECONDS = 300.0
_HOUSE_SECONDS = 60.0
_BUSY_SECONDS = 1.0
_LONGEST_BACKOFF = 300.0
_PATIENT_TRIES = 3
# What was put right counts as lasting when it held for four times as long as it was left to rest before, within these bounds: what is
# killed every quarter of a minute is started at once each time, what does not hold for a second is not started every second.
_LASTS_TIMES, _LASTS_LEAST, _LASTS_MOST = 4.0, 10.0, 60.0
_LONGEST_REST = 10.0
_PASSES_AT_ONCE = 4
_LAST_PASSES_SECONDS = 20.0

log = logging.getLogger("howdah.serve")


class Serving(Protocol):
    """Where the loop's threads get what they work with: a store belongs to one thread."""

    def __call__(self) -> Births: ...


@dataclass(frozen=True)
class Standing:
    """What the store says of an instance, by which a change of anybody's is noticed."""

    generation: int
    converged: int
    last: Operation | None

    def asks_more_than(self, other: Standing) -> bool:
        """Tell whether somebody has asked for something since the other: for a change, or for a pass."""
        if self.generation != other.generation:
            return True
        new = self.last is not None and (other.last is None or self.last.id != other.last.id)
        return new and self.last is not None and self.last.outcome == "waiting"


@dataclass
class Charge:
    """One instance under watch, and when it is due (monotonic seconds)."""

    want: Instance
    standing: Standing
    due: float
    glance: Hashable = None
    at_work: bool = False
    spread: bool = False  # its full looks have found their own place within the five minutes
    tries: int = 0  # that failed, or whose work did not last
    tried_at: float = -_LASTS_MOST
    delay: float = 0.0  # how long it was left to rest after that
    rest: float = 0.0  # until then what is seen is no reason to look; what is asked for is


@dataclass
class Pulse:
    """How the loop is doing: for `/healthz` and `/metrics`."""

    rounds: int = 0
    last_round: float = 0.0  # monotonic seconds
    quick_seconds: float = 0.0  # of processor time, of all quick looks so far
    passes: Counter[str] = field(default_factory=Counter)  # by their outcome
    pass_seconds: float = 0.0


class Rounds:
    """The loop over every instance of one store; `run` returns after `stop`."""

    def __init__(self, serving: Serving, sentry: Sentry, *, now: Callable[[], float] = time.monotonic) -> None:
        self._service = PerThread(serving, lambda service: service.store.close())
        self._sentry = sentry
        self._now = now
        self._charges: dict[str, Charge] = {}
        self._moved = (0, -1)
        self._began = time.time()
        self._ending = threading.Event()
        self._lock = threading.Lock()
        self._house_due = 0.0
        self.pulse = Pulse()

    def stop(self) -> None:
        """Have `run` return, once the passes that are under way have ended, or after 20 seconds: the next start goes on with them."""
        self._ending.set()
        self._sentry.wake()

    def wake(self) -> None:
        """Have a round made at once: something was accepted."""
        self._sentry.wake()

    def run(self) -> None:
        """Make rounds until `stop`."""
        pool = ThreadPoolExecutor(_PASSES_AT_ONCE, "pass")
        try:
            while not self._ending.is_set():
                self._guarded_round(pool)
                self._sentry.wait(min(QUICK_SECONDS, max(self._next_due() - self._now(), 0.0)))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._await_passes()
            self._sentry.close()

    def _await_passes(self) -> None:
        deadline = self._now() + _LAST_PASSES_SECONDS
        while any(charge.at_work for charge in self._charges.values()) and self._now() < deadline:
            time.sleep(0.005)

    def _next_due(self) -> float:
        return min((charge.due for charge in self._charges.values() if not charge.at_work), default=self._now() + QUICK_SECONDS)

    def _guarded_round(self, pool: ThreadPoolExecutor) -> None:
        try:
            self._round(pool)
        except Refusal as refusal:  # the store cannot be read now
            log.error("%s", refusal.message)

    def _round(self, pool: ThreadPoolExecutor) -> None:
        start, spent = self._now(), time.thread_time()
        self._read_store(start)
        for charge in self._charges.values():
            if not charge.at_work:
                seen = self._sentry.glance(charge.want)
                if seen != charge.glance:
                    charge.glance = seen
                    charge.due = min(charge.due, max(start, charge.rest))
        looked = self._now()
        for instance_id, charge in self._charges.items():
            if charge.due <= looked and not charge.at_work and not self._stood_down(charge):
                charge.at_work = True
                pool.submit(self._pass, instance_id, charge)
        if self._house_due <= looked:
            self._house_due = looked + _HOUSE_SECONDS
            pool.submit(self._keep_house)
        self.pulse.rounds += 1
        self.pulse.last_round = looked
        self.pulse.quick_seconds += time.thread_time() - spent

    def _read_store(self, now: float) -> None:
        """Read the wishes where somebody has written any; what is new or changed is due."""
        service = self._service()
        store, moved = service.store, (id(service), service.store.moved())
        if moved == self._moved:
            return
        self._moved = moved
        there = {want.id: want for want in store.everything()}
        for gone in self._charges.keys() - there.keys():
            self._sentry.dismiss(gone)
            del self._charges[gone]
        for instance_id, want in there.items():
            standing = Standing(want.generation, store.converged_generation(instance_id), store.last(instance_id))
            charge = self._charges.get(instance_id)
            if charge is None:
                self._charges[instance_id] = Charge(want, standing, now)
                continue
            charge.want = want
            if standing.asks_more_than(charge.standing):
                charge.tries, charge.rest = 0, 0.0
            if charge.standing != standing:
                charge.standing = standing
                charge.due = min(charge.due, max(now, charge.rest))

    def _stood_down(self, charge: Charge) -> bool:
        """Tell whether somebody has ended the servers of an instance on purpose, for a shutdown, since this loop began."""
        last = charge.standing.last
        return last is not None and last.verb == "down" and last.started >= self._began

    # ------------------------------------------------------------------------------------------ a pass, in a thread of its own

    def _pass(self, instance_id: str, charge: Charge) -> None:
        start, standing = self._now(), charge.standing
        charge.due = start + FULL_SECONDS * (1.0 if charge.spread else zlib.crc32(instance_id.encode()) / 2**32)
        charge.spread = True
        try:
            outcome = self._attend(instance_id, charge)
        except Exception:  # the outermost door of a pass: one instance that nobody foresaw shall not end the loop
            log.exception("%s: an error of howdah itself", charge.want.name)
            outcome = "error"
            self._back_off(charge)
        finally:
            if charge.standing.asks_more_than(standing):  # while it failed: that is no reason to let who asked wait
                charge.tries, charge.rest, charge.due = 0, 0.0, start
            charge.at_work = False
            self._sentry.wake()
        with self._lock:
            self.pulse.passes[outcome] += 1
            self.pulse.pass_seconds += self._now() - start

    def _attend(self, instance_id: str, charge: Charge) -> str:
        start, name = self._now(), charge.want.name
        try:
            done = self._service().attend(instance_id, LOOP)
        except Conflict as conflict:
            if conflict.code != "busy":
                return self._failed(charge, conflict)
            charge.due = start + _BUSY_SECONDS
            return "busy"
        except Refusal as refusal:
            return self._failed(charge, refusal)
        took = round((self._now() - start) * 1000)
        if done.operation is None or not done.operation.story:
            if self._calm(charge):
                charge.tries = 0
            log.info("%s", say("{name}: all is as wanted ({took} ms)", name=name, took=took))
            return "right"
        self._again(charge)
        log.info("%s", say("{name}: {done} in {took} ms: {why}", name=name, done=_what(done), took=took, why=_why(done)))
        return "done"

    def _failed(self, charge: Charge, refusal: Refusal) -> str:
        self._back_off(charge)
        again = round(charge.due - self._now())
        log.warning("%s", say("{name}: {reason}; again in {again} s", name=charge.want.name, reason=refusal.message, again=again))
        return "failed"

    def _again(self, charge: Charge) -> None:
        """Count work that was done; what has to be done time and again waits longer each time."""
        if self._calm(charge):
            charge.tries = 0
        charge.tries, charge.tried_at = charge.tries + 1, self._now()
        charge.delay = _doubled(charge.tries - _PATIENT_TRIES - 2, _LONGEST_REST) if charge.tries > _PATIENT_TRIES else 0.0
        charge.rest = self._now() + charge.delay

    def _calm(self, charge: Charge) -> bool:
        return self._now() - charge.tried_at > min(max(_LASTS_LEAST, charge.delay * _LASTS_TIMES), _LASTS_MOST)

    def _back_off(self, charge: Charge) -> None:
        charge.tries, charge.tried_at = charge.tries + 1, self._now()
        charge.delay = _doubled(charge.tries - 1, _LONGEST_BACKOFF)
        charge.due = self._now() + charge.delay
        charge.rest = charge.due if charge.tries > _PATIENT_TRIES else 0.0

    def _keep_house(self) -> None:
        """Empty the trash of what is old enough, and have missing spares made: whoever was to make them may have been killed."""
        with suppress(Refusal):
            self._service().clear_trash()
        with suppress(Refusal):
            self._service().refill_spares()


def _doubled(times: int, most: float) -> float:
    return min(2.0 ** min(times, 16), most)  # what fails for days fails more often than a float can be doubled


def _what(done: Done) -> str:
    verb = done.operation.verb if done.operation is not None else "repair"
    return "put right" if verb == "repair" else f"{verb} done"


def _why(done: Done) -> Phrase:
    story = done.operation.story if done.operation is not None else ()
    more = len(story) - 1
    first = story[0].why
    return say("{first} (and {more} more steps)", first=first, more=more) if more else first


def _never_asked(question: Question) -> None:
    raise AssertionError(f"the loop is never asked: {question.text}")


LOOP = Caller("howdah serve", "howdah serve", _never_asked, lambda _: None, patience=0.0)
