"""pooler: who is connected through it, encrypted as it sees it, and who still through an older one, and their end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from howdah.cli import pages, shapes
from howdah.cli.request import Request
from howdah.cli.verb import Name, verb
from howdah.errors import Conflict, NotFound
from howdah.phrase import say

if TYPE_CHECKING:
    from howdah.cli.shapes import Shape
    from howdah.core.observed import Session

_ADD = say("add it: `howdah extensions add NAME pooler`")
For = Annotated[float, typer.Option("--for", metavar="SECONDS", help="how long to wait for them to leave")]
End = Annotated[bool, typer.Option("--end", help="end those that are left")]


@verb("pooler sessions", example="howdah pooler sessions shop")
def sessions(request: Request, name: Name) -> None:
    """Name who is with the pooler, and how the pooler itself sees each session encrypted. What a program says of its own end can be held
    against it while the program is connected."""
    from howdah import compose

    want = request.reading.found(name)
    if want.pooler is None:
        raise NotFound("no_pooler", say("cannot ask a pooler: {name} has none", name=want.name), _ADD)
    if want.state != "running":
        raise Conflict(
            "not_running", say("cannot ask the pooler: {name} is stopped", name=want.name), say("howdah start {name}", name=want.name)
        )
    found = compose.pooled_sessions(request.home, want)
    request.screen.answer([_seen(*each) for each in found], lambda: _seen_lines(request, found))
    if not found:
        request.screen.note(say("no session is with the pooler"))


def _seen(session: Session, tls: str) -> Shape:
    return shapes.session(session) | {"encrypted": bool(tls), "tls": tls or None}


def _seen_lines(request: Request, found: Sequence[tuple[Session, str]]) -> list[str]:
    now, screen = time.time(), request.screen
    heads = (say("user"), say("database"), say("application"), say("address"), say("encrypted"), say("connected for"))
    rows = [
        (one.user, one.database, one.application or "-", one.address, tls or screen.text(say("no")), _ago(request, now - one.since))
        for one, tls in found
    ]
    return pages.table(rows, pages.heads(screen, *heads)) if rows else []


@verb("pooler drain", changes=True, asks=True, example="howdah pooler drain shop --for 60 --end")
def drain(request: Request, name: Name, seconds: For = 0.0, end: End = False) -> None:
    """Name the sessions that an older pooler still serves after a change, or end them. Without --end nobody is ended."""
    done, left = request.service.drain_pooler(name, request.caller, seconds=seconds, end=end)
    ended = end and bool(left)
    shape = shapes.change(done, None) | {"sessions": [shapes.session(each) for each in left], "ended": ended}
    request.screen.answer(shape, lambda: [*_lines(request, left), *pages.after(request.screen, done, None, waits=request.waits)])
    if ended and request.waits:
        request.screen.note(say("ended sessions of older poolers: {count}", count=len(left)))
    elif not left:
        request.screen.note(say("no session is with an older pooler"))


def _lines(request: Request, left: Sequence[Session]) -> list[str]:
    now = time.time()
    titles = pages.heads(request.screen, say("user"), say("database"), say("application"), say("address"), say("connected for"))
    rows = [(each.user, each.database, each.application or "-", each.address, _ago(request, now - each.since)) for each in left]
    return pages.table(rows, titles) if rows else []


def _ago(request: Request, seconds: float) -> str:
    hours, minutes = int(seconds // 3600), int(seconds // 60 % 60)
    said = (
        say("{hours} h {minutes} min", hours=hours, minutes=minutes)
        if hours
        else say("{minutes} min {seconds} s", minutes=minutes, seconds=int(seconds % 60))
    )
    return request.screen.text(said)
