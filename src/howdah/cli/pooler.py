"""pooler: who is still connected through an older pooler, and their end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from howdah.cli import pages, shapes
from howdah.cli.request import Request
from howdah.cli.verb import Name, verb
from howdah.phrase import say

if TYPE_CHECKING:
    from howdah.core.observed import Session

For = Annotated[float, typer.Option("--for", metavar="SECONDS", help="how long to wait for them to leave")]
End = Annotated[bool, typer.Option("--end", help="end those that are left")]


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
