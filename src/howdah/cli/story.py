"""operations and logs: what was done, and what the servers say."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, get_args

import typer

from howdah.cli import pages, shapes
from howdah.cli.request import Request
from howdah.cli.screen import plain
from howdah.cli.verb import Name, verb
from howdah.core.instance import shown
from howdah.core.machine import LogSource
from howdah.errors import Invalid, Unavailable
from howdah.phrase import say

Follow = Annotated[bool, typer.Option("--follow", help="go on with what is written from now on, until Ctrl-C")]
Source = Annotated[str, typer.Option("--source", metavar="postgres|pooler|howdah", help="whose log")]
_LAST_LINES = 200
_LONGEST_TAIL = 1 << 20  # bytes read back from the end of a log
_LOOK_SECONDS = 0.25


@verb("operations", example="howdah operations shop")
def operations(request: Request, name: Name) -> None:
    """Tell what was done with an instance. Newest first: who asked, each step, why, how long it took, and what stopped it."""
    found = request.reading.operations(name)
    request.screen.answer([shapes.operation(each) for each in found], lambda: pages.story(request.screen, found))


@verb("logs", example="howdah logs shop --source pooler --follow")
def logs(request: Request, name: Name, follow: Follow = False, source: Source = "postgres") -> None:
    """Show the end of a log. With --json, it is one object with the lines."""
    files = request.reading.logs(name, _source(source))
    lines = list(last_lines(files, _LAST_LINES))
    if not follow:
        request.screen.answer({"source": source, "files": [str(each) for each in files], "lines": lines}, lambda: lines)
        return
    if request.screen.json:
        raise Invalid("usage", say("cannot follow a log in JSON"), say("leave --follow or --json out"))
    request.screen.answer({}, lambda: lines)
    try:
        for line in growth(files):
            request.screen.line(line)
            request.screen.out.flush()
    except KeyboardInterrupt:
        return


def _source(word: str) -> LogSource:
    for known in get_args(LogSource):
        if word == known:
            found: LogSource = known
            return found
    raise Invalid("usage", say("cannot show the log of {source}: expected postgres, pooler or howdah", source=shown(word) or "''"))


def last_lines(files: Sequence[Path], count: int) -> list[str]:
    """Return the last lines of logs, oldest first, without the newlines; control characters are spelled out."""
    lines: list[str] = []
    for path in reversed(files):
        lines = [*_tail(path, count - len(lines)), *lines]
        if len(lines) >= count:
            break
    return [plain(line) for line in lines]


def _unmoved(path: str, flags: int) -> int:
    """Open a log, whose directory is its server's own: neither follow a link that was just put in its place, nor wait for a fifo."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def _tail(path: Path, count: int) -> list[str]:
    try:
        with open(path, "rb", opener=_unmoved) as file:
            size = file.seek(0, 2)
            start = file.seek(max(0, size - _LONGEST_TAIL))
            found = file.read(_LONGEST_TAIL).decode(errors="replace").splitlines()
    except FileNotFoundError:  # rotated away since it was listed
        return []
    except PermissionError as error:
        raise Unavailable("log_unreadable", say("cannot read {path}: it is another user's", path=path), say("try with sudo")) from error
    whole = found[1:] if start else found
    return whole[-count:] if count > 0 else []


def growth(files: Sequence[Path]) -> Iterator[str]:
    """Return the lines that are written to the newest log from now on, without end; a log that was cut short begins anew."""
    if not files:
        raise Unavailable("no_log", say("cannot follow: there is no log yet"))
    with open(files[-1], "rb", opener=_unmoved) as file:
        position, rest = file.seek(0, 2), b""
        while True:
            if file.seek(0, 2) < position:
                position = 0
            file.seek(position)
            *whole, rest = (rest + file.read(_LONGEST_TAIL)).split(b"\n")
            position = file.tell()
            yield from (line.decode(errors="replace") for line in whole)
            if not whole:
                time.sleep(_LOOK_SECONDS)
