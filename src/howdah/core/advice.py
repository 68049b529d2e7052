"""Which applications may move to transaction mode: what was seen of each in, a verdict with its reasons and cures out.

Nothing here looks at anything. An application is named by what it calls itself, its user and its database; one that was not there while it
was watched has no verdict. What nobody can see from outside a session is said with every advice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from howdah.core.habits import FEATURES, Feature, Habit
from howdah.core.instance import Hop
from howdah.phrase import Phrase, say

Source = Literal["sessions", "locks", "tables", "statements", "log", "pooler"]
Verdict = Literal["may", "change", "direct"]


@dataclass(frozen=True, order=True)
class Who:
    """An application; what is not known is None."""

    application: str | None
    user: str | None
    database: str
    hop: Hop | None = None


@dataclass(frozen=True, order=True)
class Sighting:
    """A habit that was seen, of whom, and where it was seen."""

    who: Who
    habit: Habit
    source: Source


@dataclass(frozen=True)
class Watched:
    """What was seen of an instance, for how long, and by what."""

    seconds: float
    looks: int
    present: frozenset[Who]
    sightings: frozenset[Sighting]
    pool_mode: str | None  # None: there is no pooler
    carries: bool  # the pooler carries prepared statements of the protocol
    lists_prepared: bool  # ... and tells whose there are (1.21)
    statements: bool  # pg_stat_statements was there to ask
    since: str | None = None  # when its counting began, where it says so
    logged: bool = False  # the server logs every statement
    cut_short: bool = False


@dataclass(frozen=True)
class Use:
    """One feature in use: the words by which it was seen, and where."""

    id: str
    feature: Feature
    words: tuple[str, ...]
    sources: tuple[Source, ...]


@dataclass(frozen=True)
class Judged:
    """An application and its verdict: it may move as it is, once it is changed, or has a part that stays on the direct endpoint."""

    who: Who
    verdict: Verdict
    uses: tuple[Use, ...]


@dataclass(frozen=True)
class Advice:
    """All verdicts, what could not be laid at one application's door, and what nobody saw."""

    judged: tuple[Judged, ...]
    elsewhere: tuple[Judged, ...]
    unseen: tuple[Phrase, ...]


def judge(watched: Watched) -> Advice:
    """Return the advice, applications in the order of their names."""
    seen = [each for each in watched.sightings if not (each.habit.feature == "protocol_prepare" and watched.carries)]
    owned = {each: tuple(_owners(each, seen, watched.present)) for each in seen}
    present = sorted(watched.present, key=_order)
    judged = tuple(_judged(who, [each for each, owners in owned.items() if who in owners]) for who in present)
    nobody = [each for each, owners in owned.items() if not owners]
    elsewhere = (_judged(who, [each for each in nobody if each.who == who]) for who in sorted({each.who for each in nobody}, key=_order))
    return Advice(judged, tuple(elsewhere), tuple(_unseen(watched)))


def _owners(sighting: Sighting, seen: Sequence[Sighting], present: frozenset[Who]) -> Iterator[Who]:
    """Return whose a habit is: statistics name no application, so that it is the user's only one, or those that were seen with it."""
    who = sighting.who
    if who in present:
        yield who
        return
    possible = [each for each in present if each.database == who.database and who.user in (None, each.user)]
    known = {each.who for each in seen if each.habit == sighting.habit}
    yield from possible if len(possible) == 1 else (each for each in possible if each in known)


def _order(who: Who) -> tuple[str, str, str, str]:
    return who.application or "", who.user or "", who.database, who.hop or ""


def _judged(who: Who, sightings: Sequence[Sighting]) -> Judged:
    uses = tuple(_use(name, [each for each in sightings if each.habit.feature == name]) for name in FEATURES)
    there = tuple(use for use in uses if use.words)
    verdict: Verdict = "direct" if any(use.feature.stays for use in there) else "change" if there else "may"
    return Judged(who, verdict, there)


def _use(name: str, sightings: Sequence[Sighting]) -> Use:
    words = tuple(sorted({each.habit.words for each in sightings}))
    return Use(name, FEATURES[name], words, tuple(sorted({each.source for each in sightings})))


# --- what nobody saw ----------------------------------------------------------------------------------------------------------------

_STARTUP: Final = say(
    "settings that a client sends with its login (options=-c search_path=…) are in no view; the pooler ignores them in every pool mode"
)
_ABSENT: Final = say("applications that were not connected meanwhile; watch longer: --for SECONDS")


def _unseen(watched: Watched) -> Iterator[Phrase]:
    yield _STARTUP
    yield _ABSENT
    if watched.logged:
        yield say("what was done before: the log was read from the first look on")
    else:
        yield say(
            "statements that came and went between two looks, and those before the first one; `howdah params set NAME log_statement=all` "
            "logs each while you watch, and `howdah params unset NAME log_statement` ends that"
        )
    if not watched.statements:
        yield say("what was ever asked, and how often: `howdah extensions add NAME pg_stat_statements` counts it from then on (a restart)")
    elif watched.since is not None:
        yield say("what pg_stat_statements had not counted: its counting began {since}, and it forgets what is rare", since=watched.since)
    if not watched.lists_prepared and not watched.logged:
        yield say("prepared statements of the protocol: only a pooler from 1.21 on lists them, and the log with log_statement=all")
    yield say("what functions do inside, and what stands in a statement beyond track_activity_query_size")
