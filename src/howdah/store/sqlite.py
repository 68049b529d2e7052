"""The store in one SQLite file: plain SQL, because a read command must start at once and an object mapper costs 230 ms of imports.

Verifiers lie in the wishes, so the file is 0600 from its first byte. Nothing here decides anything: it refuses only what would make
two records contradict each other.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from howdah.core.instance import HOPS, Instance, from_record, shown, to_record
from howdah.core.operation import Line, Operation, Outcome
from howdah.core.remember import Trashed
from howdah.errors import Conflict, NotFound, Unavailable
from howdah.phrase import Phrase, say
from howdah.phrase import from_record as phrase_of
from howdah.phrase import to_record as phrase_record
from howdah.store.file import MEMORY, File, only_readable, prepare
from howdah.store.schema import MIGRATIONS

BUSY_SECONDS = 10
KEPT_WISHES = 20
KEPT_OPERATIONS = 5000  # of one instance: a loop that puts the same thing right for years shall not fill a disk
_AFTER_ALL = 2**62
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_STANDING = "SELECT w.record FROM instance i JOIN wish w ON w.instance_id = i.id AND w.generation = i.generation "
_OPERATION = "SELECT id, instance_id, generation, verb, actor, asked, outcome, started, finished, story, error FROM operation "


def store_path(home: Path) -> Path:
    """Return where the store of a home lies."""
    return home / "store.sqlite3"


def open_store(home: Path, *, make: bool = True) -> SqliteStore:
    """Open the home's store, made first where there is none; with `make` false a missing one is read as empty and stays missing.

    With `make` false one on a read-only file system is looked at all the same.
    """
    path = store_path(home)
    _refuse_loss(path)
    if not make and not path.exists():
        return SqliteStore(MEMORY)
    if not make and only_readable(path):
        return SqliteStore(str(path), looking=True)
    prepare(path)
    return SqliteStore(str(path))


def _refuse_loss(path: Path) -> None:
    """Refuse a store that is gone or empty while instances lie beside it: a new one would know nothing of them, and reuse their ports."""
    if path.exists() and path.stat().st_size > 0:
        return
    instances = path.parent / "instances"
    if instances.is_dir() and any(instances.iterdir()):
        reason = say("it is empty") if path.exists() else say("it is gone")
        hint = say("put a copy of it back; {instances} holds what it told of, and its servers are not touched", instances=instances)
        raise Unavailable("store_lost", say("cannot read the store {path}: {reason}", path=path, reason=reason), hint)


class SqliteStore:
    """A `Store` over one connection; used by the thread that opened it. `now` tells the time in seconds since the epoch."""

    def __init__(
        self,
        path: str,
        *,
        now: Callable[[], float] = time.time,
        migrations: Sequence[str] = MIGRATIONS,
        busy_seconds: float = BUSY_SECONDS,
        looking: bool = False,
    ) -> None:
        self._file = File(path, migrations, busy_seconds, looking=looking)
        self._now = now

    def __enter__(self) -> SqliteStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    # -- looking

    def find(self, name: str, project: str = "default") -> Instance:
        """Return the wanted record by its name, compared without case."""
        where = "WHERE i.project = ? AND i.name_key = ? AND i.trashed_at IS NULL"
        found = self._records(where, project, name.casefold())
        if found:
            return found[0]
        raise NotFound("no_such_instance", say("cannot find instance {name}", name=shown(name)), self._near(name, project))

    def find_id(self, instance_id: str) -> Instance:
        """Return the wanted record by its id, in the trash or not."""
        found = self._records("WHERE i.id = ?", instance_id)
        if not found:
            raise NotFound("no_such_instance", say("cannot find an instance with the id {id}", id=shown(instance_id)))
        return found[0]

    def instances(self, project: str = "default") -> tuple[Instance, ...]:
        """Return every instance of the project that is not in the trash, by name."""
        return self._records("WHERE i.project = ? AND i.trashed_at IS NULL ORDER BY i.name_key", project)

    def everything(self) -> tuple[Instance, ...]:
        """Return every instance of every project that is not in the trash."""
        return self._records("WHERE i.trashed_at IS NULL ORDER BY i.project, i.name_key")

    def trashed(self, project: str = "default") -> tuple[Trashed, ...]:
        """Return what is in the trash, latest first."""
        rows = self._file.run(
            "SELECT w.record, i.trashed_at FROM instance i JOIN wish w ON w.instance_id = i.id AND w.generation = i.generation "
            "WHERE i.project = ? AND i.trashed_at IS NOT NULL ORDER BY i.trashed_at DESC, i.id",
            project,
        )
        return tuple(Trashed(self._read(record), at) for record, at in rows)

    def new_id(self) -> str:
        """Return an id of 8 characters [a-z0-9] that no instance has or ever had."""
        while True:
            # 252 is the largest multiple of 36 in a byte: what lies above would favour some letters.
            letters = [_ALPHABET[byte % 36] for byte in os.urandom(24) if byte < 252][:8]
            new = "".join(letters)
            known = "SELECT 1 FROM instance WHERE id = ? UNION ALL SELECT 1 FROM operation WHERE instance_id = ?"
            if len(new) == 8 and not self._file.run(known, new, new):
                return new

    def ports(self) -> dict[int, str]:
        """Return every port that an instance has, stopped ones included, with the instance's name."""
        return {port: instance.name for instance in self.everything() for port in _ports(instance)}

    def moved(self) -> int:
        """Return a number that is another one after anybody else has written anything."""
        return int(self._file.run("PRAGMA data_version")[0][0])

    def outcomes(self) -> Mapping[str, int]:
        """Return how many operations there are, by their outcome."""
        return {outcome: int(count) for outcome, count in self._file.run("SELECT outcome, count(*) FROM operation GROUP BY outcome")}

    def converged_generation(self, instance_id: str) -> int:
        """Return the last generation that came true, 0 for none."""
        rows = self._file.run("SELECT converged FROM instance WHERE id = ?", instance_id)
        return int(rows[0][0]) if rows else 0

    # -- wishing

    def accept(self, want: Instance, verb: str, actor: str, asked: Mapping[str, Any]) -> Operation:
        """Write down a wish, exactly one generation on, and open its operation."""
        with self._file.writing():
            stored = self._generation(want.id)
            if want.generation != stored + 1:
                raise _changed_meanwhile(want)
            self._check_name(want)
            self._check_ports(want)
            if stored == 0:
                new = "INSERT INTO instance (id, project, name, name_key, generation, created_at) VALUES (?, ?, ?, ?, 0, ?)"
                self._file.run(new, want.id, want.project, want.name, want.name.casefold(), self._now())
            self._write_wish(want)
            return self._open(want, verb, actor, asked)

    def note(self, instance: Instance, verb: str, actor: str, asked: Mapping[str, Any]) -> Operation:
        """Open an operation that wishes nothing new."""
        with self._file.writing():
            return self._open(instance, verb, actor, asked)

    def update(self, want: Instance) -> None:
        """Correct the standing wish in place where that is not a wish."""
        with self._file.writing():
            if self._generation(want.id) != want.generation:
                raise _changed_meanwhile(want)
            change = "UPDATE wish SET record = ? WHERE instance_id = ? AND generation = ?"
            self._file.run(change, _written(want), want.id, want.generation)

    def withdraw(self, want: Instance) -> Instance | None:
        """Take back a refused wish: the newest earlier content that was not refused returns, or the record is forgotten."""
        with self._file.writing():
            if self._generation(want.id) != want.generation:
                raise _changed_meanwhile(want)
            self._file.run("UPDATE wish SET refused = 1 WHERE instance_id = ? AND generation = ?", want.id, want.generation)
            earlier = self._earlier(want)
            if earlier is None:
                self._forget(want.id)
                return None
            back = replace(earlier, generation=want.generation + 1)
            self._write_wish(back)
            return back

    def _earlier(self, want: Instance) -> Instance | None:
        # A wish that came back after one refusal and was refused itself must not alternate with its own older copy: skip equal content.
        rows = self._file.run("SELECT record, refused FROM wish WHERE instance_id = ? ORDER BY generation DESC", want.id)
        wishes = [(self._read(record), bool(refused)) for record, refused in rows]
        bad = [replace(wish, generation=0) for wish, refused in wishes if refused]
        return next((wish for wish, refused in wishes if not refused and replace(wish, generation=0) not in bad), None)

    def converged(self, instance: Instance) -> None:
        """Remember that this generation came true."""
        with self._file.writing(durable=False):  # whoever forgot it finds it true again
            mark = "UPDATE instance SET converged = max(converged, ?) WHERE id = ?"
            self._file.run(mark, instance.generation, instance.id)

    def trash(self, instance: Instance, at: float) -> None:
        """Put the instance into the trash; its name and its ports are free from now on."""
        with self._file.writing():
            self._file.run("UPDATE instance SET trashed_at = coalesce(trashed_at, ?) WHERE id = ?", at, instance.id)

    def untrash(self, instance: Instance) -> None:
        """Take the instance back from the trash."""
        with self._file.writing():
            self._check_name(instance)
            self._file.run("UPDATE instance SET trashed_at = NULL WHERE id = ?", instance.id)

    def forget(self, instance_id: str) -> None:
        """Drop an instance and its wishes; its operations stay."""
        with self._file.writing():
            self._forget(instance_id)

    # -- telling

    def begin(self, operation: Operation) -> Operation:
        """Mark the operation `running`."""
        return self._save(replace(operation, outcome="running", started=self._now()), durable=False)

    def tell(self, operation: Operation, line: Line) -> Operation:
        """Add a line to the operation's story."""
        return self._save(replace(operation, story=(*operation.story, line)), durable=False)  # `finish` brings all of it to disk

    def finish(self, operation: Operation, outcome: Outcome, error: Mapping[str, Any] | None = None) -> Operation:
        """Close the operation."""
        return self._save(replace(operation, outcome=outcome, finished=self._now(), error=dict(error or {})))

    def adopt(self, instance: Instance, by: Operation | None = None) -> None:
        """Close as done what earlier operations left open when their process was killed."""
        successor = f"operation {by.id}" if by else "a later pass"
        error = {"code": "adopted", "message": f"its process ended early; {successor} finished the work", "hint": ""}
        # What was killed while it took a refused wish back has not come true: the successor only cleared up.
        its_wish = "w.instance_id = operation.instance_id AND w.generation = operation.generation"
        refused = f"EXISTS (SELECT 1 FROM wish w WHERE {its_wish} AND w.refused)"
        with self._file.writing(durable=False):
            self._file.run(
                f"UPDATE operation SET outcome = CASE WHEN {refused} THEN 'withdrawn' ELSE 'done' END, finished = ?, "
                "error = CASE outcome WHEN 'waiting' THEN error ELSE ? END "
                "WHERE instance_id = ? AND outcome IN ('waiting', 'running') AND generation <= ? AND id < ?",
                *(self._now(), json.dumps(error), instance.id, instance.generation, by.id if by else _AFTER_ALL),
            )

    def operations(self, instance_id: str, limit: int = 20) -> tuple[Operation, ...]:
        """Return the newest operations, newest first; also those of an instance that is gone."""
        rows = self._file.run(_OPERATION + "WHERE instance_id = ? ORDER BY id DESC LIMIT ?", instance_id, limit)
        return tuple(map(_operation, rows))

    def operations_named(self, name: str, project: str = "default", limit: int = 20) -> tuple[Operation, ...]:
        """Return the newest operations of whatever has, or had, this name, newest first."""
        where = "WHERE project = ? AND name_key = ? ORDER BY id DESC LIMIT ?"
        return tuple(map(_operation, self._file.run(_OPERATION + where, project, name.casefold(), limit)))

    def last(self, instance_id: str) -> Operation | None:
        """Return the newest operation."""
        return next(iter(self.operations(instance_id, 1)), None)

    # -- parts of a transaction

    def _generation(self, instance_id: str) -> int:
        rows = self._file.run("SELECT generation FROM instance WHERE id = ?", instance_id)
        return int(rows[0][0]) if rows else 0

    def _check_name(self, want: Instance) -> None:
        other = "SELECT name FROM instance WHERE project = ? AND name_key = ? AND id <> ? AND trashed_at IS NULL"
        rows = self._file.run(other, want.project, want.name.casefold(), want.id)
        if rows:
            hint = say("choose another name, or delete the instance {name} first", name=rows[0][0])
            raise Conflict("name_taken", say("cannot name an instance {name}: the name is taken", name=want.name), hint)

    def _check_ports(self, want: Instance) -> None:
        taken = {port: other.name for other in self.everything() if other.id != want.id for port in _ports(other)}
        for port in _ports(want):
            if port in taken:
                message = say("cannot use port {port}: instance {name} has it", port=port, name=taken[port])
                raise Conflict("port_taken", message, say("choose another port, or leave it out and a free one is found"))

    def _write_wish(self, want: Instance) -> None:
        wish = "INSERT INTO wish (instance_id, generation, record) VALUES (?, ?, ?)"
        self._file.run(wish, want.id, want.generation, _written(want))
        stand = "UPDATE instance SET name = ?, name_key = ?, generation = ? WHERE id = ?"
        self._file.run(stand, want.name, want.name.casefold(), want.generation, want.id)
        old = "DELETE FROM wish WHERE instance_id = ? AND generation <= ?"
        self._file.run(old, want.id, want.generation - KEPT_WISHES)

    def _open(self, instance: Instance, verb: str, actor: str, asked: Mapping[str, Any]) -> Operation:
        started = self._now()
        key = (instance.id, instance.project, instance.name, instance.name.casefold(), instance.generation)
        [(number,)] = self._file.run(
            "INSERT INTO operation (instance_id, project, name, name_key, generation, verb, actor, asked, outcome, started) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting', ?) RETURNING id",
            *(*key, verb, actor, json.dumps(dict(asked)), started),
        )
        oldest = "SELECT id FROM operation WHERE instance_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?"
        over = f"DELETE FROM operation WHERE instance_id = ? AND id <= ({oldest}) AND outcome NOT IN ('waiting', 'running')"
        self._file.run(over, instance.id, instance.id, KEPT_OPERATIONS)
        return Operation(number, instance.id, instance.generation, verb, actor, dict(asked), "waiting", started)

    def _save(self, operation: Operation, *, durable: bool = True) -> Operation:
        story = json.dumps([_line_record(line) for line in operation.story])
        with self._file.writing(durable=durable):
            self._file.run(
                "UPDATE operation SET outcome = ?, started = ?, finished = ?, story = ?, error = ? WHERE id = ?",
                *(operation.outcome, operation.started, operation.finished, story, json.dumps(dict(operation.error)), operation.id),
            )
        return operation

    def _forget(self, instance_id: str) -> None:
        self._file.run("DELETE FROM wish WHERE instance_id = ?", instance_id)
        self._file.run("DELETE FROM instance WHERE id = ?", instance_id)

    # -- reading

    def _records(self, where: str, *values: object) -> tuple[Instance, ...]:
        return tuple(self._read(row[0]) for row in self._file.run(_STANDING + where, *values))

    def _read(self, record: str) -> Instance:
        try:
            return from_record(json.loads(record))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._file.broken(f"a record cannot be read ({type(error).__name__})") from error

    def _near(self, name: str, project: str) -> Phrase:
        import difflib  # for this hint only

        names = dict(self._file.run("SELECT name_key, name FROM instance WHERE project = ? AND trashed_at IS NULL", project))
        near = difflib.get_close_matches(name.casefold(), names, n=3)
        if near:
            return say("did you mean {names}?", names=", ".join(names[key] for key in near))
        return say("see what there is with: howdah list") if names else say("make one with: howdah create NAME")


