"""What people read: lines made from what the verbs return. The same facts as `shapes`, in words, aligned, and coloured on a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from howdah.cli import shapes
from howdah.cli.screen import Screen, Text
from howdah.core.endpoint import Endpoint, endpoints
from howdah.core.instance import Hop, Instance
from howdah.phrase import Phrase, say

if TYPE_CHECKING:
    from howdah.core.operation import Line, Operation
    from howdah.core.wishes import Change
    from howdah.service.caller import Done, Seen

STATUS: Mapping[str, tuple[Phrase, str]] = {
    "creating": (say("creating"), "yellow"),
    "running": (say("running"), "green"),
    "updating": (say("updating"), "yellow"),
    "stopped": (say("stopped"), "dim"),
    "down": (say("down"), "red"),
    "error": (say("error"), "red"),
    "deleting": (say("deleting"), "yellow"),
}
OUTCOME: Mapping[str, tuple[Phrase, str]] = {
    "waiting": (say("waiting"), "yellow"),
    "running": (say("under way"), "yellow"),
    "done": (say("done"), "green"),
    "failed": (say("failed"), "red"),
    "withdrawn": (say("withdrawn"), "red"),
}
HOW: Mapping[str, Phrase] = {"reload": say("reload"), "restart": say("restart"), "takeover": say("a new pooler took over")}
_SOON_DAYS = 14
_SEEN = re.compile(r"\x1b\[[0-9;]*m")


def table(rows: Iterable[Sequence[str]], heads: Sequence[str] = ()) -> list[str]:
    """Return lines whose columns are aligned; colours take no room.

    >>> table([("a", "1"), ("long", "2")], ("NAME", "N"))
    ['NAME  N', 'a     1', 'long  2']
    """
    every = [*([heads] if heads else []), *rows]
    if not every:
        return []
    widths = [max(_width(row[column]) for row in every) for column in range(len(every[0]))]
    return ["  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip() for row in every]


def _width(cell: str) -> int:
    return len(_SEEN.sub("", cell))


def heads(screen: Screen, *names: Phrase) -> tuple[str, ...]:
    """Return the heading of a table."""
    return tuple(screen.text(name).upper() for name in names)


def status(screen: Screen, word: str) -> str:
    """Return an instance's status in the reader's language."""
    return screen.paint(*STATUS.get(word, (Phrase(word), "bold")))


def overview(screen: Screen, every: Sequence[Seen]) -> Iterator[str]:
    """Return the table of `list`."""
    rows = [
        (
            seen.instance.name,
            status(screen, seen.status),
            str(seen.instance.version),
            *(_where(seen.instance, hop) for hop in ("direct", "pooled")),
            _least_days(screen, seen),
        )
        for seen in every
    ]
    yield from table(rows, heads(screen, say("name"), say("status"), say("version"), say("direct"), say("pooled"), say("certificate")))
    for seen in every:
        if (command := shapes.fix(seen)) is not None:
            yield screen.text(
                say("{name} is {status}: {command} puts it right", name=seen.instance.name, status=STATUS[seen.status][0], command=command)
            )


def _where(want: Instance, hop: str) -> str:
    return next((place(each) for each in endpoints(want) if each.kind == hop), "-")


def place(where: Endpoint) -> str:
    """Return host and port, an IPv6 address in brackets."""
    host = f"[{where.host}]" if ":" in where.host else where.host
    return f"{host}:{where.port}"


def _least_days(screen: Screen, seen: Seen) -> str:
    known = [left for left in seen.quick.days_left.values() if left is not None]
    return days(screen, min(known)) if known else "-"


def days(screen: Screen, left: float) -> str:
    """Return how long a certificate is good for."""
    if left < 0:
        return screen.paint(say("expired"), "red")
    return screen.paint(say("{days} days", days=int(left)), "yellow" if left < _SOON_DAYS else "green")


def card(screen: Screen, seen: Seen, notes: Iterable[str] = ()) -> Iterator[str]:
    """Return the page of `show`; `notes` stand where it says how the instance is."""
    want = seen.instance
    size = screen.text(say("size {size}", size=want.size))
    yield f"{screen.paint(want.name, 'bold')}  {status(screen, seen.status)}  PostgreSQL {want.version}  {size}  id {want.id}"
    if (command := shapes.fix(seen)) is not None:
        yield screen.text(say("  {command} puts it right", command=command))
    if seen.status == "error" and seen.last is not None and seen.last.error:
        yield screen.text(
            say("  the last operation, {verb}, stopped: {reason}", verb=seen.last.verb, reason=seen.last.error.get("message", ""))
        )
    if seen.quick.draining:
        count = seen.quick.draining
        yield screen.text(
            say("  older poolers that still have clients: {count}; howdah pooler drain {name} names them", count=count, name=want.name)
        )
    if seen.pending_restart:
        names = ", ".join(seen.pending_restart)
        yield screen.text(say("  waiting for a restart: {names}; howdah restart {name} applies it", names=names, name=want.name))
    yield from notes
    yield from _section(screen, say("endpoints"), endpoint_rows(screen, want, seen.quick.days_left))
    yield from _section(screen, say("parameters"), [(key, value) for key, value in sorted(want.parameters.items())])
    yield from _section(screen, say("extensions"), extension_rows(screen, seen))
    yield from _section(screen, say("databases"), database_rows(screen, want))
    yield from _section(screen, say("users"), [(each.name, ", ".join(each.databases)) for each in want.users])


def _section(screen: Screen, title: Phrase, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if rows:
        yield screen.paint(title, "bold")
        yield from (f"  {line}" for line in table(rows))


def endpoint_rows(screen: Screen, want: Instance, days_left: Mapping[Hop, float | None]) -> list[tuple[str, ...]]:
    """Return a row for each endpoint."""
    return [_endpoint_row(screen, want, each, days_left.get(each.kind)) for each in endpoints(want)]


def _endpoint_row(screen: Screen, want: Instance, where: Endpoint, left: float | None) -> tuple[str, ...]:
    tls = screen.text(say("TLS only") if where.tls else say("no TLS"))
    good = "" if left is None else screen.text(say("certificate {days}", days=days(screen, left)))
    listening = screen.text(say("listens on {addresses}", addresses=", ".join(where.addresses)))
    known = screen.text(say("known as {names}", names=", ".join(where.hostnames))) if where.hostnames else ""
    allow = want.reach(where.kind).allow
    admits = screen.text(say("admits {networks}", networks=", ".join(allow))) if allow else ""
    return (where.kind, place(where), tls, good, "; ".join(part for part in (listening, known, admits) if part))


def extension_rows(screen: Screen, seen: Seen) -> list[tuple[str, ...]]:
    """Return a row for each extension."""
    rows = shapes.extensions(seen)
    return [
        (each["name"], status(screen, each["status"]), ", ".join(f"{key}={value}" for key, value in each["parameters"].items()))
        for each in rows
    ]


def database_rows(screen: Screen, want: Instance) -> list[tuple[str, ...]]:
    """Return a row for each database."""
    return [
        (
            each.name,
            screen.text(say("owner {name}", name=each.owner)) if each.owner else "",
            f"ICU {each.icu_locale}" if each.icu_locale else "",
        )
        for each in want.databases
    ]


def milliseconds(amount: float | None) -> Text:
    """Return a duration as people say it.

    >>> str(milliseconds(60.2)), str(milliseconds(1234.0))
    ('60 ms', '1.2 s')
    """
    if amount is None:
        return "-"
    if amount < 1000:
        return say("{amount} ms", amount=f"{amount:.0f}")
    return say("{seconds} s", seconds=f"{amount / 1000:.1f}")


def changes(screen: Screen, done: Done) -> Iterator[str]:
    """Return a line for each value that changed: before, after, how, how long."""
    took = shapes.milliseconds(done.operation) if done.operation is not None else None
    waiting = done.instance.deferred
    rows = [(f"{each.name}:", _before_after(each), f"({screen.text(_applied(each, took, waiting))})") for each in done.changes]
    yield from table(rows)


def _before_after(one: Change) -> str:
    new = "-" if one.new is None else one.new
    return new if one.old in (None, new) else f"{one.old or '-'} → {new}"


def _applied(one: Change, took: float | None, waiting: Sequence[str]) -> Text:
    if one.old == one.new:
        return say("as it was by default")
    if one.name in waiting:
        return say("waits for a restart")
    how = HOW.get(one.how, Phrase(one.how))
    return say("{how}, {duration}", how=how, duration=milliseconds(took)) if took is not None else how


def after(screen: Screen, done: Done, passfile: Path | None, *, waits: bool) -> Iterator[str]:
    """Return what follows every change: a password that was made, notes, and how to follow work that goes on."""
    if done.operation is not None and done.operation.stall is not None:
        yield screen.text(cost(done.operation))
    for note in done.notes:
        yield screen.text(note)
    if done.password is not None:
        name, secret = done.password
        yield screen.text(say("password for {user}: {password}", user=name, password=secret.reveal()))
        if passfile is not None:
            yield screen.text(say("it is not shown again; it is kept in {path}, readable by its owner alone", path=passfile))
    if done.operation is not None and not waits:
        yield screen.text(say("the work goes on: howdah operations {name} tells how far it is", name=done.instance.name))


def cost(operation: Operation) -> Phrase:
    """Return what a change cost clients.

    >>> from howdah.core.operation import Line, Operation
    >>> line = Line("ReloadServer", say("reload"), say("new files"), 30.0, stall=12.4)
    >>> str(cost(Operation(1, "i", 2, "params set", "me", story=(line,))))
    'no session was ended; a new login waited 12 ms at most'
    """
    waited = milliseconds(operation.stall)
    if not operation.ended:
        return say("no session was ended; a new login waited {waited} at most", waited=waited)
    return say("sessions ended: {count}; a new login waited {waited} at most", count=operation.ended, waited=waited)


def took(done: Done) -> Text:
    """Return how long a change took."""
    return milliseconds(shapes.milliseconds(done.operation)) if done.operation is not None else "-"


def steps(screen: Screen, story: Sequence[Line]) -> list[str]:
    """Return one line for each act: how long it took, what it was, and why."""
    return table([(f"{step.milliseconds:.0f} ms".rjust(9), screen.text(step.headline)) for step in story])


def story(screen: Screen, operations: Sequence[Operation]) -> Iterator[str]:
    """Return the operations, newest first, with the steps of each."""
    for each in operations:
        outcome = screen.paint(*OUTCOME.get(each.outcome, (Phrase(each.outcome), "bold")))
        when = datetime.fromtimestamp(each.started).strftime("%Y-%m-%d %H:%M:%S") if each.started else "-"
        took = screen.text(milliseconds(shapes.milliseconds(each)))
        yield f"{when}  {screen.paint(each.verb, 'bold')}  {outcome}  {took}  {each.actor}"
        yield from (f"  {line}" for line in steps(screen, each.story))
        if each.stall is not None:
            yield f"    {screen.text(cost(each))}"
        if each.error:
            hint = f"; {each.error['hint']}" if each.error.get("hint") else ""
            yield screen.paint(f"    {each.error.get('message', '')}", "red") + hint
