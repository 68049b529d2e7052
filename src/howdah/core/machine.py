"""What the verbs ask of a machine besides the steps: quick looks, ports, passwords, the trash, work left to a detached process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from howdah.core.host import Host
from howdah.core.instance import Hop, Instance
from howdah.core.layout import Layout
from howdah.core.observed import Facts, Pair
from howdah.core.pace import Asked, Measured
from howdah.core.remember import Trashed
from howdah.core.rotation import Bundle, Turn
from howdah.core.samples import Sample
from howdah.phrase import Phrase
from howdah.secret import Secret

LogSource = Literal["postgres", "pooler", "howdah"]


@dataclass(frozen=True)
class Quick:
    """A look without a login: processes, sockets, and the certificates as served (days left; None where TLS is not spoken)."""

    alive: bool
    answers: bool
    pooler_alive: bool
    days_left: Mapping[Hop, float | None]
    draining: int = 0  # older generations of the pooler that still have clients


class Watch(Protocol):
    """A machine for whoever only looks."""

    def facts(self) -> Facts:
        """Return what the machine is and has."""
        ...

    def layout(self, instance_id: str) -> Layout:
        """Return where an instance lies."""
        ...

    def quick(self, want: Instance) -> Quick:
        """Look without logging in, in a few milliseconds."""
        ...

    def passfile(self, want: Instance, user: str) -> Path | None:
        """Return the passfile when it holds this user's password."""
        ...

    def logs(self, want: Instance, source: LogSource) -> Sequence[Path]:
        """Return the log files of a source, oldest first."""
        ...

    def certificates(self, want: Instance) -> Sequence[tuple[Hop, Pair, bool]]:
        """Return each pair on disk, newest first, and whether it is the one served."""
        ...

    def authority(self) -> Bundle:
        """Return what clients verify with, and where a change of it stands; made when there is none."""
        ...


class Sentry(Protocol):
    """Who stands watch over a machine for as long as the loop is kept running."""

    def glance(self, want: Instance) -> Hashable:
        """Return what is there of an instance now, without a connection: two that are equal mean that nothing is known to have changed."""
        ...

    def dismiss(self, instance_id: str) -> None:
        """Forget an instance."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait until a process under watch has ended, somebody calls `wake`, or the time is over."""
        ...

    def wake(self) -> None:
        """End the wait, from any thread."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...


class Machine(Watch, Host, Protocol):
    """A host as the verbs need it."""

    def bench(self, want: Instance, asked: Asked, tell: Callable[[Phrase], None]) -> Measured:
        """Measure how fast an instance is, with a role and a database that are gone at the end."""
        ...

    def change_authority(self, asked: Turn) -> Bundle:
        """Make one turn of the authority's change. Conflict `authority_elsewhere` where it stands at another."""
        ...

    def sample(self, want: Instance, *, whole: bool) -> Sample:
        """Measure a running instance, in some milliseconds; `whole` adds what takes longer."""
        ...

    def port_holder(self, addresses: Sequence[str], port: int) -> str | None:
        """Return None where a plain bind succeeds on each address and the wildcard, else who or what holds the port."""
        ...

    def check_home(self, layout: Layout) -> None:
        """Refuse a home in which servers could not live: a socket path too long, a directory that their users may not pass through."""
        ...

    def address_fault(self, address: str) -> str | None:
        """Return why nothing can listen on an address of this machine, or None."""
        ...

    def majors(self) -> tuple[int, ...]:
        """Return the majors of the PostgreSQL servers installed here."""
        ...

    def has_library(self, major: int, name: str) -> bool:
        """Tell whether the PostgreSQL of a major can load a library, as far as its directories show."""
        ...

    def value_fault(self, major: int, name: str, text: str) -> str:
        """Return what PostgreSQL itself says of a parameter's value that it does not take; empty where it takes it, or is not there."""
        ...

    def make_password(self) -> Secret:
        """Return a new random password."""
        ...

    def verifier(self, user: str, password: Secret) -> Secret:
        """Return the SCRAM verifier of a password, as libpq makes it."""
        ...

    def keep_password(self, want: Instance, user: str, password: Secret) -> None:
        """Write a password that Howdah made into the instance's passfile (0600), in place of an older one."""
        ...

    def forget_password(self, want: Instance, user: str) -> None:
        """Take a user's password out of the passfile."""
        ...

    def carry_on(self, want: Instance) -> None:
        """Leave the work to a detached `howdah repair`."""
        ...

    def refill_spares(self, major: int) -> None:
        """Let a detached process make a spare data directory of this version, if one is wanted."""
        ...

    def in_trash(self, instance_id: str) -> bool:
        """Tell whether an instance's data lies in the trash."""
        ...

    def purge_trash(self, entry: Trashed) -> None:
        """Remove a data directory in the trash for good."""
        ...

    def empty_trash(self) -> None:
        """Let a detached process empty the trash as it comes due; where one is at it, it goes on alone."""
        ...
