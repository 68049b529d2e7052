"""Measures every running instance from time to time, and keeps what was measured in bounded rings: an hour closely, a day coarsely.

What is kept is put on a shelf once a minute and at the end, and taken from there at the start.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from howdah.core.instance import Instance
from howdah.core.samples import SECONDS, Sample, Shelf, Span
from howdah.errors import Refusal
from howdah.phrase import say
from howdah.service.births import Births
from howdah.service.perthread import PerThread

CLOSE_SECONDS, COARSE_SECONDS = 15.0, 300.0
_MOST = {"fresh": 60, "hour": 240, "day": 288}
_PUT_AWAY_SECONDS = 60.0
_JITTER_SECONDS = 0.5  # the loop of measuring turns once a second: what is a moment early is not left out
_WHOLE_SECONDS = 60.0
_WATCHED_SECONDS = 5.0
_ATTENTION_SECONDS = 30.0  # for so long after somebody looked, the instance is measured more often

log = logging.getLogger("howdah.serve")


@dataclass
class Ring:
    """What is kept of one instance: the newest however close, then one each quarter of a minute, and one each five minutes."""

    fresh: deque[Sample] = field(default_factory=lambda: deque(maxlen=_MOST["fresh"]))
    close: deque[Sample] = field(default_factory=lambda: deque(maxlen=_MOST["hour"]))
    coarse: deque[Sample] = field(default_factory=lambda: deque(maxlen=_MOST["day"]))
    counts: Sample = field(default_factory=dict)
    coarse_counts: Sample = field(default_factory=dict)
    size: float | None = None
    whole_at: float = 0.0
    looked_at: float = 0.0


class Samples:
    """What was measured; read by any thread."""

    def __init__(self) -> None:
        self._rings: dict[str, Ring] = {}
        self._made: list[tuple[str, Span, Sample]] = []
        self._lock = threading.Lock()

    def restore(self, kept: Iterable[tuple[str, Span, Sample]]) -> None:
        """Take what an earlier process has kept, oldest first; two that measured at once do not make it closer."""
        with self._lock:
            for instance_id, span, sample in kept:
                ring = self._rings.setdefault(instance_id, Ring())
                into, gap = (ring.close, CLOSE_SECONDS) if span == "hour" else (ring.coarse, COARSE_SECONDS)
                if _apart(into, sample["at"], gap):
                    into.append(sample)
                ring.size = sample.get("size", ring.size)

    def take_made(self) -> list[tuple[str, Span, Sample]]:
        """Return what was made since this was last asked."""
        with self._lock:
            made, self._made = self._made, []
            return made

    def latest(self, instance_id: str) -> Sample:
        """Return the newest sample, empty where there is none."""
        with self._lock:
            ring = self._rings.get(instance_id)
            return dict(ring.fresh[-1]) if ring is not None and ring.fresh else {}

    def over(self, instance_id: str, span: Span) -> tuple[Sample, ...]:
        """Return the samples of the last hour or day, oldest first; the instance is measured more often while somebody asks."""
        with self._lock:
            ring = self._rings.setdefault(instance_id, Ring())
            ring.looked_at = time.monotonic()
            if span == "day":
                kept = [*ring.coarse, *list(ring.fresh)[-1:]]
            else:
                first = ring.fresh[0]["at"] if ring.fresh else math.inf
                kept = [*(each for each in ring.close if each["at"] < first), *ring.fresh]
            return tuple(each for each in kept if each["at"] > kept[-1]["at"] - SECONDS[span])

    def due(self, instance_id: str, now: float) -> bool:
        """Tell whether an instance is to be measured now (seconds since the epoch)."""
        with self._lock:
            ring = self._rings.setdefault(instance_id, Ring())
            watched = time.monotonic() - ring.looked_at < _ATTENTION_SECONDS and ring.looked_at > 0
            gap = _WATCHED_SECONDS if watched else CLOSE_SECONDS
            return _apart(ring.fresh, now, gap)

    def whole(self, instance_id: str, now: float) -> bool:
        """Tell whether it is time for what takes longer."""
        with self._lock:
            ring = self._rings.setdefault(instance_id, Ring())
            due = now - ring.whole_at >= _WHOLE_SECONDS
            ring.whole_at = now if due else ring.whole_at
            return due

    def keep(self, instance_id: str, measured: Sample, now: float) -> None:
        """Keep what was measured; what only grows becomes a rate."""
        with self._lock:
            ring = self._rings.setdefault(instance_id, Ring())
            ring.size = measured.get("size", ring.size)
            counts = {**{name: value for name, value in measured.items() if name.endswith("_total")}, "at": now}
            told = {name: value for name, value in measured.items() if not name.endswith("_total")} | {"at": now}
            if ring.size is not None:
                told["size"] = ring.size
            if (share := _share(measured)) is not None:
                told["tls"] = share
            before, ring.counts = ring.counts, counts
            made = told | rates(before, measured, now)
            ring.fresh.append(made)
            if _apart(ring.close, now, CLOSE_SECONDS):
                ring.close.append(made)
                self._made.append((instance_id, "hour", made))
            if _apart(ring.coarse, now, COARSE_SECONDS):
                since = ring.coarse_counts or before
                coarse = told | rates(since, measured, now)  # over the whole five minutes, not their last seconds
                ring.coarse_counts = counts
                ring.coarse.append(coarse)
                self._made.append((instance_id, "day", coarse))

    def known(self) -> set[str]:
        """Return of which instances there is anything."""
        with self._lock:
            return {*self._rings}

    def forget_but(self, there: set[str]) -> None:
        """Forget what is gone."""
        with self._lock:
            for gone in self._rings.keys() - there:
                del self._rings[gone]


def _apart(ring: deque[Sample], now: float, gap: float) -> bool:
    """Tell whether it is time for another sample; also where the clock was set back meanwhile."""
    return not ring or not 0 <= now - ring[-1]["at"] < gap - _JITTER_SECONDS


def rates(before: Sample, measured: Sample, now: float) -> Sample:
    """Return what has grown, for each second, between two measurements; nothing where a server began anew in between.

    >>> rates({"at": 0.0, "transactions_total": 10.0}, {"transactions_total": 30.0}, 10.0)
    {'tps': 2.0}
    """
    if not before or now <= before["at"]:
        return {}
    grown = {
        name: value - before[name]
        for name, value in measured.items()
        if name.endswith("_total") and name in before and value >= before[name]
    }
    seconds, found = now - before["at"], Sample()
    for name, rate in (("transactions_total", "tps"), ("wal_total", "wal"), ("queries_total", "qps")):
        if name in grown:
            found[rate] = round(grown[name] / seconds, 3)
    if "cpu_total" in grown:
        found["cpu"] = round(grown["cpu_total"] / seconds * 100, 2)
    if (read := grown.get("hits_total", 0.0) + grown.get("reads_total", 0.0)) > 0:
        found["hits"] = round(grown.get("hits_total", 0.0) / read * 100, 2)
    if queries := grown.get("queries_total"):
        found["query_ms"] = round(grown.get("query_time_total", 0.0) / queries / 1000, 3)
    return found


def _share(measured: Sample) -> float | None:
    """Return how much of what comes over the network is encrypted, in percent."""
    total = measured.get("direct", 0.0) + measured.get("clients", 0.0)
    encrypted = measured.get("encrypted", 0.0) + measured.get("clients_encrypted", 0.0)
    return round(encrypted / total * 100, 1) if total else None


class Sampler:
    """Measures until it is told to stop; an instance that cannot be measured now is left for the next time."""

    def __init__(self, serving: Callable[[], Births], samples: Samples, shelf: Callable[[], Shelf] | None = None) -> None:
        self._service = PerThread(serving, lambda service: service.store.close())
        self._samples = samples
        self._open = shelf
        self._ending = threading.Event()

    def stop(self) -> None:
        """Have `run` return."""
        self._ending.set()

    def run(self) -> None:
        """Measure until `stop`."""
        shelf, put_away = self._taken_from_shelf(), time.monotonic()
        while not self._ending.wait(1.0):
            with suppress(Refusal):
                self._once()
            if time.monotonic() - put_away >= _PUT_AWAY_SECONDS:
                self._put_away(shelf)
                put_away = time.monotonic()
        self._put_away(shelf)
        if shelf is not None:
            shelf.close()

    def _taken_from_shelf(self) -> Shelf | None:
        if self._open is None:
            return None
        try:
            shelf = self._open()
            self._samples.restore(shelf.kept(time.time()))
        except Refusal as refusal:
            log.warning("%s", say("the charts begin anew: {reason}", reason=refusal.message))
            return None
        return shelf

    def _put_away(self, shelf: Shelf | None) -> None:
        made = self._samples.take_made()
        if shelf is not None:
            with suppress(Refusal):  # no room, or somebody else writes: what was made meanwhile is not kept
                shelf.keep(made, self._samples.known(), time.time())

    def _once(self) -> None:
        service = self._service()
        there = service.store.everything()
        self._samples.forget_but({want.id for want in there})
        for want in there:
            if want.state == "running" and self._samples.due(want.id, time.time()) and not self._ending.is_set():
                self._measure(service, want)

    def _measure(self, service: Births, want: Instance) -> None:
        try:
            whole = self._samples.whole(want.id, time.time())
            self._samples.keep(want.id, service.host.sample(want, whole=whole), time.time())
        except Exception:  # the outermost door of this thread: what nobody foresaw shall not end it
            log.exception("%s: cannot be measured: an error of howdah itself", want.name)
