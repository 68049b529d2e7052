"""The verbs about people: who may enter the console, signing in and out, and the log of what they did. No instance is touched here."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from howdah.core.people import (
    ADDRESS_TRIES,
    FIRST,
    IDLE_SECONDS,
    NAME_TRIES,
    PAIR_TRIES,
    SESSION_SECONDS,
    TRIES_SECONDS,
    Account,
    Deed,
    Entry,
    Passwords,
    Register,
    Role,
    check_account,
    check_account_password,
    check_account_role,
)
from howdah.errors import Conflict, Invalid, NotFound, Unavailable
from howdah.phrase import say
from howdah.secret import Secret

_TOUCH_SECONDS = 60.0
_TRIES_MINUTES = round(TRIES_SECONDS / 60)
_TOKEN_SECONDS = 365 * 86_400.0


@dataclass(frozen=True)
class Visitor:
    """Who has entered, by which session or token."""

    account: Account
    entry: Entry
    carried: Secret


@dataclass(frozen=True)
class People:
    """Who may enter, and what is kept of it."""

    register: Register
    passwords: Passwords
    now: Callable[[], float] = time.time

    # ---------------------------------------------------------------------------------------- accounts

    def begin(self, password: Secret | None) -> Secret | None:
        """Make the first account, `admin`, where there is none; return its password where one had to be made."""
        if self.register.accounts():
            return None
        made = None if password is not None else self.passwords.make()
        chosen = check_account_password(password.reveal()) if password is not None else made
        assert chosen is not None
        first = self.register.put_first(Account(FIRST, "admin", self.passwords.digest(chosen), since=self.now()))
        return made if first else None

    def all(self) -> tuple[Account, ...]:
        """Return everybody who may enter."""
        return self.register.accounts()

    def find(self, name: str) -> Account:
        """Return an account, or NotFound."""
        found = self.register.account(name)
        if found is None:
            raise NotFound("no_such_account", say("cannot find the account {name}", name=repr(name[:80])), say("howdah auth users list"))
        return found

    def add(self, name: str, role: str, password: Secret | None) -> Secret | None:
        """Add an account; without a password one is made, and returned."""
        if self.register.account(check_account(name)) is not None:
            hint = say("howdah auth users set changes its role, howdah auth users password its password")
            raise Conflict("account_there", say("cannot add the account {name}: it is there already", name=name), hint)
        made = None if password is not None else self.passwords.make()
        self.register.put(Account(name, check_account_role(role), self._kept(password or made), since=self.now()))
        return made

    def set_role(self, name: str, role: str) -> Account:
        """Give an account another role; the last admin stays one."""
        there, wanted = self.find(name), check_account_role(role)
        if there.role == "admin" and wanted != "admin":
            self._keep_an_admin(name)
        changed = replace(there, role=wanted)
        self.register.put(changed)
        return changed

    def set_password(self, name: str, password: Secret | None) -> Secret | None:
        """Give an account a new password, which ends its sessions; without one it is made, and returned."""
        there = self.find(name)
        made = None if password is not None else self.passwords.make()
        self.register.put(replace(there, secret=self._kept(password or made)))
        self.register.end(name)
        return made

    def change_own_password(self, visitor: Visitor, old: Secret, new: Secret) -> None:
        """Change one's own password; all other sessions end."""
        key, now = f"{visitor.account.name} in a session", self.now()
        if not self.register.attempt({key: PAIR_TRIES}, now - TRIES_SECONDS, now):
            message = say("cannot change the password: too many failures; wait {minutes} minutes", minutes=_TRIES_MINUTES)
            raise Unavailable("too_many_tries", message)
        if not self.passwords.right(visitor.account.secret, old):
            raise Invalid("wrong_password", say("cannot change the password: the present one is another"))
        self.register.withdraw((key,), now)
        self.set_password(visitor.account.name, new)
        self.register.open(visitor.entry)

    def prefer(self, name: str, language: str, theme: str) -> Account:
        """Remember in which language and theme somebody wants the pages."""
        if language not in ("", "en", "ru") or theme not in ("", "light", "dark"):
            raise Invalid("invalid_value", say("cannot show pages so: expected en or ru, light or dark"))
        changed = replace(self.find(name), language=language, theme=theme)
        self.register.put(changed)
        return changed

    def delete(self, name: str) -> None:
        """Delete an account; the last admin stays."""
        if self.find(name).role == "admin":
            self._keep_an_admin(name)
        self.register.drop(name)

    def _keep_an_admin(self, name: str) -> None:
        if not any(each.role == "admin" and each.name != name for each in self.register.accounts()):
            raise Conflict("last_admin", say("cannot take {name} away: nobody else is admin", name=name), say("make another admin first"))

    def _kept(self, password: Secret | None) -> Secret:
        assert password is not None
        return self.passwords.digest(check_account_password(password.reveal()))

    # ---------------------------------------------------------------------------------------- entering

    def sign_in(self, name: str, password: Secret, address: str, program: str) -> Secret:
        """Let somebody in; return what the browser carries. After five failures in a quarter of an hour it refuses unasked."""
        now, pair = self.now(), f"{name[:80]} from {address}"
        limits = {pair: PAIR_TRIES, f"from {address}": ADDRESS_TRIES, name[:80]: NAME_TRIES}
        if not self.register.attempt(limits, now - TRIES_SECONDS, now):
            self._write(name, address, "sign in", "", "too_many_tries")
            message = say("cannot sign in: too many failures; wait {minutes} minutes", minutes=_TRIES_MINUTES)
            raise Unavailable("too_many_tries", message)
        found = self.register.account(name)
        if not self.passwords.right(found.secret if found is not None else None, password) or found is None:
            self._write(name, address, "sign in", "", "wrong_password")
            raise Invalid("wrong_password", say("cannot sign in: the name or the password is wrong"))
        self.register.withdraw(limits, now)
        self.register.pardon(pair)
        carried = self._enter(found, "session", program, now + SESSION_SECONDS, address)
        self._write(name, address, "sign in", "", "done")
        return carried

    def add_token(self, account: Account, label: str, address: str) -> Secret:
        """Make a token for a program; return what it carries, once."""
        return self._enter(account, "token", label[:80], self.now() + _TOKEN_SECONDS, address)

    def _enter(self, account: Account, kind: str, label: str, until: float, address: str) -> Secret:
        carried, now = self.passwords.token(), self.now()
        which: Literal["session", "token"] = "token" if kind == "token" else "session"
        self.register.open(Entry(_digest(carried), account.name, which, _legible(label)[:200], now, until, now, address))
        return carried

    def visitor(self, carried: Secret, kind: str = "session", *, quiet: bool = False) -> Visitor | None:
        """Return who carries this, None when it is nobody's, over, or was not used for an hour; `quiet` use does not count."""
        now = self.now()
        entry = self.register.entry(_digest(carried), now)
        if entry is None or entry.kind != kind or (kind == "session" and entry.seen < now - IDLE_SECONDS):
            return None
        account = self.register.account(entry.account)
        if account is None:
            return None
        if not quiet and now - entry.seen > _TOUCH_SECONDS:
            self.register.touch(entry.digest, now)
        return Visitor(account, entry, carried)

    def sign_out(self, visitor: Visitor) -> None:
        """End a session."""
        self.register.end(visitor.account.name, visitor.entry.digest)
        self._write(visitor.account.name, visitor.entry.address, "sign out", "", "done")

    def end(self, visitor: Visitor, digest: str) -> None:
        """End one of somebody's own sessions or tokens."""
        self.register.end(visitor.account.name, digest)

    def end_all(self, name: str) -> int:
        """End every session and token of somebody; return how many there were."""
        found = self.register.entries(self.find(name).name, self.now())
        for entry in found:
            self.register.end(name, entry.digest)
        return len(found)

    def entries(self, visitor: Visitor) -> tuple[Entry, ...]:
        """Return somebody's own sessions and tokens."""
        return self.register.entries(visitor.account.name, self.now())

    # ---------------------------------------------------------------------------------------- the audit log

    def note(self, account: str, address: str, verb: str, about: str, outcome: str, words: str = "") -> None:
        """Write down what somebody did, and what came of it; no secrets in the words."""
        self._write(account, address, verb, about, outcome, words)

    def _write(self, account: str, address: str, verb: str, about: str, outcome: str, words: str = "") -> None:
        told = (_legible(account)[:80], address, verb, _legible(about)[:200], outcome, _legible(words)[:1000])
        self.register.write(Deed(self.now(), *told))

    def deeds(self, limit: int, *, about: str = "", before: float = 0.0) -> tuple[Deed, ...]:
        """Return what was done, latest first."""
        return self.register.deeds(limit, about=about, before=before)


def _digest(carried: Secret) -> str:
    return hashlib.sha256(carried.reveal().encode(errors="replace")).hexdigest()


def _legible(text: str) -> str:
    """Return what a stranger may have typed without anything that commands a terminal or hides what follows."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def role_of(visitor: Visitor | None) -> Role | None:
    """Return the role of who has entered."""
    return visitor.account.role if visitor is not None else None
