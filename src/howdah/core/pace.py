"""How fast an instance is, as measured by `bench`: what was done, on which hop, round by round; nothing is measured here."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from howdah.core.instance import Hop
from howdah.phrase import Phrase, say

Kind = Literal["logins", "reads", "writes"]
KINDS: Final[Mapping[Kind, Phrase]] = {
    "logins": say("logins: connect, ask once, leave"),
    "reads": say("reads: one row by its key"),
    "writes": say("writes: a transaction of five statements"),
}


@dataclass(frozen=True)
class Asked:
    """What is to be measured: seconds of each measurement, how many clients at a time, how many rounds of everything."""

    seconds: int = 2
    clients: int = 4
    rounds: int = 3


@dataclass
class Pace:
    """One kind of work on one hop: how many a second and their mean milliseconds, by round; or why it could not be done."""

    hop: Hop
    kind: Kind
    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    words: str = ""

    @property
    def rate(self) -> float:
        """The middle round's."""
        return statistics.median(self.rates) if self.rates else 0.0

    @property
    def latency(self) -> float:
        """The middle round's, in milliseconds."""
        return statistics.median(self.latencies) if self.latencies else 0.0


@dataclass(frozen=True)
class Measured:
    """Everything that one bench saw, and under which settings."""

    asked: Asked
    paces: Sequence[Pace]
    settings: Mapping[str, str]
    seconds: float
