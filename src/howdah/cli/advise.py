"""advise: which applications may move to transaction mode, from watching what they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from howdah.cli.request import LONGEST_WAIT, Request
from howdah.cli.screen import Screen, Text
from howdah.cli.verb import Name, verb
from howdah.errors import Conflict, Invalid
from howdah.phrase import Phrase, say

if TYPE_CHECKING:
    from howdah.cli.shapes import Shape
    from howdah.core.advice import Advice, Judged, Use, Watched, Who

Seconds = Annotated[float, typer.Option("--for", metavar="SECONDS", help="how long to watch; Ctrl-C ends it and tells what was seen")]
VERDICTS: Mapping[str, tuple[Phrase, str]] = {
    "may": (say("may move: nothing of a session was seen"), "green"),
    "change": (say("may move once this is changed"), "yellow"),
    "direct": (say("a part of it stays on the direct endpoint"), "red"),
}
NOW: Mapping[str, tuple[Phrase, str]] = {
    "may": (say("is in transaction mode already: nothing of a session was seen"), "green"),
    "change": (say("is in transaction mode already, and this breaks"), "red"),
    "direct": (say("is in transaction mode already, and this breaks"), "red"),
}
SOURCES: Mapping[str, Phrase] = {
    "sessions": say("sessions"),
    "locks": say("locks"),
    "tables": say("tables"),
    "statements": say("pg_stat_statements"),
    "log": say("the log"),
    "pooler": say("the pooler"),
}


@verb("advise", example="howdah advise shop --for 5")
def advise(request: Request, name: Name, seconds: Seconds = 10.0) -> None:
    """Tell which applications may move to transaction mode, what would break, and the cure. It watches, and changes nothing."""
    from howdah import compose

    if not 0 <= seconds <= LONGEST_WAIT:
        raise Invalid("usage", say("cannot watch for {seconds} s: expected 0 to 86400", seconds=f"{seconds:g}"))
    want = request.reading.found(name)
    if want.state != "running":
        raise Conflict("not_running", say("cannot watch {name}: it is stopped", name=want.name), say("howdah start {name}", name=want.name))
    request.screen.progress.tell(say("watching {name} for {seconds} s", name=want.name, seconds=f"{seconds:g}"))
    watched, advice = compose.advise(request.home, want, seconds)
    request.screen.answer(shape(want.name, watched, advice), lambda: _lines(request.screen, want.name, watched, advice))


def shape(name: str, watched: Watched, advice: Advice) -> Shape:
    """Return the advice."""
    return {
        "instance": name,
        "seconds": round(watched.seconds, 3),
        "looks": watched.looks,
        "pool_mode": watched.pool_mode,
        "applications": [_application(each) for each in advice.judged],
        "elsewhere": [_application(each) for each in advice.elsewhere],
        "unseen": [str(each) for each in advice.unseen],
    }


def _application(judged: Judged) -> Shape:
    who = judged.who
    said = {"application": who.application, "user": who.user, "database": who.database, "via": who.hop, "verdict": judged.verdict}
    return {**said, "uses": [_used(use) for use in judged.uses]}


def _used(use: Use) -> Shape:
    found = use.feature
    words = {"title": str(found.title), "breaks": str(found.breaks), "cure": str(found.cure)}
    return {"feature": use.id, "seen": list(use.words), "sources": list(use.sources), **words}


def _lines(screen: Screen, name: str, watched: Watched, advice: Advice) -> Iterator[Text]:
    values = {"name": name, "seconds": f"{watched.seconds:.0f}", "looks": watched.looks, "mode": watched.pool_mode or "-"}
    yield say("{name}: watched for {seconds} s, {looks} looks, pool_mode {mode}", **values)
    if not advice.judged:
        yield say("no application was connected")
    for judged in advice.judged:
        yield from _told(
            screen, judged, NOW if judged.who.hop == "pooled" and watched.pool_mode in ("transaction", "statement") else VERDICTS
        )
    if advice.elsewhere:
        yield say("seen, and it is not known of whom:")
        for judged in advice.elsewhere:
            yield _named(judged.who)
            yield from _uses(screen, judged)
    yield say("what was not seen:")
    for each in advice.unseen:
        yield f"  {screen.text(each)}"


def _told(screen: Screen, judged: Judged, verdicts: Mapping[str, tuple[Phrase, str]]) -> Iterator[Text]:
    yield f"{_named(judged.who)}  {screen.paint(*verdicts[judged.verdict])}"
    yield from _uses(screen, judged)


def _uses(screen: Screen, judged: Judged) -> Iterator[Text]:
    for use in judged.uses:
        sources = ", ".join(screen.text(SOURCES[source]) for source in use.sources)
        seen = ", ".join(words for words in use.words if words != "…")
        yield f"  {screen.text(use.feature.title)}{f': {seen}' if seen else ''} ({sources})"
        told = (say("breaks: {words}", words=use.feature.breaks), say("cure: {words}", words=use.feature.cure))
        yield from (f"    {screen.text(each)}" for each in told)


def _named(who: Who) -> str:
    application = "-" if who.application == "" else who.application or "?"
    return f"{application}  {who.user or '?'}@{who.database}  {who.hop or '?'}"