def _ports(instance: Instance) -> tuple[int, ...]:
    return tuple(port for hop in HOPS if (port := instance.hop_port(hop)) is not None)


def _written(want: Instance) -> str:
    return json.dumps(to_record(want), sort_keys=True)


def _line_record(line: Line) -> dict[str, Any]:
    told = {"step": line.step, "what": phrase_record(line.what), "why": phrase_record(line.why), "milliseconds": line.milliseconds}
    return {**told, "stall": line.stall, "ended": line.ended}


def _line(record: Mapping[str, Any]) -> Line:
    cost = (record.get("stall"), record.get("ended", 0))  # not told by older ones
    return Line(record["step"], phrase_of(record["what"]), phrase_of(record["why"]), record["milliseconds"], *cost)


def _operation(row: Sequence[Any]) -> Operation:
    number, instance_id, generation, verb, actor, asked, outcome, started, finished, story, error = row
    lines = tuple(_line(record) for record in json.loads(story))
    asked, error = json.loads(asked), json.loads(error)
    return Operation(number, instance_id, generation, verb, actor, asked, outcome, started, finished, lines, error)


def _changed_meanwhile(want: Instance) -> Conflict:
    message = say("cannot change instance {name}: it was changed by somebody else meanwhile", name=want.name)
    return Conflict("changed_meanwhile", message, say("look at it again with: howdah show {name}", name=want.name))
