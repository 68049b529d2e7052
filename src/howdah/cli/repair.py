"""repair: one pass of the loop, for one instance or for all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from howdah.cli import pages, shapes
from howdah.cli.request import Request
from howdah.cli.screen import Text
from howdah.cli.verb import verb
from howdah.errors import Failed, Invalid, Refusal
from howdah.phrase import say
from howdah.service.caller import Done

MaybeName = Annotated[str | None, typer.Argument(metavar="NAME", help="the instance")]
Every = Annotated[bool, typer.Option("--all", help="every instance")]
Detached = Annotated[bool, typer.Option("--detached", hidden=True, help="nobody looks: say nothing")]


@verb("repair", changes=True, example="howdah repair shop")
def repair(request: Request, name: MaybeName = None, every: Every = False, detached: Detached = False) -> None:
    """Put right what differs from what is wanted. It makes one pass of the loop: observe, act, observe again; and says what was done."""
    if (name is None) != every:
        raise Invalid("usage", say("cannot repair: name an instance, or say --all"), say("see howdah repair --help"))
    if name is not None:
        done = request.service.repair(name, request.caller)
        if not detached:
            request.finish(done, _lines(request, done))
        return
    _all(request)


def _all(request: Request) -> None:
    """Repair every instance; one that fails does not keep the others from it."""
    done: list[Done] = []
    failed: list[str] = []
    for seen in request.service.all():
        try:
            done.append(request.service.repair(seen.instance.name, request.caller))
        except Refusal as refusal:
            failed.append(seen.instance.name)
            request.screen.note(say("{name}: {reason}", name=seen.instance.name, reason=refusal.message))
    request.service.refill_spares()
    request.screen.answer(shapes.repairs(done), lambda: [line for each in done for line in _lines(request, each)])
    if failed:
        hint = say("howdah operations {name} tells why", name=failed[0])
        raise Failed("not_repaired", say("cannot repair {names}", names=", ".join(failed)), hint)


def _lines(request: Request, done: Done) -> Iterator[Text]:
    steps = done.operation.story if done.operation is not None else ()
    name = done.instance.name
    if not steps:
        yield say("{name}: nothing to repair", name=name)
        return
    yield say("{name}: put right in {duration}", name=name, duration=pages.took(done))
    yield from pages.steps(request.screen, steps)
