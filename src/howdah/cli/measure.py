"""bench: how fast an instance is, with the machine, the settings and the spread beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from howdah.cli import pages
from howdah.cli.request import Request
from howdah.cli.screen import Screen
from howdah.cli.verb import Name, verb
from howdah.core.pace import KINDS, Asked, Measured, Pace
from howdah.errors import Failed, Invalid
from howdah.phrase import say

Seconds = Annotated[int, typer.Option("--seconds", metavar="SECONDS", help="how long each measurement lasts; 1 to 60")]
Clients = Annotated[int, typer.Option("--clients", metavar="N", help="how many clients work at a time; 1 to 100")]
Rounds = Annotated[int, typer.Option("--rounds", metavar="N", help="how often everything is measured; 1 to 20")]


@verb("bench", asks=True, example="howdah bench shop --clients 8")
def bench(request: Request, name: Name, seconds: Seconds = 2, clients: Clients = 4, rounds: Rounds = 3) -> None:
    """Measure how fast an instance is: logins, reads and writes, direct and through the pooler. It uses a database of its own."""
    for option, value, most in (("--seconds", seconds, 60), ("--clients", clients, 100), ("--rounds", rounds, 20)):
        if not 1 <= value <= most:
            raise Invalid("usage", say("cannot use {option} {value}: expected 1 to {most}", option=option, value=value, most=most))
    found = request.service.bench(name, Asked(seconds, clients, rounds), request.caller)
    request.screen.answer(shape(found, name), lambda: lines(request.screen, found))
    if failed := next((pace for pace in found.paces if pace.words), None):
        message = say("cannot measure {kind} on the {hop} hop: {words}", kind=failed.kind, hop=failed.hop, words=failed.words)
        raise Failed("bench_failed", message, say("howdah verify {name} tells what is wrong", name=name))


def shape(found: Measured, name: str) -> dict[str, Any]:
    """Return what `bench --json` answers."""
    return {
        "instance": name,
        "clients": found.asked.clients,
        "seconds": found.asked.seconds,
        "rounds": found.asked.rounds,
        "settings": dict(found.settings),
        "results": [_result(pace) for pace in found.paces],
        "milliseconds": round(found.seconds * 1000, 1),
    }


def _result(pace: Pace) -> dict[str, Any]:
    return {
        "hop": pace.hop,
        "kind": pace.kind,
        "per_second": pace.rate or None,
        "least": min(pace.rates, default=None),
        "most": max(pace.rates, default=None),
        "latency": pace.latency or None,
        "error": pace.words or None,
    }


def lines(screen: Screen, found: Measured) -> Iterator[str]:
    """Return the tables of a bench, its settings, and what its figures are not."""
    for kind, title in KINDS.items():
        yield screen.paint(title, "bold")
        rows = [_row(screen, pace) for pace in found.paces if pace.kind == kind]
        yield from (f"  {line}" for line in pages.table(rows))
    asked = found.asked
    yield screen.text(
        say("{clients} clients, {rounds} rounds of {seconds} s", clients=asked.clients, rounds=asked.rounds, seconds=asked.seconds)
    )
    yield ", ".join(f"{name} {value}" for name, value in found.settings.items())
    yield screen.text(say("clients and servers share this machine: compare these figures with each other, and with no others"))


def _row(screen: Screen, pace: Pace) -> tuple[str, ...]:
    if pace.words:
        return pace.hop, screen.paint(say("failed"), "red"), pace.words, ""
    spread = say("{least} to {most}", least=f"{min(pace.rates):.0f}", most=f"{max(pace.rates):.0f}")
    rate = say("{rate} a second", rate=f"{pace.rate:.0f}")
    return pace.hop, screen.paint(rate, "green"), screen.text(spread), screen.text(say("{latency} ms each", latency=f"{pace.latency:.2f}"))
