"""databases: those of an instance."""

from __future__ import annotations

from typing import Annotated

import typer

from howdah.cli import pages, shapes
from howdah.cli.request import Request
from howdah.cli.verb import Name, verb
from howdah.phrase import say

Database = Annotated[str, typer.Argument(metavar="D", help="the database")]
Locale = Annotated[str | None, typer.Option("--icu-locale", metavar="L", help="sort and compare text by an ICU locale, such as ru-RU")]


@verb("databases list", example="howdah databases list shop")
def list_(request: Request, name: Name) -> None:
    """List the databases of an instance, with their owners."""
    want = request.reading.show(name).instance
    rows = pages.database_rows(request.screen, want)
    request.screen.answer([shapes.database(each) for each in want.databases], lambda: pages.table(rows))


@verb("databases add", changes=True, example="howdah databases add shop stock --icu-locale ru-RU")
def add(request: Request, name: Name, database: Database, icu_locale: Locale = None) -> None:
    """Add a database. Users get rights in it by users grant."""
    done = request.service.add_database(name, database, None, icu_locale, request.caller)
    line = say("added database {database} ({duration})", database=database, duration=pages.took(done))
    request.finish(done, [line] if done.operation is not None and request.waits else ())


@verb("databases delete", changes=True, asks=True, example="howdah databases delete shop stock --yes")
def delete(request: Request, name: Name, database: Database) -> None:
    """Delete a database with everything in it."""
    done = request.service.delete_database(name, database, request.caller)
    line = say("deleted database {database} ({duration})", database=database, duration=pages.took(done))
    request.finish(done, [line] if done.operation is not None and request.waits else ())
