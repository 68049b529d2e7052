"""spare and empty-trash: what a detached process does in the background. Hidden, for people have no use for them."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Annotated

import typer

from howdah.cli.request import Request
from howdah.cli.verb import verb
from howdah.errors import Conflict

Major = Annotated[int, typer.Argument(metavar="MAJOR", help="PostgreSQL's major version")]
# a home that is removed in the meantime is noticed this soon (seconds)
_LONGEST_SLEEP = 5.0


@verb("spare", hidden=True, example="howdah spare 15")
def spare(request: Request, major: Major) -> None:
    """Make a spare data directory, where one is wanted."""
    from howdah import compose

    compose.make_spare(request.home, major)


@verb("empty-trash", hidden=True, example="howdah empty-trash")
def empty_trash(request: Request) -> None:
    """Remove for good what has lain in the trash for long enough; one process does it for all, and ends when the trash is empty."""
    with suppress(Conflict), request.service.lease("trash", "emptying the trash", 0.0, lambda _: None):
        while (seconds := request.service.clear_trash()) is not None and request.home.exists():
            time.sleep(min(max(seconds, 0.1), _LONGEST_SLEEP))
