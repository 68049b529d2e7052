"""What all pages share: the verbs for the thread that asks, and what is kept for a moment between a request and the page that follows it.

What is kept is a convenience and lost at the end: a notice, what was typed into a form that a server refused, a secret not yet shown.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from howdah import compose
from howdah.phrase import Phrase
from howdah.service.people import People
from howdah.service.perthread import PerThread
from howdah.service.rounds import Rounds
from howdah.service.sampling import Samples
from howdah.service.verbs import Service

_KEPT_SECONDS = 600.0
_KEPT_MOST = 1000


class Kept:
    """Things kept for ten minutes, each for one reader, by a key that cannot be guessed."""

    def __init__(self) -> None:
        self._things: dict[str, tuple[float, str, Any]] = {}
        self._lock = threading.Lock()

    def put(self, owner: str, thing: Any, key: str = "") -> str:
        """Keep a thing for somebody; return its key."""
        key, now = key or secrets.token_urlsafe(12), time.monotonic()
        with self._lock:
            for old in [each for each, (at, _, _) in self._things.items() if now - at > _KEPT_SECONDS][:_KEPT_MOST]:
                del self._things[old]
            while len(self._things) >= _KEPT_MOST:
                del self._things[next(iter(self._things))]
            self._things[key] = (now, owner, thing)
        return key

    def take(self, owner: str, key: str, *, leave: bool = False) -> Any:
        """Return a thing to its owner, and keep it no longer unless it is to be left; None where there is none."""
        with self._lock:
            found = self._things.get(key)
            if found is None or found[1] != owner or time.monotonic() - found[0] > _KEPT_SECONDS:
                return None
            if not leave:
                del self._things[key]
            return found[2]


@dataclass(frozen=True)
class Once:
    """A password that was made, to be shown once, and where to go on."""

    title: Phrase
    user: str
    secret: str
    after: str
    instance: str = ""
    passfile: str = ""


@dataclass(frozen=True)
class Found:
    """What one check of a proof found, for a reader of any language."""

    id: str
    hop: str
    title: Phrase
    result: str
    evidence: Phrase
    fix: Phrase | None


@dataclass(frozen=True)
class Proven:
    """The latest proof of an instance that was run from the console, when, and how long it took."""

    proven: bool
    checks: tuple[Found, ...]
    at: float  # seconds since the epoch
    seconds: float


@dataclass(frozen=True)
class Draft:
    """What was typed into a form whose wish a server refused."""

    values: Mapping[str, str]


class Desk:
    """The verbs, and what is kept."""

    def __init__(self, home: Path, rounds: Rounds, samples: Samples, *, trash_seconds: float) -> None:
        self.home = home
        self.rounds = rounds
        self.trash_seconds = trash_seconds
        self._service = PerThread(
            lambda: compose.serving(home, rounds.wake, trash_seconds=trash_seconds), lambda service: service.store.close()
        )
        self._people = PerThread(lambda: compose.people(home), lambda people: people.register.close())
        self.samples = samples
        self.proven: dict[str, Proven] = {}  # by the instance's id; what is gone costs a few kilobytes until the end
        self.notices, self.onces, self.drafts = Kept(), Kept(), Kept()

    @property
    def service(self) -> Service:
        """The verbs about instances."""
        return self._service()

    @property
    def people(self) -> People:
        """The verbs about people."""
        return self._people()
