"""The verbs that only look: nothing is accepted, made or changed, and what they need is little, so that they start quickly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from howdah.core.endpoint import Endpoint, endpoints
from howdah.core.instance import Hop, Instance
from howdah.core.machine import LogSource, Watch
from howdah.core.observed import Facts, Pair
from howdah.core.operation import Operation, status
from howdah.core.remember import Store, Trashed
from howdah.core.rotation import Bundle
from howdah.errors import NotFound
from howdah.service.caller import Seen

if TYPE_CHECKING:
    from howdah.connect import Target


@dataclass(frozen=True)
class Reading:
    """What can be asked of one store and one machine."""

    store: Store
    host: Watch
    holder: Callable[[str], str | None]  # who holds an instance's lease now

    def known(self, name: str) -> Instance | None:
        """Return the instance of that name, None when there is none."""
        try:
            return self.store.find(name)
        except NotFound:
            return None

    def found(self, name: str) -> Instance:
        """Return the instance of that name, or refuse."""
        return self.store.find(name)

    def all(self) -> list[Seen]:
        """Return every instance with a quick look."""
        return [self.look(want) for want in self.store.instances()]

    def show(self, name: str) -> Seen:
        """Return one instance with a quick look."""
        return self.look(self.store.find(name))

    def look(self, want: Instance) -> Seen:
        """Look at an instance without logging in."""
        quick, last = self.host.quick(want), self.store.last(want.id)
        alive = quick.alive and quick.answers
        said = status(
            want.state,
            alive=alive,
            pooler_alive=quick.pooler_alive or want.pooler is None,
            last=last,
            converged=self.store.converged_generation(want.id),
            busy=self.holder(want.id) is not None,
        )
        return Seen(want, said, quick, want.deferred, last)

    def trash(self) -> tuple[Trashed, ...]:
        """Return what is in the trash."""
        return self.store.trashed()

    def endpoints(self, name: str) -> tuple[Endpoint, ...]:
        """Return where an instance is reached."""
        return endpoints(self.store.find(name))

    def parameters(self, name: str) -> list[Mapping[str, Any]]:
        """Return the parameters set by people, with default, unit and whether a change needs a restart."""
        from howdah.core.wishes import parameter_row

        want = self.store.find(name)
        return [parameter_row(want, key) for key in sorted({*want.parameters})]

    def target(self, name: str, via: str | None, database: str | None, user: str | None, sslmode: str | None) -> Target:
        """Return whom a client's snippet reaches: what is not said is the pooler, the first user and its first database, verify-full."""
        from howdah.service.aiming import Aim, aim

        return aim(self.store.find(name), Aim(via, database, user, sslmode), self.host)

    def operations(self, name: str) -> tuple[Operation, ...]:
        """Return the operations of an instance, newest first; also of one that is gone."""
        there = self.known(name)
        return self.store.operations(there.id) if there is not None else self.store.operations_named(name)

    def logs(self, name: str, source: LogSource) -> Sequence[Any]:
        """Return the log files of a source."""
        return self.host.logs(self.store.find(name), source)

    def facts(self) -> Facts:
        """Return what this machine is and has."""
        return self.host.facts()

    def certificates(self, name: str) -> Sequence[tuple[Hop, Pair, bool]]:
        """Return the certificates of an instance, and which of them are served."""
        return self.host.certificates(self.store.find(name))

    def authority(self) -> Bundle:
        """Return the CA that clients verify with, and where a change of it stands."""
        return self.host.authority()
