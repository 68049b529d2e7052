"""The verbs: write down what is wanted, make it so or leave it to a detached pass, look, and say what was found.

The only door for every edge. A verb checks a request through the pure functions of `core.wishes`, asks for consent where something would
be destroyed or somebody cut off, accepts the wish under the instance's lease and converges. No file, process or SQL is touched here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from howdah.catalog.extensions import extension
from howdah.core import wishes
from howdah.core.host import Refused
from howdah.core.instance import HOPS, Hop, Instance, check_role
from howdah.core.observed import Generation, Session
from howdah.core.operation import headline
from howdah.core.pace import Asked, Measured
from howdah.core.wishes import Change, Creation
from howdah.errors import Conflict, Failed, NotFound
from howdah.phrase import say
from howdah.secret import Secret
from howdah.service.caller import Caller, Done, Question, waits
from howdah.service.rotation import Rotation

# between the choice of a free port and the start on it another program may take it: then another one is chosen
_PORT_RACES = 3
_BETWEEN_LOOKS = 0.25  # seconds, while clients are waited for
_LOGOUT: Final = say("logging out may break its servers (RemoveIPC): howdah service install, or loginctl enable-linger, keeps them")


@dataclass(frozen=True)
class Service(Rotation):
    """Every verb of Howdah, over one store and one machine."""

    # ---------------------------------------------------------------------------------------- life of an instance

    def create(self, request: Creation, caller: Caller, password: Secret | None = None) -> Done:
        """Make an instance; again with the same wish goes on or says it is so, with another wish is a Conflict."""
        request = request.checked()
        trashed = bool(self.store.trashed())
        try:
            return self._create_on_a_port(request, caller, password)
        finally:
            if trashed:
                self.host.empty_trash()  # not before: somebody waits for the instance, and nobody for this

    def _create_on_a_port(self, request: Creation, caller: Caller, password: Secret | None) -> Done:
        for _ in range(_PORT_RACES):
            try:
                return self._create(request, caller, password)
            except Refused as refused:
                if refused.code != "port_lost" or request.port is not None:
                    raise
        return self._create(request, caller, password)

    def _create(self, request: Creation, caller: Caller, password: Secret | None) -> Done:
        with self.lease("create", caller.words, caller.patience, waits(caller)):
            want = self.known(request.name)
            if want is None:
                want, operation, made = self.begin(request, caller, password)
            else:
                self.same_wish(request, want)
                operation, made = None, None
        if operation is None:
            return self._continue(want, caller)
        done = self.carry_out(want, operation, caller)
        self.host.refill_spares(want.version)
        notes = (_LOGOUT,) if self.host.facts().logout_harms else ()
        return replace(done, password=made, notes=(*done.notes, *notes))

    def _continue(self, want: Instance, caller: Caller) -> Done:
        """Go on with what is already wanted; a password made but never shown is made again."""
        unshown = next((user.name for user in want.users if not user.shown), None)
        if unshown is not None:
            return self.set_password(want.name, unshown, None, caller)
        done = self.repair(want.name, caller)
        so = done.operation is None or not done.operation.story
        return replace(done, notes=(say("nothing to change: it is so already"),)) if so else done

    def start(self, name: str, caller: Caller) -> Done:
        """Have an instance run."""
        return self._state(name, "running", caller)

    def stop(self, name: str, caller: Caller) -> Done:
        """Have an instance stopped; sessions connected now would be ended."""
        want = self.store.find(name)
        sessions = self.sessions(want) if want.state == "running" else ()
        self.ask_to_end(sessions, say("stopping {name} ends the sessions connected now", name=want.name), caller)
        return self._state(name, "stopped", caller)

    def _state(self, name: str, state: str, caller: Caller) -> Done:
        verb = "start" if state == "running" else "stop"
        return self.wish(name, verb, caller, lambda want: want if want.state == state else want.next(state=state))

    def down(self, name: str, caller: Caller) -> Done:
        """End an instance's processes, the pooler first, at a shutdown: it stays wanted as it is, and `repair` starts it again."""
        want = self.store.find(name)
        with self.lease(want.id, caller.words, caller.patience, waits(caller)):
            operation = self.store.note(want, "down", caller.actor, {"request": caller.words})
            return Done(want, self.reconciler.stand_down(operation, lambda step: caller.tell(headline(step.what, step.why))))

    def restart(self, name: str, caller: Caller) -> Done:
        """Restart PostgreSQL; settings that waited for it are applied. Pooled sessions wait, direct ones are ended."""
        want = self.store.find(name)
        if want.state != "running":
            raise Conflict("not_running", say("cannot restart {name}: it is stopped", name=name), say("howdah start {name}", name=name))
        server = self.host.observe(want).server
        self.ask_about_restart(want, caller, say("restarting {name} ends the direct sessions connected now", name=want.name))
        return self.wish(name, "restart", caller, lambda want: want.next(restart_of=server.identity or "none", deferred=()))

    def delete(self, name: str, caller: Caller) -> Done:
        """Delete an instance: nothing serves, ports are free and keys are gone on return; the data lies in the trash for a while."""
        want = self.store.find(name)
        text = say("deleting {name} ends every session and destroys its keys and passwords", name=want.name)
        caller.confirm(Question(text, self.sessions(want) if want.state == "running" else ()))
        done = self.wish(name, "delete", caller, lambda want: want.next(state="deleted"), finish=self._to_trash)
        if self.trash_seconds > 0:
            self.host.empty_trash()
        else:
            self.clear_trash()
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
                self.port(want.reach(hop).listen, port, port)
        with self.lease(want.id, caller.words, caller.patience, waits(caller)):
            if not self.host.in_trash(want.id):
                raise NotFound("not_in_trash", say("cannot take {name} back: its data was removed", name=want.name))
            self.store.untrash(want)
            back = self.store.find_id(want.id).next(state="running")
            operation = self.store.accept(back, "undelete", caller.actor, {"request": caller.words})
        return self.carry_out(back, operation, caller)

    def bench(self, name: str, asked: Asked, caller: Caller) -> Measured:
        """Measure how fast an instance is; sessions connected now share the machine with the load, so it asks if there are any."""
        want = self.store.find(name)
        if want.state != "running":
            raise Conflict("not_running", say("cannot measure {name}: it is stopped", name=name), say("howdah start {name}", name=name))
        self.ask_to_end(self.sessions(want), say("the bench loads {name}, and sessions connected now become slower", name=name), caller)
        return self.host.bench(want, asked, caller.tell)

    def repair(self, name: str, caller: Caller) -> Done:
        """One pass of the loop: observe, put right what differs, say what was done."""
        want = self.store.find(name)
        with self.lease(want.id, caller.words, caller.patience, waits(caller)):
            want = self.store.find_id(want.id)
            operation = self.store.note(want, "repair", caller.actor, {"request": caller.words})
            finished = self.converge(want, operation, caller)
            if want.state == "deleted":
                self._to_trash(want)
        return Done(self.store.find_id(want.id), finished)

    def repair_later(self, name: str, caller: Caller) -> Done:
        """Have a pass made, and tell by which operation to follow it."""
        want = self.store.find(name)
        with self.lease(want.id, caller.words, caller.patience, waits(caller)):
            operation = self.store.note(want, "repair", caller.actor, {"request": caller.words})
            self.host.carry_on(want)
        return Done(want, operation)

    # ---------------------------------------------------------------------------------------- what may be changed

    def set_parameters(
        self,
        name: str,
        given: Mapping[str, str],
        unset: Sequence[str],
        caller: Caller,
        *,
        restart: bool = True,
        keep_plaintext: bool = False,
    ) -> Done:
        """Set and unset parameters; applied now by reload, else by one restart, unless `restart` is False.

        ssl=on ends the sessions that are open in plaintext, unless they may stay until they leave (`keep_plaintext`); asked for again, it
        ends those that stayed.
        """
        want, facts = self.store.find(name), self.host.facts()
        wished, changes = wishes.with_parameters(want, given, unset, facts, restart=restart)
        self._ask_for_parameters(want, changes, caller, restart=restart)
        plaintext = self._plaintext(want) if wished.tls and any(key.lower() == "ssl" for key in (*given, *unset)) else ()
        if not keep_plaintext:
            self.ask_to_end(plaintext, say("ssl=on ends the sessions that are open in plaintext"), caller)

        def wish(current: Instance) -> Instance:
            wished, _ = wishes.with_parameters(current, given, unset, facts, restart=restart)
            if keep_plaintext or not (plaintext or (wished.tls and not current.tls)):
                return wished
            return replace(wished, end_plaintext=True) if wished is not current else current.next(end_plaintext=True)

        done = replace(self.wish(name, "params set", caller, wish), changes=changes)
        stay = say("sessions still open in plaintext: {count}; the same again without --keep-plaintext ends them", count=len(plaintext))
        return replace(done, notes=(*done.notes, stay)) if keep_plaintext and plaintext else done

    def _ask_for_parameters(self, want: Instance, changes: Sequence[Change], caller: Caller, *, restart: bool) -> None:
        """Ask for the restart that the changes would take."""
        names = wishes.restart_names(changes)
        if want.state == "running" and names and restart:
            text = say("{names} needs a restart, which ends the direct sessions connected now", names=", ".join(names))
            self.ask_about_restart(want, caller, text)

    def _plaintext(self, want: Instance) -> tuple[Session, ...]:
        """Return the sessions that are open without TLS."""
        if want.state != "running":
            return ()
        seen = self.host.observe(want)
        return (*seen.server.plaintext, *(session for each in seen.pooler for session in each.plaintext))

    def add_extension(self, name: str, extension_name: str, given: Mapping[str, str], caller: Caller) -> Done:
        """Add an extension; the pooler's missing settings are chosen and said."""
        want, facts = self.store.find(name), self.host.facts()
        port = self._pooled_port(want, extension_name, given)
        wishes.with_extension(want, extension_name, given, facts, port)
        if extension(extension_name).preload and extension_name not in want.extensions and want.state == "running":
            self.ask_about_restart(want, caller, say("adding {name} takes a restart, which ends direct sessions", name=extension_name))
        done = self.wish(name, "extensions add", caller, lambda w: wishes.with_extension(w, extension_name, given, facts, port))
        chosen = done.instance.extensions.get(extension_name, {})
        notes = (wishes.explain_mode(facts),) if extension(extension_name).program and "pool_mode" not in given else ()
        return replace(done, changes=tuple(Change(key, None, value) for key, value in sorted(chosen.items())), notes=(*done.notes, *notes))

    def _pooled_port(self, want: Instance, extension_name: str, given: Mapping[str, str]) -> int | None:
        if extension_name in want.extensions:
            return None
        return self.claimed_port(want.pooled.listen, extension_name, extension(extension_name).parse(given))

    def set_extension(self, name: str, extension_name: str, given: Mapping[str, str], caller: Caller) -> Done:
        """Change settings of an extension."""
        want, facts = self.store.find(name), self.host.facts()
        _, changes = wishes.with_extension_settings(want, extension_name, given, facts)
        for change in changes:
            if change.name == extension(extension_name).port and change.new is not None:
                self.claimed_port(want.pooled.listen, extension_name, {change.name: change.new})
        if wishes.restart_names(changes) and want.state == "running":
            self.ask_about_restart(want, caller, say("this takes a restart, which ends direct sessions"))
        self.tell_who_stays(want, changes, caller)
        verb = "extensions set"
        done = self.wish(name, verb, caller, lambda w: wishes.with_extension_settings(w, extension_name, given, facts)[0])
        return replace(done, changes=changes, notes=(*done.notes, *self.who_stayed(done, changes)))

    def drain_pooler(self, name: str, caller: Caller, *, seconds: float = 0.0, end: bool = False) -> tuple[Done, tuple[Session, ...]]:
        """Wait up to `seconds` for the sessions of older poolers to leave; return those left, which `end` ends."""
        want, deadline = self.store.find(name), time.monotonic() + seconds
        older = self._older(want)
        while any(each.clients for each in older) and time.monotonic() < deadline:
            time.sleep(min(_BETWEEN_LOOKS, max(deadline - time.monotonic(), 0)))
            older = self._older(want)
        left = tuple(session for each in older for session in each.clients)
        if not (end and left):
            return Done(want), left
        self.ask_to_end(left, say("this ends the sessions of older poolers"), caller)
        identities = tuple(each.identity for each in older)
        return self.wish(name, "pooler drain", caller, lambda w: w.next(end_of=identities)), left

    def _older(self, want: Instance) -> tuple[Generation, ...]:
        return self.host.observe(want).pooler[:-1] if want.state == "running" else ()

    def remove_extension(self, name: str, extension_name: str, caller: Caller) -> Done:
        """Remove an extension, with everything that it brought."""
        want = self.store.find(name)
        if extension_name in want.extensions and want.state == "running":
            if extension(extension_name).program:
                sessions = tuple(s for each in self.host.observe(want).pooler for s in each.clients)
                self.ask_to_end(sessions, say("removing the pooler ends the sessions connected through it"), caller)
            else:
                self.ask_about_restart(
                    want, caller, say("removing {name} takes a restart, which ends direct sessions", name=extension_name)
                )
        return self.wish(name, "extensions remove", caller, lambda w: wishes.without_extension(w, extension_name))

    def set_reach(
        self, name: str, hops: Sequence[Hop], listen: Sequence[str], hostnames: Sequence[str], allow: Sequence[str], caller: Caller
    ) -> Done:
        """Change where hops are reached, under which names, and by whom."""
        want = self.store.find(name)
        _, changes = wishes.with_reach(want, hops, listen, hostnames, allow)
        self.check_addresses(listen)
        self.ask_if_open([n for c in changes if c.name.endswith(".allow") for n in (c.new or "").split(",")], caller)
        if wishes.restart_names(changes) and want.state == "running":
            self.ask_about_restart(want, caller, say("a new address takes a restart, which ends direct sessions"))
        done = self.wish(name, "endpoints set", caller, lambda w: wishes.with_reach(w, hops, listen, hostnames, allow)[0])
        return replace(done, changes=changes)

    def add_database(self, name: str, database: str, owner: str | None, icu_locale: str | None, caller: Caller) -> Done:
        """Add a database."""
        return self.wish(name, "databases add", caller, lambda w: wishes.with_database(w, database, owner, icu_locale))

    def delete_database(self, name: str, database: str, caller: Caller) -> Done:
        """Delete a database with everything in it."""
        wishes.find_database(self.store.find(name), database)
        caller.confirm(Question(say("deleting database {database} destroys everything in it", database=database)))
        return self.wish(name, "databases delete", caller, lambda w: wishes.without_database(w, database))

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
        done = self.wish(name, verb, caller, lambda want: wish(want, verifier, password is not None))
        try:
            if password is not None:
                self.host.forget_password(done.instance, user)
                return done
            self.host.keep_password(done.instance, user, secret)
        except Failed as failed:
            # The servers know the new one already: whoever asked must be told it, though the passfile could not be written
            done = replace(done, notes=(*done.notes, say("the passfile is not up to date: {reason}", reason=failed.message)))
        return replace(done, password=(user, secret)) if password is None else done

    def password_shown(self, done: Done) -> None:
        """Remember that a made password has been shown, so that it is never made again."""
        if done.password is not None:
            want = self.store.find_id(done.instance.id)
            self.store.update(wishes.mark_shown(want, done.password[0]))

    def delete_user(self, name: str, user: str, caller: Caller) -> Done:
        """Delete a user; what it owned goes to the database's owner."""
        want = wishes.without_user(self.store.find(name), user)
        caller.confirm(Question(say("deleting user {user} ends its sessions; what it owned goes to the owner of each database", user=user)))
        done = self.wish(name, "users delete", caller, lambda w: wishes.without_user(w, user))
        self.host.forget_password(want, user)
        return done

    def grant(self, name: str, user: str, databases: Sequence[str], caller: Caller, *, grant: bool = True) -> Done:
        """Give a user every right in databases, or take it."""
        verb = "users grant" if grant else "users revoke"
        return self.wish(name, verb, caller, lambda w: wishes.with_grants(w, user, databases, grant=grant))
