"""The authority that clients verify with, and its change for a successor: what lies there, where that stands, what time asks for.

The file that clients have holds one certificate, or two while the authority changes; the first is always that of who issues. So each step
of the change is one file put in place by one rename: *announced*, the successor stands behind; *switched*, it stands before; at last it is
alone. A client that has both believes either. Nothing here looks at anything or acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from howdah.certificate import LONGEST_DAYS
from howdah.phrase import Phrase, say

Phase = Literal["settled", "announced", "switched"]
Turn = Literal["announce", "switch", "finish", "recall"]
_DAY: Final = 86_400.0
# While this much of the authority's life is left, clients copy the file often enough to have the successor in time
_ANNOUNCED_DAYS: Final = 2.0 * LONGEST_DAYS
# A leaf does not outlive who issued it: whatever touches an instance must find time enough to issue it anew
_SWITCHED_DAYS: Final = 30.0


@dataclass(frozen=True)
class Authority:
    """One certificate of an authority; SHA-256 fingerprint in lower-case hexadecimal, dates in seconds since the epoch."""

    pem: str
    fingerprint: str
    not_before: float
    not_after: float


@dataclass(frozen=True)
class Bundle:
    """What clients verify with: `issuer` signs; `other` is a successor that is announced, or a predecessor that is still believed."""

    file: Path
    issuer: Authority
    other: Authority | None = None
    phase: Phase = "settled"
    cut_off: bool = False  # a change that was killed has left something behind

    @property
    def pem(self) -> str:
        """The file's text."""
        return self.issuer.pem + (self.other.pem if self.other is not None else "")

    @property
    def fingerprint(self) -> str:
        """The fingerprint of who issues."""
        return self.issuer.fingerprint

    @property
    def not_after(self) -> float:
        """The end of who issues."""
        return self.issuer.not_after

    @property
    def newest(self) -> Authority:
        """The younger of the two: a copy of the file from before its time does not know it."""
        return self.other if self.phase == "announced" and self.other is not None else self.issuer


def due(bundle: Bundle, now: float) -> tuple[Turn, Phrase] | None:
    """Return the turn that time alone asks for, and why; None while nothing presses."""
    days = int((bundle.issuer.not_after - now) / _DAY)
    if bundle.phase == "settled" and days < _ANNOUNCED_DAYS:
        return "announce", say("the authority is good for {days} days more, and clients have to know its successor in time", days=days)
    if bundle.phase == "announced" and days < _SWITCHED_DAYS:
        return "switch", say("the authority is good for {days} days more, and what it issues is no longer", days=days)
    if bundle.phase == "switched" and bundle.other is not None and bundle.other.not_after < now:
        return "finish", say("the previous authority has expired")
    return None


def stands(bundle: Bundle) -> Phrase:
    """Say where the change stands, who could not verify now or next, and what the next command is."""
    if bundle.phase == "announced":
        return say(
            "a successor is announced: clients whose copy of {file} is older than it will not believe it; "
            "when all have the new file: howdah ca switch",
            file=bundle.file,
        )
    if bundle.phase == "switched":
        return say(
            "the successor issues: clients whose copy of {file} is older than it cannot verify; "
            "when none is left: howdah ca finish, and howdah ca recall goes back",
            file=bundle.file,
        )
    if bundle.cut_off:
        return say("a change of the authority was cut off, and the next pass clears up after it: howdah repair --all")
    return say("one authority, no change under way")
