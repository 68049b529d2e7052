"""What a client writes to reach an instance: one file per client in this folder, found by listing it.

A snippet is pure text, made from a `Target`; every value is quoted once, by the rule of the format that it stands in. Nothing here
connects or reads a file: where a password lies is named (the passfile), not what it is, unless that was asked for. Modules whose names
begin with an underscore are what several clients share.
"""

from __future__ import annotations

import importlib
import pkgutil
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from howdah.core.endpoint import Endpoint
from howdah.core.instance import check_name, shown
from howdah.errors import Invalid, NotFound, Unsupported
from howdah.phrase import Phrase, say
from howdah.secret import Secret

SslMode = Literal["disable", "require", "verify-full"]
Language = Literal["sh", "text", "ini", "python", "javascript", "java", "go", "php", "ruby", "csharp", "rust", "hcl", "yaml"]


@dataclass(frozen=True)
class Target:
    """Whom a snippet reaches, as whom, and how: all that a client's file may know."""

    endpoint: Endpoint
    database: str
    user: str
    sslmode: SslMode
    ca_file: Path
    passfile: Path | None
    pool_mode: str | None  # session, transaction or statement; None for the direct hop
    instance: str
    prepared: bool  # the pooler carries protocol-level prepared statements from one server connection to the next
    direct: Endpoint | None = None  # of a pooled target: the hop past the pooler
    password: Secret | None = None  # only where it was asked for: it then stands in the text
    ca_pem: str | None = None  # beside a password: the authority's certificate itself

    @property
    def pooled(self) -> bool:
        """Whether the pooler is in between."""
        return self.endpoint.kind == "pooled"

    @property
    def shares(self) -> bool:
        """Whether a server connection is lent for less than a session, so that nothing of a session may be relied on."""
        return self.pool_mode in ("transaction", "statement")

    @property
    def unpooled(self) -> Target:
        """The same database past the pooler, for migrations and whatever needs a session of its own; itself if it is direct."""
        return replace(self, endpoint=self.direct, pool_mode=None, prepared=False, direct=None) if self.direct is not None else self

    @property
    def label(self) -> str:
        """A name for files and services: the instance and the hop."""
        return f"{self.instance}-{self.endpoint.kind}"


@dataclass(frozen=True)
class Snippet:
    """A text for one client that runs as it stands; `files` is there when it takes more than one file."""

    client: str
    title: Phrase
    language: Language
    text: str
    filename: str
    needs: tuple[str, ...] = ()  # packages, each by the name that its own registry knows
    notes: tuple[Phrase, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)  # says what the program's own constant says, and outvotes it


def clients() -> tuple[str, ...]:
    """Return the names of all clients, read from the files of this folder.

    >>> " ".join(clients()[:4]), len(clients()) > 20
    ('asyncpg conninfo django dotenv', True)
    """
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")))


def snippet(client: str, target: Target) -> Snippet:
    """Return the snippet of a client for a target, or refuse: NotFound, or a name that its format cannot carry."""
    if client not in clients():
        hint = say("there are: {names}", names=", ".join(clients()))
        raise NotFound("unknown_client", say("cannot find client {name}", name=shown(client)), hint)
    check_name(target.instance)
    for value in (target.database, target.user, target.endpoint.host, str(target.ca_file), str(target.passfile or "-")):
        _refuse_unwritable(value)
    render: Callable[[Target], Snippet] = importlib.import_module(f"{__name__}.{client}").snippet
    made = render(target)
    if target.password is not None and made.text == render(replace(target, password=None)).text:
        hint = say("its driver reads the passfile or PGPASSWORD; dotenv and kubernetes take a password into their text")
        raise Unsupported("no_password_in_it", say("cannot write a password into what {client} takes", client=client), hint)
    return made


def _refuse_unwritable(value: str) -> None:
    """Refuse what no line of text carries: nothing at all, control, format and unassigned characters, line separators."""
    if not value or any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") for c in value):
        hint = say("use names and paths without control characters")
        raise Invalid("unwritable_value", say("cannot write {value} into a connection string", value=shown(value) or "''"), hint)
