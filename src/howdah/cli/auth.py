"""auth: who may enter the console, as what. audit: what was done there, and by whom."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from howdah.cli import pages
from howdah.cli.request import Request, read_password
from howdah.cli.screen import Text
from howdah.cli.shapes import moment
from howdah.cli.verb import verb
from howdah.core.people import MEANS, Deed, check_account, check_account_role
from howdah.errors import Invalid
from howdah.phrase import say
from howdah.secret import Secret
from howdah.service.caller import Question
from howdah.service.people import People

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="who enters the console")]
ARole = Annotated[str, typer.Option("--role", metavar="admin|member|reader", help="what the account may do")]
Stdin = Annotated[bool, typer.Option("--password-stdin", help="read the password from standard input")]
About = Annotated[str, typer.Option("--about", metavar="NAME", help="only what concerns this instance or account")]
Most = Annotated[int, typer.Option("-n", metavar="N", help="how many lines")]
_LINES_MOST = 10_000


def _people(request: Request, *, make: bool = True) -> People:
    from howdah import compose

    return compose.people(request.home, make=make)


@verb("auth users list", example="howdah auth users list")
def list_(request: Request) -> None:
    """List who may enter the console, with their roles."""
    every = _people(request, make=False).all()
    rows = [{"name": each.name, "role": each.role, "since": moment(each.since)} for each in every]
    lines = pages.table([(each.name, each.role, request.screen.text(MEANS[each.role])) for each in every])
    request.screen.answer(rows, lambda: lines)
    if not every:
        request.screen.note(say("nobody may enter yet: the first howdah serve makes admin"))


@verb("auth users add", example="howdah auth users add anna --role reader")
def add(request: Request, account: Account, role: ARole = "member", password_stdin: Stdin = False) -> None:
    """Let somebody enter the console. Without --password-stdin a password is made, and shown once."""
    given = read_password() if password_stdin else None
    check_account(account)  # before a file is made for it
    check_account_role(role)
    made = _people(request).add(account, role, given)
    _noted(request, "auth users add", account, role)
    _answer(request, account, role, made, say("{account} may enter as {role}", account=account, role=role))


@verb("auth users set", example="howdah auth users set anna --role member")
def set_(request: Request, account: Account, role: ARole) -> None:
    """Give an account another role."""
    changed = _people(request, make=False).set_role(account, role)
    _noted(request, "auth users set", account, role)
    _answer(request, account, changed.role, None, say("{account} may enter as {role}", account=account, role=changed.role))


@verb("auth users password", example="howdah auth users password anna")
def password(request: Request, account: Account, password_stdin: Stdin = False) -> None:
    """Give an account a new password, which ends its sessions. Without --password-stdin it is made, and shown once."""
    people = _people(request, make=False)
    made = people.set_password(account, read_password() if password_stdin else None)
    _noted(request, "auth users password", account, "")
    _answer(request, account, people.find(account).role, made, say("{account} has a new password", account=account))


@verb("auth users sign-out", example="howdah auth users sign-out anna")
def sign_out(request: Request, account: Account) -> None:
    """End every session and token of an account at once; whoever knows the password may sign in again."""
    people = _people(request, make=False)
    role, ended = people.find(account).role, people.end_all(account)
    _noted(request, "auth users sign-out", account, "")
    _answer(request, account, role, None, say("{account}: sessions and tokens ended: {count}", account=account, count=ended))


@verb("auth users delete", asks=True, example="howdah auth users delete anna --yes")
def delete(request: Request, account: Account) -> None:
    """Let somebody enter no longer; sessions and tokens end."""
    people = _people(request, make=False)
    role = people.find(account).role
    request.caller.confirm(Question(say("deleting {account} ends its sessions and tokens", account=account)))
    people.delete(account)
    _noted(request, "auth users delete", account, "")
    _answer(request, account, role, None, say("{account} is deleted", account=account))


def _noted(request: Request, what: str, account: str, words: str) -> None:
    _people(request).note(request.caller.actor, "command line", what, account, "done", words)


def _answer(request: Request, account: str, role: str, made: Secret | None, sentence: Text) -> None:
    shape: dict[str, Any] = {"name": account, "role": role}
    lines: list[Text] = [sentence]
    if made is not None:
        shape["password"] = made.reveal()
        lines += [say("password for {user}: {password}", user=account, password=made.reveal()), say("it is not shown again")]
    request.screen.answer(shape, lambda: lines)


@verb("audit", example="howdah audit --about shop")
def audit(request: Request, about: About = "", count: Most = 50) -> None:
    """Tell what was done through the console, latest first: who, from where, what, and what came of it."""
    if not 1 <= count <= _LINES_MOST:
        raise Invalid("usage", say("cannot show {count} lines: expected 1 to {most}", count=count, most=_LINES_MOST))
    found = _people(request, make=False).deeds(count, about=about)
    request.screen.answer([_deed(each) for each in found], lambda: pages.table([_row(each) for each in found]) if found else ())
    if not found:
        request.screen.note(say("nothing was done through the console yet"))


def _deed(deed: Deed) -> dict[str, Any]:
    return {
        "at": moment(deed.at),
        "account": deed.account,
        "address": deed.address,
        "verb": deed.verb,
        "about": deed.about or None,
        "outcome": deed.outcome,
        "request": deed.words or None,
    }


def _row(deed: Deed) -> tuple[str, ...]:
    return (
        (moment(deed.at) or "")[:19].replace("T", " "),
        deed.account,
        deed.address,
        deed.verb,
        deed.about or "-",
        deed.outcome,
        deed.words,
    )
