"""What `connect --write-service` and `--remove-service` do in the caller's own files, and what follows them when passwords change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from howdah.cli.request import Request
from howdah.errors import Refusal
from howdah.phrase import say
from howdah.service.caller import Done


def write(request: Request, name: str, target: Any) -> None:
    """Write a section, and the password where Howdah keeps it; say what became of it."""
    from howdah import compose

    done = compose.write_service(request.home, request.reading.found(name), target)
    screen = request.screen

    def lines() -> list[Any]:
        said: list[Any] = [say("wrote {path}", path=path) for path in done["changed"]] or [say("nothing to change: it is so already")]
        return [*said, say("now: psql service={service}", service=done["service"])]

    screen.answer(done, lines)
    if done["passfile"] is None:
        screen.note(say("no password of {user} is kept here: psql asks for it, unless ~/.pgpass has it", user=target.user))


def remove(request: Request, name: str) -> None:
    """Take sections and passwords of an instance away, also of one that is gone."""
    from howdah import compose

    there = request.reading.known(name)
    done = compose.remove_service(request.home, there.name if there is not None else name, None)
    said = [_removed(done)] if done["changed"] else [say("nothing to change: it is so already")]
    request.screen.answer(done, lambda: said)


def forget(request: Request, done: Done) -> None:
    """After a deletion: take what leads to the instance out of the caller's own files. It never fails what is done already."""
    from howdah import compose

    try:
        gone = compose.remove_service(request.home, done.instance.name, done.instance.id)
    except Refusal as refusal:
        request.screen.note(refusal.message)
        return
    if gone["changed"]:
        request.screen.note(_removed(gone))


def follow(request: Request, done: Done, user: str) -> None:
    """After a new password: put it where the caller's own passfile had the old one; one that Howdah does not keep is taken out there."""
    from howdah import compose

    try:
        changed = compose.follow_password(request.home, done.instance, user, done.password[1] if done.password is not None else None)
    except Refusal as refusal:
        request.screen.note(refusal.message)
        return
    if changed is not None:
        request.screen.note(say("{path} follows", path=changed))


def _removed(done: Mapping[str, Any]) -> Any:
    return say("took {names} out of {paths}", names=", ".join(done["services"]) or "-", paths=", ".join(done["changed"]))
