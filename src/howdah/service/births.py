"""How an instance comes into the world: which version, which ports, whether it is the same wish again, and its first password."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from howdah.catalog import parameters
from howdah.catalog.extensions import extension
from howdah.core import wishes
from howdah.core.instance import Instance, check_port
from howdah.core.operation import Operation
from howdah.core.remember import Trashed
from howdah.core.wishes import Creation
from howdah.errors import Conflict, Unavailable
from howdah.phrase import say
from howdah.secret import Secret
from howdah.service.caller import Caller, Question
from howdah.service.work import Work

FIRST_PORT = 5432
FIRST_POOLED_PORT = 6432


@dataclass(frozen=True)
class Births(Work):
    """The first verb, and what it needs."""

    def same_wish(self, request: Creation, want: Instance) -> None:
        if other := wishes.differs(request, want):
            hint = say("howdah show {name} tells what it is; choose another name, or change it", name=want.name)
            raise Conflict("name_taken", say("cannot create {name}: it is there with another {other}", name=want.name, other=other), hint)

    def conceive(self, request: Creation, caller: Caller) -> Instance:
        """Return the record that a request for a new instance would make, or refuse it; nothing is made or remembered."""
        facts, major = self.host.facts(), self._major(request.version)
        identity = self.store.new_id()
        self.host.check_home(self.host.layout(identity))
        self.ask_if_open(request.allow, caller)
        self.check_addresses(request.listen)
        listen = wishes.listening(request, facts)
        port = self.port(listen, FIRST_PORT, request.port)
        pooled = next((self.claimed_port(listen, name, given) for name, given in request.extensions.items() if extension(name).port), None)
        if pooled == port:
            raise Conflict("port_taken", say("cannot use port {port} for both PostgreSQL and the pooler", port=port))
        return wishes.born(request, facts, identity, major, port, pooled)

    def begin(self, request: Creation, caller: Caller, password: Secret | None) -> tuple[Instance, Operation, tuple[str, Secret] | None]:
        want, made = self.conceive(request, caller), None
        if request.user is not None and request.database is not None:
            secret = password or self.host.make_password()
            verifier = self.host.verifier(request.user, secret)
            users = wishes.with_user(want, request.user, verifier, (request.database,), shown_once=password is not None).users
            want = replace(want, users=users)
            if password is None:
                made = (request.user, secret)
        operation = self.store.accept(want, "create", caller.actor, {"request": caller.words})
        if made is not None:
            self.host.keep_password(want, *made)  # not before: a store that is full shall leave no password behind
        return want, operation, made

    def _major(self, asked: int | None) -> int:
        here = self.host.majors()
        if asked is not None:
            parameters.catalog(asked)
        fit = sorted(major for major in here if major in parameters.MAJORS)
        if asked is None and fit:
            return fit[-1]
        if asked in fit:
            return int(asked or 0)
        wanted = f"postgresql-{asked}" if asked else "postgresql"
        hint = say("install it: sudo apt-get install {package}, or run `howdah quickstart`", package=wanted)
        raise Unavailable("no_postgresql", say("cannot find PostgreSQL {version} on this machine", version=asked or ""), hint)

    def port(self, addresses: Sequence[str], first: int, asked: int | None) -> int:
        """Return the asked port where it is free, else refuse it; or the first free one."""
        taken = self.store.ports()
        if asked is not None:
            holder = taken.get(check_port(asked)) or self.host.port_holder(addresses, asked)
            if holder is not None:
                hint = say("leave the port out and a free one is found")
                raise Conflict("port_taken", say("cannot use port {port}: {holder} has it", port=asked, holder=holder), hint)
            return asked
        free = (port for port in range(first, 65536) if port not in taken and self.host.port_holder(addresses, port) is None)
        found = next(free, None)
        if found is None:
            raise Unavailable("no_port", say("cannot find a free port from {first} on", first=first))
        return found

    def claimed_port(self, listen: Sequence[str], extension_name: str, given: Mapping[str, str]) -> int | None:
        """Return the port for an extension that takes one: the asked one where it is free, else the first free; None for any other."""
        setting = extension(extension_name).port
        if setting is None:
            return None
        asked = given.get(setting)
        return self.port(listen, FIRST_POOLED_PORT, int(asked) if asked else None)

    def check_addresses(self, listen: Sequence[str]) -> None:
        """Refuse an address that this machine does not have."""
        for address in listen:
            if (fault := self.host.address_fault(address)) is not None:
                hint = say("`ip address` lists the addresses of this machine")
                raise Conflict("address_not_here", say("cannot listen on {address}: {reason}", address=address, reason=fault), hint)

    def ask_if_open(self, allow: Sequence[str], caller: Caller) -> None:
        everyone = dict.fromkeys(network for network in allow if network.endswith("/0"))
        if everyone:
            caller.confirm(
                Question(say("{networks} admits every address there is; passwords are then the only wall", networks=", ".join(everyone)))
            )

    def clear_trash(self) -> float | None:
        """Remove for good what has lain in the trash for long enough; return the seconds until more is due, None when it is empty."""
        for entry in self.store.trashed():
            if self._due_in(entry) > 0:
                continue
            with contextlib.suppress(Conflict), self.lease(entry.instance.id, "emptying the trash", 5.0, lambda _: None):
                self.host.purge_trash(entry)
                self.store.forget(entry.instance.id)
        return min((self._due_in(entry) for entry in self.store.trashed()), default=None)

    def refill_spares(self) -> None:
        """Let detached processes of low priority fill the stock of spares, of each version that instances run on."""
        for major in sorted({want.version for want in self.store.everything()}):
            self.host.refill_spares(major)

    def _due_in(self, entry: Trashed) -> float:
        return entry.at + self.trash_seconds - time.time()
