"""env and psql: a shell, and psql, that reach an instance with nothing left to type; no password stands in either's words."""

from __future__ import annotations

from typing import Annotated

import typer

from howdah.cli.proof import Database, SslMode, User, one_of
from howdah.cli.request import Request
from howdah.cli.verb import Name, verb
from howdah.errors import Conflict
from howdah.phrase import say

Direct = Annotated[bool, typer.Option("--direct", help="past the pooler; through it where there is one if not said")]
Unset = Annotated[bool, typer.Option("--unset", help="take the variables away again")]
Words = Annotated[list[str] | None, typer.Argument(metavar="-- WORDS...", help="psql's own options and words, behind --")]


@verb("env", example="howdah env shop --direct")
def env(
    request: Request,
    name: Name,
    direct: Direct = False,
    database: Database = None,
    user: User = None,
    sslmode: SslMode = None,
    unset: Unset = False,
) -> None:
    """Write the environment that libpq's programs need, for a shell's eval "$(…)". What an earlier one left behind is unset."""
    from howdah import compose

    one_of("--sslmode", sslmode, ("require", "verify-full"))
    target = request.reading.target(name, "direct" if direct else None, database, user, sslmode)
    wanted, gone = compose.environment(target)
    if unset:
        gone, wanted = compose.environment_names(), {}  # of both ways in, for another one may have been set before
    request.screen.answer({"set": wanted, "unset": list(gone)}, lambda: compose.assignments(wanted, gone))
    if target.passfile is None and not unset:
        line = say("no password of {user} is kept here: set PGPASSWORD, or have it in ~/.pgpass", user=target.user)
        request.screen.note(request.screen.paint(f"# {request.screen.text(line)}", "dim", request.screen.err))


@verb("psql", example="howdah psql shop -- -c 'SELECT 1'")
def psql(
    request: Request,
    name: Name,
    words: Words = None,
    direct: Direct = False,
    database: Database = None,
    user: User = None,
    sslmode: SslMode = None,
) -> None:
    """Open psql on an instance, verified and encrypted. It takes this command's place; with --json it is told instead of run."""
    from howdah import compose

    one_of("--sslmode", sslmode, ("require", "verify-full"))
    want = request.reading.found(name)
    if want.state != "running":
        raise Conflict(
            "not_running", say("cannot open psql: {name} is stopped", name=want.name), say("howdah start {name}", name=want.name)
        )
    target = request.reading.target(name, "direct" if direct else None, database, user, sslmode)
    wanted, gone = compose.environment(target)
    program = compose.psql(want)
    if request.screen.json:
        request.screen.answer({"program": str(program), "words": words or [], "set": wanted, "unset": list(gone)}, lambda: ())
        return
    request.screen.progress.stop()
    request.screen.out.flush()
    compose.become_psql(program, words or [], wanted, gone)
