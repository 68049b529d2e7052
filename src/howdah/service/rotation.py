"""Certificates anew at will, and the authority's change for a successor: the turns, who would be cut off by each, and the passes that
bring a turn to every instance.

A turn is the home's, a certificate its instance's. A turn is made first, and each instance follows by a pass of its own: one that fails,
or is stopped, follows by its next pass. No file, process or SQL is touched here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from howdah.core.instance import HOPS, Hop, Instance
from howdah.core.observed import Observed
from howdah.core.rotation import Bundle
from howdah.core.wishes import Change
from howdah.errors import Conflict, Refusal
from howdah.phrase import say
from howdah.service.births import Births
from howdah.service.caller import Caller, Done, Question, waits


@dataclass(frozen=True)
class Turned:
    """Where the authority's change stands after a turn, and what became of each instance that followed it."""

    bundle: Bundle
    followed: tuple[Done, ...] = ()
    failed: tuple[tuple[str, Refusal], ...] = ()


@dataclass(frozen=True)
class Rotation(Births):
    """The verbs of certificates and of the authority."""

    def renew(self, name: str, hops: Iterable[Hop], caller: Caller) -> Done:
        """Issue certificates anew and serve them; sessions stay, and a client needs nothing new."""
        want = self.store.find(name)
        if want.state != "running":
            raise Conflict(
                "not_running", say("cannot renew certificates of {name}: it is stopped", name=name), say("howdah start {name}", name=name)
            )
        before = _newest(self.host.observe(want))
        unwanted = tuple(serial for hop, serial in before.items() if hop in hops and want.hop_port(hop) is not None)
        done = self.wish(name, "certificates renew", caller, lambda current: current.next(renewed=unwanted))
        after = _newest(self.host.observe(want)) if caller.wait else {}
        changes = tuple(Change(hop, before.get(hop), after[hop]) for hop in HOPS if hop in after and after[hop] != before.get(hop))
        return replace(done, changes=changes)

    def announce_authority(self) -> Turned:
        """Make the authority's successor and put it behind it into the file of clients; again says that it is so."""
        there = self.host.authority()
        if there.phase != "announced":
            there = self.host.change_authority("announce")
        return Turned(there)

    def switch_authority(self, caller: Caller) -> Turned:
        """Let the successor issue, and every instance serve certificates of it; clients must have the file by then."""
        there = self.host.authority()
        if there.phase == "announced":
            text = say("clients whose copy of {file} does not hold the successor will refuse every server of this home", file=there.file)
            caller.confirm(Question(text))
        if there.phase != "switched":
            there = self.host.change_authority("switch")
        return self._follow(there, caller)

    def finish_authority(self, caller: Caller) -> Turned:
        """Take the predecessor out of the file and destroy its key; refused while an instance serves a certificate of it."""
        there = self.host.authority()
        if there.phase == "switched":
            late = [want.name for want in self._running() if not self._follows(want)]
            if late:
                message = say("cannot finish: {names} serve certificates of the previous authority", names=", ".join(late))
                raise Conflict("authority_in_use", message, say("howdah repair --all has them serve new ones, or says why not"))
            caller.confirm(Question(say("the previous authority's key is destroyed, and nothing takes the change back then")))
        return Turned(self.host.change_authority("finish"))

    def recall_authority(self, caller: Caller) -> Turned:
        """Go one turn back: let the predecessor issue again, or give a successor up that was only announced."""
        return self._follow(self.host.change_authority("recall"), caller)

    def _running(self) -> list[Instance]:
        return [want for want in self.store.everything() if want.state == "running"]

    def _follow(self, bundle: Bundle, caller: Caller) -> Turned:
        followed, failed = [], []
        for want in self._running():
            try:
                followed.append(self._pass(want, caller))
            except Refusal as refusal:
                failed.append((want.name, refusal))
        return Turned(bundle, tuple(followed), tuple(failed))

    def _pass(self, want: Instance, caller: Caller) -> Done:
        with self.lease(want.id, caller.words, caller.patience, waits(caller)):
            want = self.store.find_id(want.id)
            operation = self.store.note(want, "certificates renew", caller.actor, {"request": caller.words})
            return Done(want, self.converge(want, operation, caller))

    def _follows(self, want: Instance) -> bool:
        """Tell whether each hop serves a certificate of who issues now, by what the port itself says; one that serves nothing may."""
        seen = self.host.observe(want)
        current = {pair.serial for pairs in seen.disk.pairs.values() for pair in pairs if pair.current}
        return all(not told.serial or told.serial in current for told in seen.wire.values())


def _newest(seen: Observed) -> dict[Hop, str]:
    newest = {hop: next((pair for pair in seen.disk.pairs.get(hop, ()) if pair.trusted), None) for hop in HOPS}
    return {hop: pair.serial for hop, pair in newest.items() if pair is not None}
