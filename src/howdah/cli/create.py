"""create: an instance from nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from howdah.cli import pages
from howdah.cli.pairs import extensions, pairs
from howdah.cli.request import Request
from howdah.cli.screen import Text
from howdah.cli.verb import Name, verb
from howdah.phrase import say
from howdah.service.caller import Done

Major = Annotated[
    int | None, typer.Option("--version", metavar="MAJOR", help="PostgreSQL's major version; the newest one installed if not said")
]
Size = Annotated[
    str | None,
    typer.Option("--size", metavar="NAME", help="how much memory and how many cores to count on: tiny, small, medium, large, xlarge"),
]
Port = Annotated[int | None, typer.Option("--port", metavar="N", help="PostgreSQL's port; the first free one from 5432 if not said")]
Listen = Annotated[list[str] | None, typer.Option("--listen", metavar="ADDR", help="an IP address to listen on; loopback only if not said")]
Hostname = Annotated[
    list[str] | None, typer.Option("--hostname", metavar="DNS", help="a name under which clients reach it; the certificate bears it")
]
Allow = Annotated[list[str] | None, typer.Option("--allow", metavar="CIDR", help="a network whose clients may connect")]
Params = Annotated[list[str] | None, typer.Option("--param", metavar="K=V", help="a PostgreSQL parameter")]
Extensions = Annotated[list[str] | None, typer.Option("--extension", metavar="EXT[:K=V,…]", help="an extension with its settings")]
Database = Annotated[str | None, typer.Option("--database", metavar="D", help="a database to make")]
User = Annotated[
    str | None, typer.Option("--user", metavar="U", help="a user to make, who owns the database; a password is made and shown once")
]


@verb("create", changes=True, asks=True, example="howdah create shop --extension pooler:pool_mode=session --database shop --user app")
def create(
    request: Request,
    name: Name,
    version: Major = None,
    size: Size = None,
    port: Port = None,
    listen: Listen = None,
    hostname: Hostname = None,
    allow: Allow = None,
    param: Params = None,
    extension: Extensions = None,
    database: Database = None,
    user: User = None,
) -> None:
    """Create an instance, encrypted from its first connection on. Asked again with the same wish, it goes on or says that it is so."""
    from howdah.core.wishes import Creation

    creation = Creation(
        name=name,
        version=version,
        size=size,
        port=port,
        listen=tuple(listen or ()),
        hostnames=tuple(hostname or ()),
        allow=tuple(allow or ()),
        parameters=pairs(param or ()),
        extensions=extensions(extension or ()),
        database=database,
        user=user,
    )
    done = request.service.create(creation, request.caller)
    request.finish(done, _lines(request, done) if not request.screen.json else ())


def _lines(request: Request, done: Done) -> list[Text]:
    seen = request.service.show(done.instance.name)
    created = done.operation is not None and done.operation.verb == "create" and request.waits
    first = [say("created {name} in {duration}", name=done.instance.name, duration=pages.took(done))] if created else []
    return [*first, *pages.card(request.screen, seen)]
