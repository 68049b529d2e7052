"""users: who may log in, with which password, and where they have rights."""

from __future__ import annotations

from typing import Annotated

import typer

from howdah.cli import pages, services, shapes
from howdah.cli.request import Request
from howdah.cli.verb import Name, verb
from howdah.errors import Invalid
from howdah.phrase import Phrase, say
from howdah.service.caller import Done

User = Annotated[str, typer.Argument(metavar="U", help="the user")]
FromStdin = Annotated[
    bool, typer.Option("--password-stdin", help="read the password from standard input, one line; without it one is made and shown once")
]
Databases = Annotated[list[str] | None, typer.Option("--database", metavar="D", help="a database in which the user gets all rights")]
Granted = Annotated[list[str] | None, typer.Option("--database", metavar="D", help="the database")]


@verb("users list", example="howdah users list shop")
def list_(request: Request, name: Name) -> None:
    """List the users of an instance, and the databases in which each has rights."""
    want = request.reading.show(name).instance
    rows = [(each.name, ", ".join(each.databases)) for each in want.users]
    request.screen.answer([shapes.user(each) for each in want.users], lambda: pages.table(rows))


@verb("users add", changes=True, example="howdah users add shop report --database shop")
def add(request: Request, name: Name, user: User, password_stdin: FromStdin = False, database: Databases = None) -> None:
    """Add a user. Without --password-stdin a password is made and shown once."""
    secret = request.password(from_stdin=password_stdin)
    done = request.service.add_user(name, user, tuple(database or ()), secret, request.caller)
    _finish(request, done, say("added user {user} ({duration})", user=user, duration=pages.took(done)))


@verb("users delete", changes=True, asks=True, example="howdah users delete shop report --yes")
def delete(request: Request, name: Name, user: User) -> None:
    """Delete a user; what it owned goes to the owner of each database."""
    done = request.service.delete_user(name, user, request.caller)
    _finish(request, done, say("deleted user {user} ({duration})", user=user, duration=pages.took(done)))
    services.follow(request, done, user)


@verb("users password", changes=True, example="howdah users password shop app --password-stdin < password.txt")
def password(request: Request, name: Name, user: User, password_stdin: FromStdin = False) -> None:
    """Give a user a new password. Without --password-stdin one is made and shown once."""
    secret = request.password(from_stdin=password_stdin)
    done = request.service.set_password(name, user, secret, request.caller)
    _finish(request, done, say("changed the password of {user} ({duration})", user=user, duration=pages.took(done)))
    services.follow(request, done, user)


@verb("users grant", changes=True, example="howdah users grant shop report --database stock")
def grant(request: Request, name: Name, user: User, database: Granted = None) -> None:
    """Give a user all rights in databases."""
    _grant(request, name, user, database, grant=True)


@verb("users revoke", changes=True, example="howdah users revoke shop report --database stock")
def revoke(request: Request, name: Name, user: User, database: Granted = None) -> None:
    """Take a user's rights in databases away."""
    _grant(request, name, user, database, grant=False)


def _grant(request: Request, name: str, user: str, databases: list[str] | None, *, grant: bool) -> None:
    if not databases:
        raise Invalid("usage", say("cannot change the rights of {user}: no database is named", user=user), say("add --database D"))
    done = request.service.grant(name, user, databases, request.caller, grant=grant)
    line = say("{user} has rights in: {databases}", user=user, databases=", ".join(_rights(done, user)) or "-")
    _finish(request, done, line)


def _rights(done: Done, user: str) -> tuple[str, ...]:
    return next((each.databases for each in done.instance.users if each.name == user), ())


def _finish(request: Request, done: Done, line: Phrase) -> None:
    request.finish(done, [line] if done.operation is not None and request.waits else ())
