"""What is remembered of people, in a SQLite file of its own: a sign-in writes, and shall not stand in the way of a wish.

It is 0600 from its first byte: digests of passwords lie in it. The audit log is only ever appended to; the oldest lines go when there are
very many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from howdah.core.people import Account, Deed, Entry, Role
from howdah.secret import Secret
from howdah.store.file import MEMORY, File, prepare

BUSY_SECONDS = 10
KEPT_DEEDS = 100_000
_FIRST = """
CREATE TABLE account (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    secret TEXT NOT NULL,
    language TEXT NOT NULL DEFAULT '',
    theme TEXT NOT NULL DEFAULT '',
    since REAL NOT NULL
);
CREATE TABLE entry (
    digest TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    since REAL NOT NULL,
    until REAL NOT NULL,
    seen REAL NOT NULL,
    address TEXT NOT NULL
);
CREATE INDEX entry_account ON entry (account);
CREATE TABLE failure (
    key TEXT NOT NULL,
    at REAL NOT NULL
);
CREATE INDEX failure_key ON failure (key, at);
CREATE TABLE deed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    account TEXT NOT NULL,
    address TEXT NOT NULL,
    verb TEXT NOT NULL,
    about TEXT NOT NULL,
    outcome TEXT NOT NULL,
    words TEXT NOT NULL
);
CREATE INDEX deed_about ON deed (about, id)
"""
MIGRATIONS = (_FIRST,)
_ENTRY = "SELECT digest, account, kind, label, since, until, seen, address FROM entry "
_DEED = "SELECT at, account, address, verb, about, outcome, words FROM deed "


def people_path(home: Path) -> Path:
    """Return where the file lies."""
    return home / "people.sqlite3"


def open_people(home: Path, *, make: bool = True) -> SqlitePeople:
    """Open the home's file of people, made first where there is none; with `make` false a missing one is read as empty."""
    path = people_path(home)
    if not make and not path.exists():
        return SqlitePeople(MEMORY)
    prepare(path)
    return SqlitePeople(str(path))


class SqlitePeople:
    """A `Register` over one connection; used by the thread that opened it."""

    def __init__(self, path: str) -> None:
        self._file = File(path, MIGRATIONS, BUSY_SECONDS)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    # -- accounts

    def accounts(self) -> tuple[Account, ...]:
        """Return everybody who may enter, by name."""
        return tuple(map(_account, self._file.run("SELECT name, role, secret, language, theme, since FROM account ORDER BY name")))

    def account(self, name: str) -> Account | None:
        """Return the account of that name."""
        rows = self._file.run("SELECT name, role, secret, language, theme, since FROM account WHERE name = ?", name)
        return _account(rows[0]) if rows else None

    def put(self, account: Account) -> None:
        """Write an account down, in place of the one of that name."""
        with self._file.writing():
            self._file.run(
                "INSERT OR REPLACE INTO account (name, role, secret, language, theme, since) VALUES (?, ?, ?, ?, ?, ?)",
                *(account.name, account.role, account.secret.reveal(), account.language, account.theme, account.since),
            )

    def put_first(self, account: Account) -> bool:
        """Write an account down if there is none at all; tell whether it was."""
        with self._file.writing():
            return bool(
                self._file.run(
                    "INSERT INTO account (name, role, secret, since) SELECT ?, ?, ?, ? "
                    "WHERE NOT EXISTS (SELECT 1 FROM account) RETURNING 1",
                    *(account.name, account.role, account.secret.reveal(), account.since),
                )
            )

    def drop(self, name: str) -> None:
        """Drop an account with everything by which it could enter."""
        with self._file.writing():
            self._file.run("DELETE FROM entry WHERE account = ?", name)
            self._file.run("DELETE FROM account WHERE name = ?", name)

    # -- sessions and tokens

    def open(self, entry: Entry) -> None:
        """Write down a session or a token; what is over goes."""
        with self._file.writing(durable=entry.kind == "token"):
            self._file.run("DELETE FROM entry WHERE until < ?", entry.since)
            self._file.run(
                "INSERT INTO entry (digest, account, kind, label, since, until, seen, address) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                *(entry.digest, entry.account, entry.kind, entry.label, entry.since, entry.until, entry.seen, entry.address),
            )

    def entry(self, digest: str, now: float) -> Entry | None:
        """Return what is known by a digest, if it is not over."""
        rows = self._file.run(_ENTRY + "WHERE digest = ? AND until >= ?", digest, now)
        return Entry(*rows[0]) if rows else None

    def entries(self, account: str, now: float) -> tuple[Entry, ...]:
        """Return the sessions and tokens of somebody, newest first."""
        rows = self._file.run(_ENTRY + "WHERE account = ? AND until >= ? ORDER BY since DESC", account, now)
        return tuple(Entry(*row) for row in rows)

    def touch(self, digest: str, now: float) -> None:
        """Note that it was used."""
        with self._file.writing(durable=False):
            self._file.run("UPDATE entry SET seen = ? WHERE digest = ?", now, digest)

    def end(self, account: str, digest: str | None = None) -> None:
        """End one session or token of somebody, or all sessions."""
        with self._file.writing():
            if digest is None:
                self._file.run("DELETE FROM entry WHERE account = ? AND kind = 'session'", account)
            else:
                self._file.run("DELETE FROM entry WHERE account = ? AND digest = ?", account, digest)

    # -- who tries passwords

    def attempt(self, limits: Mapping[str, int], since: float, now: float) -> bool:
        """Note a failure under each key, unless one of them has its most since a moment; tell whether it was noted.

        It is noted before the password is looked at, so that guesses made at the same time are counted, too.
        """
        with self._file.writing(durable=False):
            self._file.run("DELETE FROM failure WHERE at < ?", now - 86_400)
            if any(self._failures(key, since) >= most for key, most in limits.items()):
                return False
            for key in limits:
                self._file.run("INSERT INTO failure (key, at) VALUES (?, ?)", key, now)
            return True

    def _failures(self, key: str, since: float) -> int:
        return int(self._file.run("SELECT count(*) FROM failure WHERE key = ? AND at >= ?", key, since)[0][0])

    def withdraw(self, keys: Iterable[str], now: float) -> None:
        """Take back one failure of that moment under each key: it was none."""
        one = "DELETE FROM failure WHERE rowid IN (SELECT rowid FROM failure WHERE key = ? AND at = ? LIMIT 1)"
        with self._file.writing(durable=False):
            for key in keys:
                self._file.run(one, key, now)

    def pardon(self, key: str) -> None:
        """Forget the failures under a key."""
        with self._file.writing(durable=False):
            self._file.run("DELETE FROM failure WHERE key = ?", key)

    # -- the audit log

    def write(self, deed: Deed) -> None:
        """Append a line."""
        with self._file.writing():
            new = "INSERT INTO deed (at, account, address, verb, about, outcome, words) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id"
            [(number,)] = self._file.run(new, deed.at, deed.account, deed.address, deed.verb, deed.about, deed.outcome, deed.words)
            self._file.run("DELETE FROM deed WHERE id <= ?", number - KEPT_DEEDS)

    def deeds(self, limit: int, *, about: str = "", before: float = 0.0) -> tuple[Deed, ...]:
        """Return the newest lines, newest first."""
        where = "WHERE (? = '' OR about = ?) AND (? = 0.0 OR at < ?) ORDER BY id DESC LIMIT ?"
        return tuple(Deed(*row) for row in self._file.run(_DEED + where, about, about, before, before, limit))


def _account(row: Sequence[Any]) -> Account:
    name, role, secret, language, theme, since = row
    return Account(name, cast(Role, role), Secret(secret), language, theme, since)
