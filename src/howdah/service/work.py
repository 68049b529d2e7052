"""How a wish comes true: accepted in one transaction, made so under the instance's lease, or left to a detached pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from howdah.core.instance import Instance
from howdah.core.machine import Machine
from howdah.core.observed import Session, named
from howdah.core.operation import Operation, headline
from howdah.core.plan import next_steps
from howdah.core.steps import Step
from howdah.core.wishes import Change
from howdah.errors import Refusal
from howdah.phrase import Phrase, say
from howdah.reconciler import Reconciler
from howdah.service.caller import Caller, Done, Lease, Question, waits
from howdah.service.reading import Reading


@dataclass(frozen=True)
class Work(Reading):
    """One store, one machine, and the loop between them."""

    host: Machine
    reconciler: Reconciler
    lease: Lease
    trash_seconds: float = 600.0

    def wish(
        self,
        name: str,
        verb: str,
        caller: Caller,
        change: Callable[[Instance], Instance],
        finish: Callable[[Instance], None] | None = None,
    ) -> Done:
        """Accept a wish under the lease and make it so; where nothing changes, still see that it is so."""
        want = self.store.find(name)
        with self.lease(want.id, caller.words, caller.patience, waits(caller)):
            current = self.store.find_id(want.id)
            wished = change(current)
            if wished is current:
                return self._as_it_is(current, verb, caller)
            wished = replace(wished, hold=caller.hold)
            operation = self.store.accept(wished, verb, caller.actor, {"request": caller.words})
            if not caller.wait:
                self.host.carry_on(wished)
                return Done(wished, operation)
            finished = self.converge(wished, operation, caller)
            if finish is not None:
                finish(wished)
        return Done(self.store.find_id(wished.id), finished)

    def _as_it_is(self, want: Instance, verb: str, caller: Caller) -> Done:
        """See that what is wanted already is also so: a server may have died since, or an earlier pass have failed."""
        if caller.wait and not self._holds(want):
            operation = self.store.note(want, verb, caller.actor, {"request": caller.words})
            return Done(want, self.converge(want, operation, caller))
        return Done(want, notes=(say("nothing to change: it is so already"),))

    def _holds(self, want: Instance) -> bool:
        concerns = self.reconciler.engines[want.engine].concerns[want.state]
        return self.store.converged_generation(want.id) == want.generation and not next_steps(concerns, want, self.host.observe(want))

    def attend(self, instance_id: str, caller: Caller) -> Done:
        """Make one pass for whoever keeps the loop running: go on with what was asked for, else put right what differs.

        Where nothing differs nothing is written down. Conflict `busy` while somebody else is at work.
        """
        with self.lease(instance_id, caller.words, caller.patience, waits(caller)):
            want = self.store.find_id(instance_id)
            operation = self._unfinished(want)
            if operation is None and self._holds_quietly(want):
                return Done(want)
            finished = self.converge(want, operation or self._another_try(want, caller), caller)
            if want.state == "deleted":
                self.store.trash(want, time.time())
        return Done(self.store.find_id(instance_id), finished)

    def _unfinished(self, want: Instance) -> Operation | None:
        """Return the operation that asked for what is wanted now, where it was left to a later pass, or its process was killed."""
        last = self.store.last(want.id)
        if last is None or last.generation != want.generation or last.verb == "down":
            return None
        return last if last.outcome in ("waiting", "running") else None

    def _holds_quietly(self, want: Instance) -> bool:
        try:
            return self._holds(want)
        except Refusal:
            return False  # the pass that follows tells it, in its operation

    def _another_try(self, want: Instance, caller: Caller) -> Operation:
        """Return the operation of a pass that nobody asked for: one that is tried again and again is told once, by its latest try."""
        last = self.store.last(want.id)
        again = last is not None and (last.verb, last.actor, last.outcome) == ("repair", caller.actor, "failed")
        if last is not None and again and last.generation == want.generation:
            return replace(last, story=(), error={})
        return self.store.note(want, "repair", caller.actor, {"request": caller.words})

    def carry_out(self, want: Instance, operation: Operation, caller: Caller) -> Done:
        """Make an accepted wish so, or leave it to a detached pass."""
        if not caller.wait:
            self.host.carry_on(want)
            return Done(want, operation)
        with self.lease(want.id, caller.words, caller.patience, waits(caller)):
            finished = self.converge(want, operation, caller)
        return Done(self.store.find_id(want.id), finished)

    def converge(self, want: Instance, operation: Operation, caller: Caller) -> Operation:
        def on_step(step: Step) -> None:
            caller.tell(headline(step.what, step.why))

        try:
            return self.reconciler.converge(operation, on_step)
        except KeyboardInterrupt:
            self.host.carry_on(want)
            raise

    def sessions(self, want: Instance) -> tuple[Session, ...]:
        seen = self.host.observe(want)
        return (*seen.server.sessions, *(session for each in seen.pooler for session in each.clients))

    def ask_to_end(self, sessions: Sequence[Session], text: Phrase, caller: Caller) -> None:
        if sessions:
            caller.confirm(Question(text, tuple(sessions)))

    def tell_who_stays(self, want: Instance, changes: Sequence[Change], caller: Caller) -> None:
        """Say beforehand whom a takeover leaves with the older pooler: nobody is ended, and the change reaches them when they reconnect."""
        names = [change.name for change in changes if change.how == "takeover"]
        if not names or want.state != "running":
            return
        stay = tuple(session for each in self.host.observe(want).pooler for session in each.clients)
        if stay:
            text = say(
                "{count} sessions keep the old {names} until they reconnect: {sessions}",
                count=len(stay),
                names=", ".join(names),
                sessions=named(stay),
            )
            caller.tell(text)

    def who_stayed(self, done: Done, changes: Sequence[Change]) -> tuple[Phrase, ...]:
        """Say afterwards whom a takeover has left with an older pooler."""
        if done.operation is None or done.operation.outcome != "done" or not any(change.how == "takeover" for change in changes):
            return ()
        stayed = tuple(session for each in self.host.observe(done.instance).pooler[:-1] for session in each.clients)
        if not stayed:
            return ()
        text = say(
            "{count} sessions stay with an older pooler, as it was, until they reconnect: {sessions}",
            count=len(stayed),
            sessions=named(stayed),
        )
        return (text,)

    def ask_about_restart(self, want: Instance, caller: Caller, text: Phrase) -> None:
        """Ask where a restart would end sessions: direct ones, and pooled ones that keep their server connection (session mode)."""
        seen = self.host.observe(want)
        pooled = (session for each in seen.pooler if each.config.get("pool_mode") == "session" for session in each.clients)
        self.ask_to_end((*seen.server.sessions, *pooled), text, caller)
