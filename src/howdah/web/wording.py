"""How a page speaks: sentences, numbers, sizes, times and states in the reader's language. Counted things stand after a colon, so that no
language has to bend a noun after a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from markupsafe import Markup, escape

from howdah.language import of_postgres, translation
from howdah.phrase import Phrase, say

# a state, and the tone in which it is shown
STATES: Mapping[str, tuple[Phrase, str]] = {
    "creating": (say("creating"), "work"),
    "running": (say("running"), "good"),
    "updating": (say("updating"), "work"),
    "stopped": (say("stopped"), "calm"),
    "down": (say("down"), "bad"),
    "error": (say("error"), "bad"),
    "deleting": (say("deleting"), "work"),
}
OUTCOMES: Mapping[str, tuple[Phrase, str]] = {
    "waiting": (say("waiting"), "work"),
    "running": (say("under way"), "work"),
    "done": (say("done"), "good"),
    "failed": (say("failed"), "bad"),
    "withdrawn": (say("withdrawn"), "bad"),
}
HOW: Mapping[str, Phrase] = {
    "reload": say("by reload"),
    "restart": say("needs a restart"),
    "takeover": say("a new pooler takes over"),
    "session": say("at once, for new sessions"),
}
APPLIED: Mapping[str, Phrase] = {
    "restart": say("by a restart of PostgreSQL"),
    "takeover": say("a new pooler took over"),
    "reload": say("by reload"),
    "sql": say("by statements, at once"),
    "nothing": say("nothing had to be done"),
}
# what was asked for, as pages and the audit log call it; what is not in this list keeps its own name
VERBS: Mapping[str, Phrase] = {
    "create": say("Creation"),
    "start": say("Started"),
    "stop": say("Stopped"),
    "restart": say("Restarted"),
    "delete": say("Deletion"),
    "undelete": say("Taken back from the trash"),
    "repair": say("Repaired"),
    "down": say("Shutdown of the machine"),
    "params set": say("Parameters"),
    "endpoints set": say("Addresses and networks"),
    "extensions add": say("Extension added"),
    "extensions set": say("Settings of an extension"),
    "extensions remove": say("Extension removed"),
    "pooler drain": say("Older poolers emptied"),
    "databases": say("Databases"),
    "databases add": say("Database added"),
    "databases delete": say("Database deleted"),
    "users": say("Users"),
    "users add": say("User added"),
    "users delete": say("User deleted"),
    "users password": say("Password changed"),
    "users grant": say("Rights given"),
    "users revoke": say("Rights taken"),
    "certificates renew": say("Certificates renewed"),
    "verify": say("Proof"),
    "sign in": say("Sign-in"),
    "sign out": say("Sign-out"),
    "account": say("Account"),
    "auth tokens add": say("Token made"),
    "auth tokens delete": say("Session or token ended"),
    "auth users": say("Account made"),
    "auth users add": say("Account made"),
    "auth users set": say("Role changed"),
    "auth users password": say("Account's password changed"),
    "auth users delete": say("Account deleted"),
}
HOP_NAMES: Mapping[str, Phrase] = {"direct": say("direct"), "pooled": say("through the pooler")}
_TIMES = (say("{n} ms"), say("{n} s"), say("{n} min"))
_SIZES = (say("{n} B"), say("{n} KB"), say("{n} MB"), say("{n} GB"), say("{n} TB"))


@dataclass(frozen=True)
class Wording:
    """One language."""

    language: str

    @cached_property
    def _gettext(self) -> Any:
        return translation(self.language)

    def __call__(self, text: str | Phrase, **values: object) -> str:
        """Say a sentence of a template, or a phrase; what is marked up already stays so, all else is escaped by the page."""
        if isinstance(text, Phrase):
            return text.translated(self._gettext)
        said: str = self._gettext(text)
        if not values:
            return said
        if any(isinstance(value, Markup) for value in values.values()):
            return Markup(escape(said)).format_map(
                {key: value if isinstance(value, Markup) else escape(value) for key, value in values.items()}
            )
        return said.format_map(values)

    def postgres(self, major: int, *sentences: str) -> str:
        """Say sentences of PostgreSQL's own, such as a parameter's description."""
        return " ".join(map(of_postgres(self.language, major), sentences))

    def number(self, value: float | None, digits: int = 0) -> str:
        """Say a number: 12,345.6 or 12 345,6; a dash where nothing is known.

        >>> Wording("en").number(12345.6, 1), Wording("en").number(None)
        ('12,345.6', '–')
        """
        if value is None:
            return "–"
        text = f"{value:,.{digits}f}"
        return text if self.language != "ru" else text.replace(",", "\u202f").replace(".", ",")

    def size(self, count: float | None) -> str:
        """Say a number of bytes.

        >>> Wording("en").size(52_428_800)
        '50 MB'
        """
        if count is None:
            return "–"
        power, left = 0, float(count)
        while left >= 1024 and power < len(_SIZES) - 1:
            power, left = power + 1, left / 1024
        return self(_SIZES[power].template, n=self.number(left, 0 if left >= 10 or power == 0 else 1))

    @property
    def size_names(self) -> tuple[str, ...]:
        """The names of bytes and their multiples.

        >>> Wording("en").size_names[:2]
        ('B', 'KB')
        """
        return tuple(self(each.template, n="").strip() for each in _SIZES)

    def took(self, seconds: float | None) -> str:
        """Say how long something took."""
        if seconds is None:
            return "–"
        if seconds < 1:
            return self(_TIMES[0].template, n=self.number(seconds * 1000))
        if seconds < 100:
            return self(_TIMES[1].template, n=self.number(seconds, 1))
        return self(_TIMES[2].template, n=self.number(seconds / 60))

    def moment(self, seconds: float) -> str:
        """Say a time, in UTC; a page with scripts shows it in the reader's own zone."""
        if not seconds:
            return "–"
        return datetime.fromtimestamp(seconds, UTC).strftime("%d.%m.%Y %H:%M:%S UTC" if self.language == "ru" else "%Y-%m-%d %H:%M:%S UTC")

    def iso(self, seconds: float) -> str:
        """Return a time for machines."""
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

    def state(self, status: str) -> tuple[str, str]:
        """Return a state of an instance in words, and its tone."""
        phrase, tone = STATES[status]
        return self(phrase), tone

    def outcome(self, outcome: str) -> tuple[str, str]:
        """Return an outcome of an operation in words, and its tone."""
        phrase, tone = OUTCOMES[outcome]
        return self(phrase), tone

    def verb(self, verb: str) -> str:
        """Return what was asked for in words."""
        return self(VERBS[verb]) if verb in VERBS else verb

    def applied(self, applied: str) -> str:
        """Return how a change came into force."""
        return self(APPLIED[applied])

    def how(self, how: str) -> str:
        """Return how a change comes into force."""
        return self(HOW[how])

    def hop(self, hop: str) -> str:
        """Return which way to an instance is meant."""
        return self(HOP_NAMES[hop])
