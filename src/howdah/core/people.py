"""Who may enter the console, as what, and what is kept of what they did: nouns and rules. No password is here, only what was made of one.

These are people who run instances. The users of a database are another matter: they are a part of what an instance is wanted to be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from howdah.errors import Invalid, Unsupported
from howdah.phrase import Phrase, say
from howdah.secret import Secret

Role = Literal["admin", "member", "reader"]
ROLES: tuple[Role, ...] = ("admin", "member", "reader")
MEANS: Mapping[Role, Phrase] = {
    "admin": say("does everything, and says who else may enter"),
    "member": say("makes, changes and deletes instances"),
    "reader": say("looks, and changes nothing"),
}
FIRST = "admin"
SESSION_SECONDS = 12 * 3600.0
IDLE_SECONDS = 3600.0
# Failures within a quarter of an hour. Of a name from one address few; from everywhere many, or anybody could lock anybody out.
TRIES_SECONDS, PAIR_TRIES, ADDRESS_TRIES, NAME_TRIES = 900.0, 5, 20, 100
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 256
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}")


@dataclass(frozen=True)
class Account:
    """Somebody who may enter; `secret` is what argon2 made of the password."""

    name: str
    role: Role
    secret: Secret
    language: str = ""  # empty: what the browser asks for
    theme: str = ""  # empty: what the system shows
    since: float = 0.0


@dataclass(frozen=True)
class Entry:
    """A session of somebody who signed in, or a token that a program carries; known by a digest of what is carried."""

    digest: str
    account: str
    kind: Literal["session", "token"]
    label: str
    since: float
    until: float
    seen: float
    address: str


@dataclass(frozen=True)
class Deed:
    """One line of the audit log: who, from where, what, about which thing, and what came of it."""

    at: float
    account: str
    address: str
    verb: str
    about: str
    outcome: str  # "done", or the code of what stopped it
    words: str = ""


def may(role: Role, need: Role) -> bool:
    """Tell whether a role is enough for what needs another.

    >>> may("member", "reader"), may("reader", "member")
    (True, False)
    """
    return ROLES.index(role) <= ROLES.index(need)


def check_account(name: str) -> str:
    """Return the name of an account, or refuse it."""
    if not _NAME.fullmatch(name):
        hint = say("use 1 to 63 small letters, digits, dots, underscores, hyphens or @, beginning with a letter or digit")
        raise Invalid("invalid_account", say("cannot name an account {name}", name=repr(name[:80])), hint)
    return name


def check_account_role(role: str) -> Role:
    """Return a role, or refuse it."""
    found = next((each for each in ROLES if each == role), None)
    if found is None:
        raise Invalid("invalid_role", say("cannot give the role {role}", role=repr(role[:40])), say("choose admin, member or reader"))
    return found


def check_account_password(text: str) -> Secret:
    """Return a password for the console, or refuse one that is too short or too long."""
    if not SHORTEST_PASSWORD <= len(text) <= LONGEST_PASSWORD or not text.isprintable():
        message = say(
            "cannot use this password: expected {least} to {most} printable characters", least=SHORTEST_PASSWORD, most=LONGEST_PASSWORD
        )
        raise Invalid("invalid_password", message)
    return Secret(text)


def refused_for(role: Role, need: Role) -> Unsupported:
    """Return the refusal for what a role may not do."""
    return Unsupported("not_allowed", say("cannot do that as {role}: it needs {need}", role=role, need=need), say("ask an admin"))


class Register(Protocol):
    """What is remembered of people. Each method is one transaction."""

    def close(self) -> None: ...
    def accounts(self) -> tuple[Account, ...]: ...
    def account(self, name: str) -> Account | None: ...
    def put(self, account: Account) -> None: ...
    def put_first(self, account: Account) -> bool: ...
    def drop(self, name: str) -> None: ...
    def open(self, entry: Entry) -> None: ...
    def entry(self, digest: str, now: float) -> Entry | None: ...
    def entries(self, account: str, now: float) -> tuple[Entry, ...]: ...
    def touch(self, digest: str, now: float) -> None: ...
    def end(self, account: str, digest: str | None = None) -> None: ...
    def attempt(self, limits: Mapping[str, int], since: float, now: float) -> bool: ...
    def withdraw(self, keys: Iterable[str], now: float) -> None: ...
    def pardon(self, key: str) -> None: ...
    def write(self, deed: Deed) -> None: ...
    def deeds(self, limit: int, *, about: str = "", before: float = 0.0) -> tuple[Deed, ...]: ...


class Passwords(Protocol):
    """How a password is made fit to be kept."""

    def make(self) -> Secret: ...
    def digest(self, password: Secret) -> Secret: ...
    def right(self, kept: Secret | None, password: Secret) -> bool: ...
    def token(self) -> Secret: ...


def entry_record(entry: Entry) -> dict[str, Any]:
    """Return an entry as people may see it: nothing by which it could be used."""
    return {"kind": entry.kind, "label": entry.label, "since": entry.since, "until": entry.until, "address": entry.address}
