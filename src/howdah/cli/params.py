"""params: PostgreSQL's parameters of an instance, and the catalogue of all there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from howdah.cli import pages, shapes
from howdah.cli.pairs import pairs
from howdah.cli.request import Request
from howdah.cli.verb import Name, Pairs, verb
from howdah.phrase import say

NoRestart = Annotated[bool, typer.Option("--no-restart", help="leave what needs a restart pending, as `show` tells")]
KeepPlaintext = Annotated[
    bool, typer.Option("--keep-plaintext", help="with ssl=on: sessions that are open in plaintext stay until they leave")
]
Keys = Annotated[list[str], typer.Argument(metavar="K...", help="names of parameters")]
Major = Annotated[
    int | None, typer.Option("--version", metavar="MAJOR", help="PostgreSQL's major version; the newest one known if not said")
]
Search = Annotated[str | None, typer.Option("--search", metavar="WORD", help="only those with this word in name, category or description")]


@verb("params list", example="howdah params list shop --json")
def list_(request: Request, name: Name) -> None:
    """List the parameters that were set, each with its default and how a change of it is applied."""
    rows = request.reading.parameters(name)
    request.screen.answer([dict(row) for row in rows], lambda: _rows(request, rows))


def _rows(request: Request, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    titles = pages.heads(request.screen, say("name"), say("value"), say("default"), say("applied by"), say("pending"))
    pending = request.screen.text(say("waits for a restart"))
    cells = [
        (
            row["name"],
            row["value"],
            "-" if row["default"] is None else f"{row['default']}",
            request.screen.text(pages.HOW[row["applied_by"]]),
            pending if row["pending_restart"] else "",
        )
        for row in rows
    ]
    if cells:
        yield from pages.table(cells, titles)
    else:
        request.screen.note(say("nothing was set; howdah params catalog tells what can be"))


@verb("params set", changes=True, asks=True, restarts=True, example="howdah params set shop ssl=on work_mem=16MB")
def set_(request: Request, name: Name, settings: Pairs, no_restart: NoRestart = False, keep_plaintext: KeepPlaintext = False) -> None:
    """Set parameters, now: by a reload, else by one restart. It asks if sessions connected now would be ended."""
    wishes, caller = pairs(settings), request.caller
    done = request.service.set_parameters(name, wishes, (), caller, restart=not no_restart, keep_plaintext=keep_plaintext)
    request.finish(done, pages.changes(request.screen, done))


@verb("params unset", changes=True, asks=True, restarts=True, example="howdah params unset shop work_mem")
def unset(request: Request, name: Name, names: Keys, no_restart: NoRestart = False) -> None:
    """Give parameters their defaults back."""
    done = request.service.set_parameters(name, {}, names, request.caller, restart=not no_restart)
    request.finish(done, pages.changes(request.screen, done))


@verb("params catalog", example="howdah params catalog --search wal")
def catalog(request: Request, version: Major = None, search: Search = None) -> None:
    """List the parameters that PostgreSQL has: type, unit, range, default, how a change is applied, and which are not yours to set."""
    from howdah.catalog import parameters

    known = parameters.catalog(version if version is not None else parameters.MAJORS[-1])
    word = (search or "").casefold()
    rows = [
        shapes.parameter(each)
        for each in sorted(known.values(), key=lambda each: each.name)
        if word in f"{each.name} {each.category} {each.description}".casefold()
    ]
    request.screen.answer(rows, lambda: _catalogue(request, rows))


def _catalogue(request: Request, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    titles = pages.heads(request.screen, say("name"), say("type"), say("range"), say("default"), say("applied by"), say("description"))
    words = {"open": "", "managed": request.screen.text(say("[managed] ")), "refused": request.screen.text(say("[refused] "))}
    cells = [
        (
            row["name"],
            f"{row['type']} {row['unit'] or ''}".strip(),
            _range(row),
            "-" if row["default"] is None else str(row["default"]),
            request.screen.text(pages.HOW[row["applied_by"]]),
            words[row["policy"]] + row["description"],
        )
        for row in rows
    ]
    yield from pages.table(cells, titles) if cells else ()


def _range(row: Mapping[str, Any]) -> str:
    if row["choices"]:
        return "|".join(row["choices"])
    if row["minimum"] is None and row["maximum"] is None:
        return "-"
    return f"{_number(row['minimum'])}..{_number(row['maximum'])}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"
