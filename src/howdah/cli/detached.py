"""spare and empty-trash: what a detached process does in the background. Hidden, for people have no use for them."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from howdah.cli.request import Request
from howdah.cli.verb import verb

Major = Annotated[int, typer.Argument(metavar="MAJOR", help="PostgreSQL's major version")]
After = Annotated[float, typer.Option("--after", metavar="SECONDS", help="wait this long first")]
_LONGEST_SECONDS = 31_536_000.0


@verb("spare", hidden=True, example="howdah spare 15")
def spare(request: Request, major: Major) -> None:
    """Make a spare data directory, where one is wanted."""
    from howdah import compose

    compose.make_spare(request.home, major)


@verb("empty-trash", hidden=True, example="howdah empty-trash --after 600")
def empty_trash(request: Request, after: After = 0.0) -> None:
    """Remove for good what has lain in the trash for long enough."""
    time.sleep(min(max(after, 0.0), _LONGEST_SECONDS))
    request.service.clear_trash()
