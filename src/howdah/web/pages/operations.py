"""The operations of an instance: what was asked for, by whom, each step with its reason, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from howdah.core.operation import Operation
from howdah.errors import NotFound
from howdah.phrase import from_record, say
from howdah.web import urls
from howdah.web.pages.instance import head
from howdah.web.visit import Shown, Visit


@dataclass(frozen=True)
class Step:
    """One act."""

    what: str
    why: str
    took: str


@dataclass(frozen=True)
class Told:
    """One operation."""

    number: int
    title: str
    actor: str
    outcome: tuple[str, str]
    open: bool
    started: float
    at: str
    iso: str
    took: str
    request: str
    cost: tuple[tuple[str, str], ...]  # how it came into force, and what clients had of it
    steps: tuple[Step, ...]
    error: str
    hint: str
    url: str


@dataclass(frozen=True)
class Operations:
    """The newest operations, newest first."""

    name: str
    rows: tuple[Told, ...]


@dataclass(frozen=True)
class OneOperation:
    """One operation, and where to go on."""

    name: str
    told: Told
    gone: bool  # the instance is not there any more
    again: str  # the form that was refused, with what was typed


def told(visit: Visit, name: str, done: Operation) -> Told:
    """Return an operation as pages tell it."""
    steps = tuple(Step(visit.say(line.what), visit.say(line.why), visit.say.took(line.milliseconds / 1000)) for line in done.story)
    over = done.outcome not in ("waiting", "running")
    adopted = done.error.get("code") == "adopted"
    return Told(
        number=done.id,
        title=visit.say.verb(done.verb),
        actor=done.actor,
        outcome=visit.say.outcome(done.outcome),
        open=not over,
        started=done.started,
        at=visit.say.moment(done.started),
        iso=visit.say.iso(done.started),
        took=visit.say.took(done.finished - done.started) if over else "",
        request=str(done.asked.get("request", "")),
        cost=_cost(visit, done) if over else (),
        steps=steps,
        error="" if adopted else said(visit, done, "message"),
        hint=said(visit, done, "message" if adopted else "hint"),
        url=urls.operation(name, done.id),
    )


def _cost(visit: Visit, done: Operation) -> tuple[tuple[str, str], ...]:
    """Tell how a change came into force; and what it cost clients, where anybody was there to feel it."""
    if done.applied == "nothing":
        return ()
    rows = [(visit.say(say("Came into force")), visit.say.applied(done.applied))]
    if done.stall is not None:
        rows.append((visit.say(say("Longest wait of a new login")), visit.say.took(done.stall / 1000)))
    if done.stall is not None or done.ended:
        rows.append((visit.say(say("Sessions ended by it")), visit.say.number(done.ended)))
    return tuple(rows)


def said(visit: Visit, done: Operation, key: str) -> str:
    """Return what an operation keeps of its end, in the reader's language where it can be said so."""
    record = done.error.get("said", {}).get(key)
    return visit.say(from_record(record)) if record is not None else str(done.error.get(key, ""))


def operations(visit: Visit) -> Shown:
    """Show the newest operations."""
    seen, top = head(visit)
    rows = tuple(told(visit, seen.instance.name, each) for each in visit.service.operations(seen.instance.name))
    return Shown("operations.html", Operations(seen.instance.name, rows), say("Operations"), tab="operations", head=top)


def operation(visit: Visit) -> Shown:
    """Show one operation, while it is under way and afterwards."""
    number = visit.params["number"]
    found = next((each for each in visit.service.operations(visit.name) if str(each.id) == number), None)
    if found is None:
        raise NotFound("no_such_operation", say("cannot find operation {number} of {name}", number=repr(number[:20]), name=visit.name))
    there = visit.service.known(visit.name)
    top = head(visit)[1] if there is not None else None
    again = ""
    if found.outcome == "withdrawn" and found.verb == "params set" and there is not None:
        again = urls.tab(visit.name, "parameters", refused=str(found.id))
    page = OneOperation(visit.name, told(visit, visit.name, found), there is None, again)
    return Shown("operation.html", page, say("Operation {number}", number=found.id), tab="operations", head=top)
