"""How a function becomes a command: it stands in a register under its words, with an example, and gets the options that all share.

Nothing is built here; `tree` builds what a command line needs. A function takes a `Request` first and says what it is by its docstring.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from howdah.cli.request import Request
from howdah.core.instance import Hold
from howdah.errors import Refusal
from howdah.phrase import say

Function = Callable[..., None]

Name = Annotated[str, typer.Argument(metavar="NAME", help="the instance")]
Pairs = Annotated[list[str], typer.Argument(metavar="K=V...", help="names and values; a value may contain =")]

_Json = Annotated[bool, typer.Option("--json", help="answer in JSON; errors too, on standard error")]
_Wait = Annotated[float, typer.Option("--wait", metavar="SECONDS", help="how long to wait for another command on the same instance")]
_NoWait = Annotated[bool, typer.Option("--no-wait", help="leave the work to a detached process, and return")]
_HOLD = Hold()
_Transactions = Annotated[
    float, typer.Option("--transactions-wait", metavar="SECONDS", help="how long open transactions may hold a restart up")
]
_End = Annotated[bool, typer.Option("--end-transactions", help="end those that still hold it up then, instead of giving up")]
_Yes = Annotated[bool, typer.Option("--yes", help="agree to what would be asked")]


class Interrupted(Refusal):
    """Ctrl-C: the command ends here; what it began is carried on by a detached process."""

    exit_code = 130


@dataclass(frozen=True)
class Verb:
    """A command in the register."""

    words: tuple[str, ...]
    function: Function
    example: str
    changes: bool
    asks: bool
    hidden: bool
    restarts: bool = False


REGISTER: dict[tuple[str, ...], Verb] = {}


def verb(
    words: str, *, example: str, changes: bool = False, asks: bool = False, hidden: bool = False, restarts: bool = False
) -> Callable[[Function], Function]:
    """Register the function below as a command; `changes`: it may wait for others, `asks`: a question, `restarts`: PostgreSQL."""

    def register(function: Function) -> Function:
        key = tuple(words.split())
        REGISTER[key] = Verb(key, function, example, changes, asks, hidden, restarts)
        return function

    return register


def callback(entry: Verb) -> Function:
    """Return the function as Typer is to see it: the request's parts as options in place of the request."""
    taken = inspect.signature(entry.function, eval_str=True).parameters
    _, *own = taken.values()
    shared = _shared(entry)

    def run(ctx: typer.Context, **given: Any) -> None:
        said = {name: given.pop(name) for name in [each.name for each in shared]}
        request = Request(
            screen=ctx.obj.screen,
            words=ctx.obj.words,
            yes=said.get("yes", False),
            waits=not said.get("no_wait", False),
            patience=said.get("wait", 60.0),
            hold=Hold(said.get("transactions_wait", _HOLD.seconds), said.get("end_transactions", _HOLD.end)),
        )
        try:
            entry.function(request, **given)
        except KeyboardInterrupt:
            raise interrupted(entry, given.get("name")) from None

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    every = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *shared)]
    run.__signature__ = inspect.Signature([context, *every])  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (context, *every)}
    run.__doc__ = entry.function.__doc__
    return run


def interrupted(entry: Verb, name: str | None) -> Interrupted:
    """Say that the work goes on, and how to follow it."""
    hint = None
    if entry.changes and name:
        hint = say("what was begun goes on by itself: howdah operations {name} tells how far it is", name=name)
        if entry.words in (("create",), ("users", "add")):
            hint = say("{hint}; the same command again shows the password that was made", hint=hint)
    return Interrupted("interrupted", say("cannot go on: interrupted"), hint)


def _shared(entry: Verb) -> list[inspect.Parameter]:
    offered: tuple[tuple[str, Any, Any, bool], ...] = (
        ("json", _Json, False, True),
        ("wait", _Wait, 60.0, entry.changes),
        ("no_wait", _NoWait, False, entry.changes),
        ("transactions_wait", _Transactions, _HOLD.seconds, entry.restarts),
        ("end_transactions", _End, _HOLD.end, entry.restarts),
        ("yes", _Yes, False, entry.asks),
    )
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, annotation, default, there in offered
        if there
    ]
