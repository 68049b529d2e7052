"""extensions: what is added to an instance by name, such as the pooler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from howdah.cli import pages, shapes
from howdah.cli.pairs import pairs
from howdah.cli.request import Request
from howdah.cli.verb import Name, Pairs, verb
from howdah.phrase import say

Extension = Annotated[str, typer.Argument(metavar="EXT", help="the extension")]
Settings = Annotated[list[str] | None, typer.Argument(metavar="K=V...", help="settings; what is not said gets its default")]


@verb("extensions list", example="howdah extensions list shop")
def list_(request: Request, name: Name) -> None:
    """List the extensions of an instance with their settings."""
    seen = request.reading.show(name)
    rows = pages.extension_rows(request.screen, seen)
    titles = pages.heads(request.screen, say("name"), say("status"), say("settings"))
    request.screen.answer(shapes.extensions(seen), lambda: pages.table(rows, titles) if rows else ())
    if not rows:
        request.screen.note(say("no extension was added; howdah extensions catalog tells what there is"))


@verb(
    "extensions add", changes=True, asks=True, restarts=True, example="howdah extensions add shop pooler pool_mode=session listen_port=6543"
)
def add(request: Request, name: Name, extension: Extension, settings: Settings = None) -> None:
    """Add an extension. The settings that were chosen for you are said."""
    done = request.service.add_extension(name, extension, pairs(settings or ()), request.caller)
    added = [say("added {extension} to {name} ({duration})", extension=extension, name=done.instance.name, duration=pages.took(done))]
    rows = [f"  {line}" for line in pages.table([(each.name, each.new or "") for each in done.changes])]
    request.finish(done, [*added, *rows] if done.operation is not None and request.waits else rows)


@verb("extensions set", changes=True, asks=True, restarts=True, example="howdah extensions set shop pooler default_pool_size=40")
def set_(request: Request, name: Name, extension: Extension, settings: Pairs) -> None:
    """Change settings of an extension; where a running pooler cannot take one, a new pooler takes over and no client is dropped."""
    done = request.service.set_extension(name, extension, pairs(settings), request.caller)
    request.finish(done, pages.changes(request.screen, done))


@verb("extensions remove", changes=True, asks=True, restarts=True, example="howdah extensions remove shop pooler --yes")
def remove(request: Request, name: Name, extension: Extension) -> None:
    """Remove an extension with everything that it brought. It asks if sessions connected now would be ended."""
    done = request.service.remove_extension(name, extension, request.caller)
    removed = say("removed {extension} from {name} ({duration})", extension=extension, name=done.instance.name, duration=pages.took(done))
    request.finish(done, [removed] if done.operation is not None and request.waits else ())


@verb("extensions catalog", example="howdah extensions catalog")
def catalog(request: Request) -> None:
    """List the extensions there are: settings, ranges, defaults, and what a change of each takes."""
    from howdah.catalog.extensions import catalog as known

    entries = [known()[name] for name in sorted(known())]
    rows = [shapes.extension(entry) for entry in entries]
    request.screen.answer(rows, lambda: _catalogue(request, rows))


def _catalogue(request: Request, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    from howdah.catalog.extensions import catalog as known

    for row in rows:
        entry = known()[row["name"]]
        yield f"{request.screen.paint(entry.name, 'bold')}  {request.screen.text(entry.description)}"
        said = {each.name: request.screen.text(each.description) for each in entry.settings.values()}
        cells = [
            (
                each["name"],
                "|".join(each["choices"]) or f"{each['minimum']}..{each['maximum']}"
                if each["minimum"] is not None or each["choices"]
                else each["type"],
                "-" if each["default"] is None else str(each["default"]),
                said.get(each["name"], each["description"]),
            )
            for each in row["settings"]
        ]
        yield from (f"  {line}" for line in pages.table(cells))
