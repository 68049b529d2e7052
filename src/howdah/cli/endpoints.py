"""endpoints: where an instance is reached, under which names, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from howdah.cli import pages, shapes
from howdah.cli.create import Allow, Hostname, Listen
from howdah.cli.request import Request
from howdah.cli.verb import Name, verb
from howdah.core.instance import HOPS, Hop, shown
from howdah.errors import Invalid
from howdah.phrase import say

Via = Annotated[str | None, typer.Option("--via", metavar="pooled|direct", help="one way only; both if not said")]


@verb("endpoints list", example="howdah endpoints list shop")
def list_(request: Request, name: Name) -> None:
    """List the endpoints of an instance: direct, and pooled where there is a pooler."""
    seen = request.reading.show(name)
    places = request.reading.endpoints(name)
    rows = [shapes.reach(seen.instance, each, seen.quick.days_left) for each in places]
    request.screen.answer(rows, lambda: pages.table(pages.endpoint_rows(request.screen, seen.instance, seen.quick.days_left)))


@verb(
    "endpoints set",
    changes=True,
    asks=True,
    restarts=True,
    example="howdah endpoints set shop --listen 10.1.0.5 --hostname db.example.org --allow 10.1.0.0/16",
)
def set_(request: Request, name: Name, via: Via = None, listen: Listen = None, hostname: Hostname = None, allow: Allow = None) -> None:
    """Change where an instance is reached. What is not said stays; certificates follow before an address opens."""
    if not (listen or hostname or allow):
        raise Invalid("usage", say("cannot set nothing"), say("add --listen, --hostname or --allow"))
    done = request.service.set_reach(name, hops(via), tuple(listen or ()), tuple(hostname or ()), tuple(allow or ()), request.caller)
    request.finish(done, pages.changes(request.screen, done))


def hops(via: str | None) -> Sequence[Hop]:
    """Return the hops that --via means; both when it is not said."""
    chosen = tuple(hop for hop in HOPS if via in (None, hop))
    if not chosen:
        raise Invalid("usage", say("cannot go via {via}: expected pooled or direct", via=shown(via or "") or "''"))
    return chosen
