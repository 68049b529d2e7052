"""What needs somebody's care in `show`: the room that an instance takes and what is left, and servers older than their programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from howdah.cli.pages import table
from howdah.cli.screen import Screen
from howdah.core.aging import Older
from howdah.core.room import SCARCE, Room
from howdah.core.rotation import Bundle, stands
from howdah.phrase import Phrase, say

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def room_shape(found: Room) -> dict[str, Any]:
    """Return what `show --json` answers as `room`."""
    return {
        "data": found.data,
        "complete": found.whole,
        "wal": found.wal,
        "logs": found.logs,
        "logs_most": found.logs_most,
        "free": found.free,
        "total": found.total,
    }


def older_shape(found: Sequence[Older], name: str) -> list[dict[str, Any]]:
    """Return what `show --json` answers as `older`."""
    return [
        {
            "name": each.name,
            "running": each.running or None,
            "installed": each.installed or None,
            "files": list(each.files),
            "fix": each.cure(name),
        }
        for each in found
    ]


def older_lines(screen: Screen, found: Sequence[Older], name: str) -> Iterator[str]:
    """Return a line for each server that is older than its program, with the command that cures it."""
    for each in found:
        yield "  " + screen.paint(say("{words}: {command} brings it in", words=each.words, command=each.cure(name)), "yellow")


def authority_lines(screen: Screen, found: Bundle | None) -> Iterator[str]:
    """Return where a change of the authority stands; nothing while there is none."""
    if found is not None and (found.phase != "settled" or found.cut_off):
        yield "  " + screen.paint(stands(found), "yellow")


def room_lines(screen: Screen, found: Room) -> Iterator[str]:
    """Return the section of `show` about room."""
    data = size(found.data) if found.whole else screen.text(say("{size} or more", size=size(found.data)))
    yield screen.paint(say("room"), "bold")
    rows = [
        (screen.text(say("data")), data),
        ("WAL", size(found.wal)),
        (screen.text(say("logs")), screen.text(say("{size}, at most {most} MB", size=size(found.logs), most=found.logs_most // 1_000_000))),
        (screen.text(say("left free")), screen.paint(_free(found), "red" if found.share < SCARCE else "green")),
    ]
    yield from (f"  {line}" for line in table(rows))


def _free(found: Room) -> Phrase:
    return say("{free} of {total}, {share} %", free=size(found.free), total=size(found.total), share=int(100 * found.share))


def size(amount: int) -> str:
    """Return bytes as people say them.

    >>> size(512), size(40_000_000), size(3 * 2**30)
    ('512 B', '38.1 MiB', '3.0 GiB')
    """
    number, unit = float(amount), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{amount} B"
