"""The loop: observe, take the first unsatisfied concern's steps, apply them, observe again, until nothing is left to do.

It knows nothing of any engine, server or file. What a server refuses is withdrawn: the wish goes back to what it was, and the story keeps
the server's words.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from howdah.core.host import Host, Later, Pulse, Refused
from howdah.core.instance import Hold, Instance
from howdah.core.observed import PARTS, Part
from howdah.core.operation import Line, Operation, Outcome
from howdah.core.plan import Engine, next_steps
from howdah.core.remember import Store, refusal_record
from howdah.core.steps import Step
from howdah.errors import Conflict, Failed, Invalid, Lacking, Refusal, Unavailable, Unsupported, machine_failed
from howdah.phrase import Phrase, say

# a healthy create needs about a dozen passes; a concern that its own steps do not satisfy within three tries never will
_PASSES = 60
_TRIES = 3

# what a server rejected, and what cannot be beside what is there: trying again would never make it hold
_WISH_AT_FAULT = (Refused, Conflict, Invalid, Unsupported)


OnStep = Callable[[Step], None]


@contextlib.contextmanager
def _machine(doing: Phrase) -> Iterator[None]:
    """Say what was being done when the machine lacked room, rights, descriptors or memory for it."""
    try:
        yield
    except OSError as error:
        failed = machine_failed(error, doing)
        if failed is None:
            raise
        raise failed from error


class _Account:
    """An operation while it is under way: what was told of it so far is kept, however it ends; and what it costs clients is felt."""

    def __init__(self, store: Store, operation: Operation, on_step: OnStep) -> None:
        self._store = store
        self._on_step = on_step
        self._feeling = contextlib.ExitStack()
        self._pulse: Pulse | None = None
        self.operation = store.begin(operation)

    @contextlib.contextmanager
    def felt(self) -> Iterator[None]:
        """Feel what is done within this, from the first step on."""
        with contextlib.ExitStack() as self._feeling:
            try:
                yield
            finally:
                self._pulse = None

    def apply(self, step: Step, host: Host) -> Line:
        """Apply a step, and return what is to be told of it."""
        self._on_step(step)
        if self._pulse is None and step.want.settled and step.want.state == "running":
            self._pulse = self._feeling.enter_context(host.feel(step.want))
        start = time.monotonic()
        with _machine(step.what):
            ended = step.apply(host) or 0
        took = round((time.monotonic() - start) * 1000, 1)
        stall = self._pulse.longest() if self._pulse is not None else None
        return Line(type(step).__name__, step.what, step.why, took, stall, ended)

    def tell(self, line: Line) -> None:
        """Write down what was done."""
        self.operation = self._store.tell(self.operation, line)

    def close(self) -> Operation:
        """End the operation: it is done."""
        return self._store.finish(self.operation, "done")

    def give_up(self, outcome: Outcome, refusal: Refusal) -> None:
        """End the operation without success. Where the store cannot be written, it stays open for the next pass, which adopts it: what
        stopped it is what a person has to hear.
        """
        with contextlib.suppress(Unavailable):
            self._store.finish(self.operation, outcome, refusal_record(refusal))


@dataclass(frozen=True)
class Reconciler:
    """Makes wishes come true on one host. The caller holds the instance's lease."""

    store: Store
    host: Host
    engines: Mapping[str, Engine]

    def converge(self, operation: Operation, on_step: OnStep) -> Operation:
        """Bring the instance to what is wanted; raise the refusal or failure that stopped it, after writing it into the operation."""
        want = self.store.find_id(operation.instance_id)
        account = _Account(self.store, operation, on_step)
        try:
            self._pass_until_done(want, account)
        except _WISH_AT_FAULT as refused:
            self._take_back(want, account, refused)
            raise
        except Refusal as refusal:
            account.give_up("failed", refusal)
            raise
        self._settle(want, account.operation)
        return account.close()

    def stand_down(self, operation: Operation, on_step: OnStep) -> Operation:
        """End an instance's processes, and leave what is wanted as it is: the next `converge` starts them again."""
        account = _Account(self.store, operation, on_step)
        try:
            self._pass_until_done(replace(self.store.find_id(operation.instance_id), state="stopped"), account)
        except Refusal as refusal:
            account.give_up("failed", refusal)
            raise
        return account.close()

    def _pass_until_done(self, want: Instance, account: _Account) -> None:
        with self.host.at_work(), account.felt():
            self._converge(want, account)

    def _converge(self, want: Instance, account: _Account) -> None:
        concerns = self.engines[want.engine].concerns[want.state]
        tries: Counter[str] = Counter()
        given_up, left = dict[str, Refusal](), set[str]()
        seen = self.host.observe(want)
        for _ in range(_PASSES):
            with _machine(say("look at {name}", name=want.name)):
                steps = next_steps(concerns, want, seen, given_up.keys() | left)
            if not steps:
                return self._done_but(want, account.operation, tuple(given_up.values()))
            for step in steps:
                tries[step.key] += 1
                if tries[step.key] > _TRIES:
                    raise Failed("does_not_converge", say("cannot put it right in {tries} tries: {why}", tries=_TRIES, why=step.why))
                try:
                    line = account.apply(step, self.host)
                except Later:
                    left.add(step.key)
                except Refusal as refusal:
                    if not self._only_a_part(want, step, refusal):
                        raise
                    given_up[step.key] = refusal
                else:
                    account.tell(line)  # a store that cannot be written is no part of what is wanted: it stops the pass
            touched = frozenset[Part]().union(*(step.touches for step in steps))
            seen = self.host.observe(want).keeping(seen, PARTS - touched)
        raise Failed("does_not_converge", say("cannot finish in {passes} passes", passes=_PASSES))

    def _only_a_part(self, want: Instance, step: Step, refusal: Refusal) -> bool:
        """Tell whether everything else can be done all the same: neither the machine nor a wish that is new is at fault."""
        if not step.apart or isinstance(refusal, Lacking):
            return False
        return not isinstance(refusal, _WISH_AT_FAULT) or self._held(want)

    def _held(self, want: Instance) -> bool:
        """Tell whether this very wish has come true before, so that what fails now is not its fault."""
        return want.generation <= self.store.converged_generation(want.id)

    def _done_but(self, want: Instance, operation: Operation, given_up: Sequence[Refusal]) -> None:
        """End a pass in which all came true but some steps that concern one part each; the first of them is told, with its own cure."""
        if given_up:
            first = given_up[0]
            self._settle(want, operation)
            told = say("all is done but this ({count}): {message}", count=len(given_up), message=first.message)
            again = say("its owner has to put it right; `howdah repair {name}` tries again", name=want.name)
            raise Failed("database_left_out", told, first.hint or again)

    def _settle(self, want: Instance, operation: Operation) -> None:
        settled = replace(want, settled=True, restart_of="", end_plaintext=False, hold=Hold())
        if want.state == "running" and settled != want:
            self.store.update(settled)
        self.store.converged(want)
        self.store.adopt(want, operation)

    def _take_back(self, want: Instance, account: _Account, refused: Refusal) -> None:
        """Withdraw a wish that never held; one that held before stays wanted, for then the fault is not in the wish."""
        if self._held(want):
            account.give_up("failed", refused)
            return
        before = self.store.withdraw(want)
        outcome = say("the change was withdrawn: what was there before serves on") if before else say("nothing was left behind")
        refused.hint = say("{outcome}; {cure}", outcome=outcome, cure=refused.hint) if refused.hint is not None else outcome
        try:
            self._pass_until_done(before or replace(want, state="deleted"), account)
            if before is not None:
                self._settle(before, account.operation)
        finally:
            account.give_up("withdrawn", refused)
