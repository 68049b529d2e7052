"""explain: what PostgreSQL, PgBouncer or a driver said, why, and what to do about it; from the table that the reference is written from."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from howdah.cli.request import Request
from howdah.cli.screen import Screen
from howdah.cli.verb import verb
from howdah.errors import Invalid, NotFound
from howdah.phrase import Phrase, say

if TYPE_CHECKING:
    from howdah.catalog.messages import Message
    from howdah.catalog.messages.matching import Match
    from howdah.cli.shapes import Shape

Words = Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="the error, in quotes; without it, from standard input")]
_SPEAKERS = {"keeper": say("PgBouncer's keeper")}
_HINT = say(
    "look for its first line, in English if you can (LC_MESSAGES=C); `howdah doctor`, `howdah verify NAME` and `howdah logs NAME` look for "
    "the cause themselves"
)


@verb("explain", example="howdah explain 'FATAL:  SSL required'")
def explain(request: Request, words: Words = None) -> None:
    """Explain an error of PostgreSQL, PgBouncer or a driver. The likeliest cause comes first; exit code 3 says that none is known."""
    from howdah.catalog.messages.matching import LONGEST
    from howdah.catalog.messages.matching import explain as known

    text = " ".join(words) if words else _given(request, LONGEST)
    if not text.strip():
        raise Invalid(
            "usage", say("cannot explain: there is no text"), say("howdah explain 'THE ERROR', or let it come from standard input")
        )
    found = known(text)
    if not found:
        raise NotFound("unknown_message", say("cannot explain this: no message in it is known here"), _HINT)
    request.screen.answer([shape(match) for match in found], lambda: _lines(request.screen, found))


def _given(request: Request, longest: int) -> str:
    if sys.stdin is None:
        return ""
    if request.screen.asks:
        request.screen.note(say("paste the error, then Ctrl-D"))
    return sys.stdin.buffer.read(4 * longest).decode(errors="replace")


def shape(match: Match) -> Shape:
    """Return one explanation."""
    message = match.message
    return {
        "id": message.id,
        "origin": message.origin,
        "where": match.where,
        "words": message.words,
        "versions": list(message.versions),
        "by_sqlstate": match.by_state,
        "cause": str(message.cause),
        "cure": str(message.cure),
    }


def _lines(screen: Screen, found: tuple[Match, ...]) -> Iterator[Phrase | str]:
    for match in found:
        yield screen.paint(_title(match), "bold")
        yield say("  why: {cause}", cause=match.message.cause)
        yield say("  do:  {cure}", cure=match.message.cure)


def _title(match: Match) -> Phrase:
    speaker = _speaker(match.message)
    if match.by_state:
        return say("{speaker}: {words} (by its SQLSTATE)", speaker=speaker, words=match.message.words)
    return say("{speaker}: {words}", speaker=speaker, words=match.message.words)


def _speaker(message: Message) -> Phrase | str:
    name: Phrase | str = _SPEAKERS.get(message.origin, message.origin)
    return say("{name} {versions}", name=name, versions=", ".join(message.versions)) if message.versions else name
