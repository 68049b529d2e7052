"""members: the PostgreSQL servers of an instance; a single engine has exactly one."""

from __future__ import annotations

from typing import Annotated

import typer

from howdah.cli import pages, shapes
from howdah.cli.request import Request
from howdah.cli.verb import Name, verb
from howdah.errors import Unsupported
from howdah.phrase import say

Member = Annotated[str, typer.Argument(metavar="MEMBER", help="the member, as members list names it")]


@verb("members list", example="howdah members list shop")
def list_(request: Request, name: Name) -> None:
    """List the PostgreSQL servers of an instance."""
    rows = shapes.members(request.reading.show(name))
    cells = [(row["name"], row["role"], pages.status(request.screen, row["status"])) for row in rows]
    request.screen.answer(rows, lambda: pages.table(cells))


@verb("members remove", example="howdah members remove shop MEMBER")
def remove(request: Request, name: Name, member: Member) -> None:
    """Remove a server from an instance. An instance of one member refuses it."""
    want = request.reading.show(name).instance
    hint = say("howdah delete {name} deletes the instance with its only member", name=want.name)
    message = say(
        "cannot remove member {member} of {name}: the engine {engine} has one member", member=member, name=want.name, engine=want.engine
    )
    raise Unsupported("single_member", message, hint)
