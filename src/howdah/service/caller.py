"""Who asks, what they are asked in turn, and what they are told at the end: the shapes that pass between an edge and the verbs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from howdah.core.instance import Hold
from howdah.phrase import Phrase, say

if TYPE_CHECKING:
    from howdah.core.instance import Instance
    from howdah.core.machine import Quick
    from howdah.core.observed import Session
    from howdah.core.operation import Operation
    from howdah.core.wishes import Change
    from howdah.secret import Secret


@dataclass(frozen=True)
class Question:
    """What would be destroyed, and who would be cut off, if the request were carried out."""

    text: Phrase
    sessions: tuple[Session, ...] = ()


@dataclass(frozen=True)
class Caller:
    """Who asks, and how to speak with them while the work is done."""

    actor: str
    words: str  # the request in words, without secrets: who waits for it is told this
    confirm: Callable[[Question], None]  # returns when agreed; raises otherwise
    tell: Callable[[Phrase], None]  # progress
    wait: bool = True
    patience: float = 60.0  # seconds to wait for another command on the same instance
    hold: Hold = field(default_factory=Hold)  # how long open transactions may hold up a restart that the request takes


@dataclass(frozen=True)
class Done:
    """What became of a request."""

    instance: Instance
    operation: Operation | None = None  # None: it already was so
    changes: tuple[Change, ...] = ()
    password: tuple[str, Secret] | None = None  # user and the password that was made, to be shown once
    notes: tuple[Phrase, ...] = ()


class Lease(Protocol):
    """Exclusive work on one instance; dies with its holder."""

    def __call__(self, name: str, holder: str, wait_seconds: float, on_wait: Callable[[str], None]) -> AbstractContextManager[object]: ...


@dataclass(frozen=True)
class Seen:
    """An instance as wanted, with a quick look and its last operation."""

    instance: Instance
    status: str
    quick: Quick
    pending_restart: tuple[str, ...] = ()
    last: Operation | None = None


def waits(caller: Caller) -> Callable[[str], None]:
    """Return how the caller is told whom it waits for."""
    return lambda holder: caller.tell(say("waiting for {holder}", holder=holder))
