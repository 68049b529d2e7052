"""The verbs: write down what is wanted, make it so or leave it to a detached pass, look, and say what was found.

The only door for every edge. A verb checks a request through the pure functions of `core.wishes`, asks for consent where something would
be destroyed or somebody cut off, accepts the wish under the instance's lease and converges. No file, process or SQL is touched here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from howdah.catalog import parameters
from howdah.catalog.extensions import extension
from howdah.core import wishes
from howdah.core.endpoint import Endpoint, endpoints
from howdah.core.files import extra
from howdah.core.instance import HOPS, Hop, Instance, check_port, check_role
from howdah.core.layout import Layout
from howdah.core.machine import LogSource, Machine, Quick
from howdah.core.observed import Facts, Session
from howdah.core.operation import Operation, status
from howdah.core.remember import Store, Trashed
from howdah.core.steps import Step
from howdah.core.wishes import Change, Creation
from howdah.errors import Conflict, NotFound, Unavailable
from howdah.phrase import Phrase, say
from howdah.reconciler import Reconciler
from howdah.secret import Secret

_FIRST_PORT = 5432
_FIRST_POOLED_PORT = 6432


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


@dataclass(frozen=True)
class Service:
    """Every verb of Howdah, over one store and one machine."""

    store: Store
    host: Machine
    reconciler: Reconciler
    lease: Lease
    layout: Callable[[str], Layout]
    trash_seconds: float = 600.0

    # ---------------------------------------------------------------------------------------- life of an instance

    def create(self, request: Creation, caller: Caller, password: Secret | None = None) -> Done:
        """Make an instance; again with the same wish goes on or says it is so, with another wish is a Conflict."""
        request = request.checked()
        self._empty_trash()
        with self.lease("create", caller.words, caller.patience, _waits(caller)):
            want = self._known(request.name)
            if want is None:
                want, operation, made = self._begin(request, caller, password)
            else:
                self._same_wish(request, want)
                operation, made = None, None
        if operation is None:
            return self._continue(want, caller)
        done = self._carry_out(want, operation, caller)
        self.host.refill_spares(want.version)
        return replace(done, password=made)

    def _known(self, name: str) -> Instance | None:
        try:
            return self.store.find(name)
        except NotFound:
            return None

    def _same_wish(self, request: Creation, want: Instance) -> None:
        if other := wishes.differs(request, want):
            hint = say("howdah show {name} tells what it is; choose another name, or change it", name=want.name)
            raise Conflict("name_taken", say("cannot create {name}: it is there with another {other}", name=want.name, other=other), hint)

    def _begin(self, request: Creation, caller: Caller, password: Secret | None) -> tuple[Instance, Operation, tuple[str, Secret] | None]:
        facts, major = self.host.facts(), self._major(request.version)
        identity = self.store.new_id()
        self.layout(identity).check()
        self._ask_if_open(request.allow, caller)
        listen = request.listen or ("127.0.0.1",)
        asked = request.extensions.get("pooler", {}).get("listen_port")
        port = self._port(listen, _FIRST_PORT, request.port)
        pooled = self._port(listen, _FIRST_POOLED_PORT, int(asked) if asked else None) if "pooler" in request.extensions else None
        if pooled == port:
            raise Conflict("port_taken", say("cannot use port {port} for both PostgreSQL and the pooler", port=port))
        want = wishes.born(request, facts, identity, major, port, pooled)
        made = None
        if request.user is not None and request.database is not None:
            secret = password or self.host.make_password()
            verifier = self.host.verifier(request.user, secret)
            user = wishes.with_user(want, request.user, verifier, (request.database,), shown_once=password is not None).users
            want = replace(want, users=user)
            if password is None:
                made = (request.user, secret)
                self.host.keep_password(want, *made)
        return want, self.store.accept(want, "create", caller.actor, {"request": caller.words}), made

    def _continue(self, want: Instance, caller: Caller) -> Done:
        """Go on with what is already wanted; a password made but never shown is made again."""
        unshown = next((user.name for user in want.users if not user.shown), None)
        if unshown is not None:
            return self.set_password(want.name, unshown, None, caller)
        return self.repair(want.name, caller)

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

    def _port(self, addresses: Sequence[str], first: int, asked: int | None) -> int:
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

    def _ask_if_open(self, allow: Sequence[str], caller: Caller) -> None:
        everyone = [network for network in allow if network.endswith("/0")]
        if everyone:
            caller.confirm(
                Question(say("{networks} admits every address there is; passwords are then the only wall", networks=", ".join(everyone)))
            )

    def start(self, name: str, caller: Caller) -> Done:
        """Have an instance run."""
        return self._state(name, "running", caller)

    def stop(self, name: str, caller: Caller) -> Done:
        """Have an instance stopped; sessions connected now would be ended."""
        want = self.store.find(name)
        sessions = self._sessions(want) if want.state == "running" else ()
        self._ask_to_end(sessions, say("stopping {name} ends the sessions connected now", name=want.name), caller)
        return self._state(name, "stopped", caller)

    def _state(self, name: str, state: str, caller: Caller) -> Done:
        verb = "start" if state == "running" else "stop"
        return self._wish(name, verb, caller, lambda want: want if want.state == state else want.next(state=state))

    def restart(self, name: str, caller: Caller) -> Done:
        """Restart PostgreSQL; settings that waited for it are applied. Pooled sessions wait, direct ones are ended."""
        want = self.store.find(name)
        if want.state != "running":
            raise Conflict("not_running", say("cannot restart {name}: it is stopped", name=name), say("howdah start {name}", name=name))
        server = self.host.observe(want).server
        self._ask_to_end(server.sessions, say("restarting {name} ends the direct sessions connected now", name=want.name), caller)
        return self._wish(name, "restart", caller, lambda want: want.next(restart_of=server.identity or "none", deferred=()))

    def delete(self, name: str, caller: Caller) -> Done:
        """Delete an instance: nothing serves, ports are free and keys are gone on return; the data lies in the trash for a while."""
        want = self.store.find(name)
        text = say("deleting {name} ends every session and destroys its keys and passwords", name=want.name)
        caller.confirm(Question(text, self._sessions(want) if want.state == "running" else ()))
        done = self._wish(name, "delete", caller, lambda want: want.next(state="deleted"), finish=self._to_trash)
        self._empty_trash()
        if self.trash_seconds > 0:
            self.host.empty_later(self.trash_seconds)
        return done

    def _to_trash(self, want: Instance) -> None:
        self.store.trash(want, time.time())

    def undelete(self, name: str, caller: Caller) -> Done:
        """Take an instance back from the trash, with its data; its ports must still be free."""
        entry = next((t for t in self.store.trashed() if name.casefold() in (t.instance.name.casefold(), t.instance.id)), None)
        if entry is None:
            raise NotFound("not_in_trash", say("cannot find {name} in the trash", name=name), say("howdah list --trash"))
        want = entry.instance
        for hop in HOPS:
            if (port := want.hop_port(hop)) is not None:
                self._port(want.reach(hop).listen, port, port)
        with self.lease(want.id, caller.words, caller.patience, _waits(caller)):
            self.host.take_from_trash(want)
            self.store.untrash(want)
            back = self.store.find_id(want.id).next(state="running")
            operation = self.store.accept(back, "undelete", caller.actor, {"request": caller.words})
        return self._carry_out(back, operation, caller)

    def _empty_trash(self) -> None:
        for entry in self.store.trashed():
            if time.time() - entry.at >= self.trash_seconds:
                with self.lease(entry.instance.id, "emptying the trash", 5.0, lambda _: None):
                    self.host.purge_trash(entry)
                    self.store.forget(entry.instance.id)

    def empty_trash(self) -> None:
        """Remove for good what has lain in the trash for long enough."""
        self._empty_trash()

    def repair(self, name: str, caller: Caller) -> Done:
        """One pass of the loop: observe, put right what differs, say what was done."""
        want = self.store.find(name)
        with self.lease(want.id, caller.words, caller.patience, _waits(caller)):
            want = self.store.find_id(want.id)
            operation = self.store.note(want, "repair", caller.actor, {"request": caller.words})
            finished = self._converge(want, operation, caller)
            if want.state == "deleted":
                self._to_trash(want)
        return Done(self.store.find_id(want.id), finished)

    # ---------------------------------------------------------------------------------------- what may be changed

    def set_parameters(self, name: str, given: Mapping[str, str], unset: Sequence[str], caller: Caller, *, restart: bool = True) -> Done:
        """Set and unset parameters; applied now by reload, else by one restart, unless `restart` is False."""
        want, facts = self.store.find(name), self.host.facts()
        _, changes = wishes.with_parameters(want, given, unset, facts, restart=restart)
        consent = self._ask_for_parameters(want, changes, caller, restart=restart)

        def wish(current: Instance) -> Instance:
            wished, _ = wishes.with_parameters(current, given, unset, facts, restart=restart)
            return wished if wished is current else replace(wished, end_plaintext=consent)

        return replace(self._wish(name, "params set", caller, wish), changes=changes)

    def _ask_for_parameters(self, want: Instance, changes: Sequence[Change], caller: Caller, *, restart: bool) -> bool:
        """Ask for what the changes would cost; return whether sessions in plaintext may be ended."""
        if want.state != "running" or not changes:
            return False
        names = wishes.restart_names(changes)
        if names and restart:
            server = self.host.observe(want).server
            text = say("{names} needs a restart, which ends the direct sessions connected now", names=", ".join(names))
            self._ask_to_end(server.sessions, text, caller)
        if not any(change.name == "ssl" and change.new == "on" for change in changes):
            return False
        seen = self.host.observe(want)
        plaintext = (*seen.server.plaintext, *(s for each in seen.pooler for s in each.plaintext))
        self._ask_to_end(plaintext, say("ssl=on ends the sessions that are open in plaintext"), caller)
        return True

    def add_extension(self, name: str, extension_name: str, given: Mapping[str, str], caller: Caller) -> Done:
        """Add an extension; the pooler's missing settings are chosen and said."""
        want, facts = self.store.find(name), self.host.facts()
        port = self._pooled_port(want, extension_name, given)
        wishes.with_extension(want, extension_name, given, facts, port)
        if extension(extension_name).preload and extension_name not in want.extensions and want.state == "running":
            self._ask_about_restart(want, caller, say("adding {name} takes a restart, which ends direct sessions", name=extension_name))
        done = self._wish(name, "extensions add", caller, lambda w: wishes.with_extension(w, extension_name, given, facts, port))
        chosen = done.instance.extensions.get(extension_name, {})
        notes = (wishes.explain_mode(facts),) if extension(extension_name).program and "pool_mode" not in given else ()
        return replace(done, changes=tuple(Change(key, None, value) for key, value in sorted(chosen.items())), notes=(*done.notes, *notes))

    def _pooled_port(self, want: Instance, extension_name: str, given: Mapping[str, str]) -> int | None:
        if not extension(extension_name).program or want.pooler is not None:
            return None
        asked = extension(extension_name).parse(given).get("listen_port")
        return self._port(want.pooled.listen, _FIRST_POOLED_PORT, int(asked) if asked else None)

    def set_extension(self, name: str, extension_name: str, given: Mapping[str, str], caller: Caller) -> Done:
        """Change settings of an extension."""
        want, facts = self.store.find(name), self.host.facts()
        _, changes = wishes.with_extension_settings(want, extension_name, given, facts)
        for change in changes:
            if change.name == "listen_port" and change.new is not None:
                self._port(want.pooled.listen, _FIRST_POOLED_PORT, int(change.new))
        if wishes.restart_names(changes) and want.state == "running":
            self._ask_about_restart(want, caller, say("this takes a restart, which ends direct sessions"))
        verb = "extensions set"
        done = self._wish(name, verb, caller, lambda w: wishes.with_extension_settings(w, extension_name, given, facts)[0])
        return replace(done, changes=changes)

    def remove_extension(self, name: str, extension_name: str, caller: Caller) -> Done:
        """Remove an extension, with everything that it brought."""
        want = self.store.find(name)
        if extension_name in want.extensions and want.state == "running":
            if extension(extension_name).program:
                sessions = tuple(s for each in self.host.observe(want).pooler for s in each.clients)
                self._ask_to_end(sessions, say("removing the pooler ends the sessions connected through it"), caller)
            else:
                self._ask_about_restart(
                    want, caller, say("removing {name} takes a restart, which ends direct sessions", name=extension_name)
                )
        return self._wish(name, "extensions remove", caller, lambda w: wishes.without_extension(w, extension_name))

    def _ask_about_restart(self, want: Instance, caller: Caller, text: Phrase) -> None:
        self._ask_to_end(self.host.observe(want).server.sessions, text, caller)

    def set_reach(
        self, name: str, hops: Sequence[Hop], listen: Sequence[str], hostnames: Sequence[str], allow: Sequence[str], caller: Caller
    ) -> Done:
        """Change where hops are reached, under which names, and by whom."""
        want = self.store.find(name)
        _, changes = wishes.with_reach(want, hops, listen, hostnames, allow)
        self._ask_if_open([n for c in changes if c.name.endswith(".allow") for n in (c.new or "").split(",")], caller)
        if wishes.restart_names(changes) and want.state == "running":
            self._ask_about_restart(want, caller, say("a new address takes a restart, which ends direct sessions"))
        done = self._wish(name, "endpoints set", caller, lambda w: wishes.with_reach(w, hops, listen, hostnames, allow)[0])
        return replace(done, changes=changes)

    def add_database(self, name: str, database: str, owner: str | None, icu_locale: str | None, caller: Caller) -> Done:
        """Add a database."""
        return self._wish(name, "databases add", caller, lambda w: wishes.with_database(w, database, owner, icu_locale))

    def delete_database(self, name: str, database: str, caller: Caller) -> Done:
        """Delete a database with everything in it."""
        wishes.find_database(self.store.find(name), database)
        caller.confirm(Question(say("deleting database {database} destroys everything in it", database=database)))
        return self._wish(name, "databases delete", caller, lambda w: wishes.without_database(w, database))

    def add_user(self, name: str, user: str, databases: Sequence[str], password: Secret | None, caller: Caller) -> Done:
        """Add a user; without a password one is made. Again with the same name says so, or shows the password if it never was."""
        want = self.store.find(name)
        there = next((u for u in want.users if u.name == user), None)
        if there is not None:
            if not there.shown and password is None:
                return self.set_password(name, user, None, caller)
            missing = [d for d in databases if d not in there.databases]
            if missing or password is not None:
                hint = say("howdah users grant or howdah users password changes it")
                raise Conflict("already_there", say("cannot add user {user}: it is there already", user=user), hint)
            return Done(want)
        check_role(user)

        def wish(current: Instance, verifier: Secret, known: bool) -> Instance:
            return wishes.with_user(current, user, verifier, databases, shown_once=known)

        return self._with_secret(name, "users add", user, password, caller, wish)

    def set_password(self, name: str, user: str, password: Secret | None, caller: Caller) -> Done:
        """Give a user a new password; without one it is made."""
        wishes.find_user(self.store.find(name), user)
        return self._with_secret(
            name, "users password", user, password, caller, lambda w, v, s: wishes.with_password(w, user, v, shown_once=s)
        )

    def _with_secret(
        self,
        name: str,
        verb: str,
        user: str,
        password: Secret | None,
        caller: Caller,
        wish: Callable[[Instance, Secret, bool], Instance],
    ) -> Done:
        secret = password or self.host.make_password()
        verifier = self.host.verifier(user, secret)
        done = self._wish(name, verb, caller, lambda want: wish(want, verifier, password is not None))
        if password is None:
            self.host.keep_password(done.instance, user, secret)
            return replace(done, password=(user, secret))
        self.host.forget_password(done.instance, user)
        return done

    def password_shown(self, done: Done) -> None:
        """Remember that a made password has been shown, so that it is never made again."""
        if done.password is not None:
            want = self.store.find_id(done.instance.id)
            self.store.update(wishes.mark_shown(want, done.password[0]))

    def delete_user(self, name: str, user: str, caller: Caller) -> Done:
        """Delete a user; what it owned goes to the database's owner."""
        want = wishes.without_user(self.store.find(name), user)
        caller.confirm(Question(say("deleting user {user} ends its sessions; what it owned goes to the owner of each database", user=user)))
        done = self._wish(name, "users delete", caller, lambda w: wishes.without_user(w, user))
        self.host.forget_password(want, user)
        return done

    def grant(self, name: str, user: str, databases: Sequence[str], caller: Caller, *, grant: bool = True) -> Done:
        """Give a user every right in databases, or take it."""
        verb = "users grant" if grant else "users revoke"
        return self._wish(name, verb, caller, lambda w: wishes.with_grants(w, user, databases, grant=grant))

    # ---------------------------------------------------------------------------------------- how a wish comes true

    def _wish(
        self,
        name: str,
        verb: str,
        caller: Caller,
        wish: Callable[[Instance], Instance],
        finish: Callable[[Instance], None] | None = None,
    ) -> Done:
        """Accept a wish under the lease and make it so; where nothing changes, still see that it is so."""
        want = self.store.find(name)
        with self.lease(want.id, caller.words, caller.patience, _waits(caller)):
            current = self.store.find_id(want.id)
            wished = wish(current)
            if wished is current:
                return Done(current, notes=(say("nothing to change: it is so already"),))
            operation = self.store.accept(wished, verb, caller.actor, {"request": caller.words})
            if not caller.wait:
                self.host.carry_on(wished)
                return Done(wished, operation)
            finished = self._converge(wished, operation, caller)
            if finish is not None:
                finish(wished)
        return Done(self.store.find_id(wished.id), finished)

    def _carry_out(self, want: Instance, operation: Operation, caller: Caller) -> Done:
        """Make an accepted wish so, or leave it to a detached pass."""
        if not caller.wait:
            self.host.carry_on(want)
            return Done(want, operation)
        with self.lease(want.id, caller.words, caller.patience, _waits(caller)):
            finished = self._converge(want, operation, caller)
        return Done(self.store.find_id(want.id), finished)

    def _converge(self, want: Instance, operation: Operation, caller: Caller) -> Operation:
        def on_step(step: Step) -> None:
            caller.tell(step.why)

        try:
            return self.reconciler.converge(operation, on_step)
        except KeyboardInterrupt:
            self.host.carry_on(want)
            raise

    def _sessions(self, want: Instance) -> tuple[Session, ...]:
        seen = self.host.observe(want)
        return (*seen.server.sessions, *(session for each in seen.pooler for session in each.clients))

    def _ask_to_end(self, sessions: Sequence[Session], text: Phrase, caller: Caller) -> None:
        if sessions:
            caller.confirm(Question(text, tuple(sessions)))

    # ---------------------------------------------------------------------------------------- looking

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
        want = self.store.find(name)
        return [_parameter_row(want, key, want.parameters[key]) for key in sorted({*want.parameters})]

    def operations(self, name: str) -> tuple[Operation, ...]:
        """Return the operations of an instance, newest first; also of one that is gone."""
        return self.store.operations_named(name)

    def logs(self, name: str, source: LogSource) -> Sequence[Any]:
        """Return the log files of a source."""
        return self.host.logs(self.store.find(name), source)

    def facts(self) -> Facts:
        """Return what this machine is and has."""
        return self.host.facts()

    def authority(self) -> Mapping[str, Any]:
        """Return the CA that clients verify with."""
        return self.host.authority()


def _parameter_row(want: Instance, name: str, value: str) -> Mapping[str, Any]:
    found = parameters.find(want.version, name, extra(want))
    restart = found.context == "postmaster"
    return {
        "name": name,
        "value": value,
        "default": wishes.effective_default(want, name),
        "unit": found.unit,
        "applied_by": "restart" if restart else "reload",
        "pending_restart": name in want.deferred,
    }


def _waits(caller: Caller) -> Callable[[str], None]:
    return lambda holder: caller.tell(say("waiting for {holder}", holder=holder))
