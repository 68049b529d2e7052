"""What a request would ask before it were accepted: the verb itself is run, up to the lease, before which no verb accepts anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace

from howdah.core import wishes
from howdah.core.wishes import Change
from howdah.service.caller import Caller, Done, Question
from howdah.service.verbs import Service


class _Reached(Exception):
    """All was asked; what comes next would be accepted."""


def _reached(name: str, holder: str, wait_seconds: float, on_wait: object) -> AbstractContextManager[object]:
    raise _Reached


def question(service: Service, verb: Callable[[Service, Caller], Done]) -> Question | None:
    """Return what a verb would ask, None where it would ask nothing; a request that it refuses is refused."""
    asked: list[Question] = []
    with suppress(_Reached):
        verb(replace(service, lease=_reached), Caller("", "", asked.append, lambda _: None))
    return asked[-1] if asked else None


@dataclass(frozen=True)
class Review:
    """What a request would change, and what it would ask."""

    changes: tuple[Change, ...]
    question: Question | None
    generation: int

    @property
    def restarts(self) -> bool:
        """Whether it takes a restart of PostgreSQL."""
        return any(change.how == "restart" for change in self.changes)


def parameters(service: Service, name: str, given: Mapping[str, str], unset: Sequence[str], *, restart: bool = True) -> Review:
    """Review setting and unsetting parameters."""
    want = service.store.find(name)
    _, changes = wishes.with_parameters(want, given, unset, service.facts(), restart=restart)
    asked = question(service, lambda verbs, caller: verbs.set_parameters(name, given, unset, caller, restart=restart)) if changes else None
    return Review(changes, asked, want.generation)


def extension(service: Service, name: str, extension_name: str, given: Mapping[str, str]) -> Review:
    """Review adding an extension, or changing the settings of one that is there."""
    want = service.store.find(name)
    if extension_name in want.extensions:
        _, changes = wishes.with_extension_settings(want, extension_name, given, service.facts())
        asked = question(service, lambda verbs, caller: verbs.set_extension(name, extension_name, given, caller)) if changes else None
        return Review(changes, asked, want.generation)
    asked = question(service, lambda verbs, caller: verbs.add_extension(name, extension_name, given, caller))
    return Review(tuple(Change(key, None, value) for key, value in given.items()), asked, want.generation)
