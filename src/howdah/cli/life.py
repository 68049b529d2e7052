"""start, stop, restart, delete, undelete: the life of an instance."""

from __future__ import annotations

from howdah.cli import pages, services
from howdah.cli.request import Request
from howdah.cli.verb import Name, verb
from howdah.phrase import Phrase, say
from howdah.service.caller import Done


@verb("start", changes=True, example="howdah start shop")
def start(request: Request, name: Name) -> None:
    """Start an instance."""
    done = request.service.start(name, request.caller)
    _finish(request, done, say("{name} runs ({duration})", name=done.instance.name, duration=pages.took(done)))


@verb("stop", changes=True, asks=True, example="howdah stop shop --yes")
def stop(request: Request, name: Name) -> None:
    """Stop an instance, the pooler first. Sessions connected now are ended, so it asks if there are any."""
    done = request.service.stop(name, request.caller)
    _finish(request, done, say("{name} is stopped ({duration})", name=done.instance.name, duration=pages.took(done)))


@verb("restart", changes=True, asks=True, restarts=True, example="howdah restart shop")
def restart(request: Request, name: Name) -> None:
    """Restart PostgreSQL, and apply what waits for it. Pooled sessions wait; direct ones are ended, so it asks if there are any."""
    done = request.service.restart(name, request.caller)
    _finish(request, done, say("{name} was restarted ({duration})", name=done.instance.name, duration=pages.took(done)))


@verb("delete", changes=True, asks=True, example="howdah delete shop --yes")
def delete(request: Request, name: Name) -> None:
    """Delete an instance: nothing serves, ports are free, keys and passwords are gone. Its data stays in the trash for ten minutes."""
    done = request.service.delete(name, request.caller)
    _finish(request, done, _deleted(request, done))
    services.forget(request, done)


def _deleted(request: Request, done: Done) -> Phrase:
    minutes = request.service.trash_seconds / 60
    if not minutes:
        return say("deleted {name}, with its data ({duration})", name=done.instance.name, duration=pages.took(done))
    return say(
        "deleted {name} ({duration}); howdah undelete {name} takes it back within {minutes} min",
        name=done.instance.name,
        duration=pages.took(done),
        minutes=f"{minutes:g}",
    )


@verb("undelete", changes=True, example="howdah undelete shop")
def undelete(request: Request, name: Name) -> None:
    """Take an instance back from the trash, with its data. Users need new passwords only where theirs was not kept by themselves."""
    done = request.service.undelete(name, request.caller)
    _finish(request, done, say("{name} is back ({duration})", name=done.instance.name, duration=pages.took(done)))


def _finish(request: Request, done: Done, line: Phrase) -> None:
    request.finish(done, [line] if done.operation is not None and request.waits else ())
