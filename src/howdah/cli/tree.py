"""The tree of commands, and where each stands: only the file that a command line names is read, all of them for help and for slips."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from howdah.cli import manual
from howdah.cli.verb import REGISTER, Verb, callback
from howdah.core.instance import shown
from howdah.errors import Invalid
from howdah.phrase import say

# The first word of each command, and the file it stands in, in the order of --help.
PLACES: Mapping[str, str] = {
    "quickstart": "quickstart",
    "create": "create",
    "list": "look",
    "show": "look",
    "start": "life",
    "stop": "life",
    "restart": "life",
    "delete": "life",
    "undelete": "life",
    "params": "params",
    "extensions": "extensions",
    "pooler": "pooler",
    "endpoints": "endpoints",
    "databases": "databases",
    "users": "users",
    "members": "members",
    "verify": "proof",
    "connect": "proof",
    "env": "shell",
    "psql": "shell",
    "advise": "advise",
    "bench": "measure",
    "operations": "story",
    "logs": "story",
    "certificates": "authority",
    "ca": "authority",
    "explain": "explain",
    "repair": "repair",
    "service": "service",
    "serve": "serve",
    "auth": "auth",
    "audit": "auth",
    "doctor": "machine",
    "spare": "detached",
    "empty-trash": "detached",
}
GROUPS: Mapping[str, str] = {
    "params": "PostgreSQL's parameters: list, set, unset, catalog",
    "extensions": "What is added to an instance, such as the pooler",
    "pooler": "The pooler in front of an instance, and who is with it or still with an older one",
    "endpoints": "Where an instance is reached, and by whom",
    "databases": "The databases of an instance",
    "users": "The users of an instance, their passwords and rights",
    "members": "The PostgreSQL servers of an instance",
    "certificates": "The certificates that an instance serves",
    "ca": "The certificate authority that clients verify with, and its change for a successor",
    "service": "Start at boot, and stop in good order at shutdown",
    "auth": "Who may enter the console",
    "auth users": "The people who may enter the console, their roles and passwords",
}
TITLE = "Managed PostgreSQL whose connections are encrypted, pooled and proven."


class Command(TyperCommand):
    """A command with our manual page."""

    def get_help(self, ctx: Any) -> str:
        """Return the page, in the reader's language."""
        return manual.page(self, ctx.command_path, ctx.obj.screen.text)


class Group(TyperGroup):
    """A group of commands with our manual page, which knows what a slip of the finger may have meant."""

    def get_help(self, ctx: Any) -> str:
        """Return the page, in the reader's language."""
        return manual.overview(self, ctx.command_path, ctx.obj.screen.text)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command of that name, or refuse with names that are near."""
        if args[0] not in self.commands:
            known = [name for name, command in self.commands.items() if not command.hidden]
            near = difflib.get_close_matches(args[0], known, 3)
            hint = say("did you mean {near}?", near=", ".join(near)) if near else say("see {path} --help", path=ctx.command_path)
            raise Invalid("usage", say("cannot find command {name}", name=shown(f"{ctx.command_path} {args[0]}")), hint)
        return super().resolve_command(ctx, args)


def tree(first: str | None) -> Any:
    """Return the command tree: the part that `first`, the first word of a command line, needs; all of it where that is no command."""
    needed = [PLACES[first]] if first is not None and first in PLACES else list(dict.fromkeys(PLACES.values()))
    for module in needed:
        importlib.import_module(f"howdah.cli.{module}")
    root = typer.Typer(cls=Group, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, help=TITLE)
    root.callback(invoke_without_command=True)(_root)
    groups: dict[tuple[str, ...], typer.Typer] = {}
    for entry in sorted(REGISTER.values(), key=_order):
        _register(root, groups, entry)
    built: Any = typer.main.get_command(root)
    built.commands = {name: built.commands[name] for name in PLACES if name in built.commands}  # Typer puts groups last
    return built


def _order(entry: Verb) -> int:
    return list(PLACES).index(entry.words[0])


def _register(root: typer.Typer, groups: dict[tuple[str, ...], typer.Typer], entry: Verb) -> None:
    where = root
    for depth in range(1, len(entry.words)):
        path = entry.words[:depth]
        if path not in groups:
            groups[path] = typer.Typer(cls=Group, rich_markup_mode=None, help=GROUPS[" ".join(path)], invoke_without_command=True)
            groups[path].callback(invoke_without_command=True)(_group)
            where.add_typer(groups[path], name=path[-1])
        where = groups[path]
    where.command(entry.words[-1], cls=Command, epilog=entry.example, hidden=entry.hidden)(callback(entry))


def _root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="say which howdah this is")] = False,
    json: Annotated[bool, typer.Option("--json", help="answer in JSON; it may stand anywhere")] = False,
) -> None:
    from howdah import __version__

    screen = ctx.obj.screen
    if version:
        screen.answer({"howdah": __version__}, lambda: [f"howdah {__version__}"])
        raise typer.Exit()
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def _group(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        raise Invalid(
            "usage", say("cannot run {path}: it needs a command", path=ctx.command_path), say("see {path} --help", path=ctx.command_path)
        )
