"""What a look at this machine brings to light: one finding is one thing looked at, what was seen, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Literal

from howdah.phrase import Phrase

Result = Literal["pass", "warn", "fail", "skip"]
DAY = 86_400.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `evidence` is what was seen, `fix` what to do about it."""

    id: str
    title: Phrase
    result: Result
    evidence: Phrase
    fix: Phrase | None = None


def day(text: str) -> float:
    """Return when a day begins (ISO 8601, UTC), in seconds since the epoch.

    >>> day("1970-01-02")
    86400.0
    """
    return datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC).timestamp()
