"""What the clients in all languages share: who says whether a connection is encrypted, literals of other languages, and what must be said.

A driver that cannot tell whether its connection is encrypted keeps a promise instead: it was told to encrypt, and goes on only if it
does. Tests hold each to it, against servers that speak in clear, and hold what each says against the pooler's own view of its session.
"""

from __future__ import annotations

import json
import string

from howdah.connect import Target, _libpq
from howdah.core.instance import shown
from howdah.errors import Unsupported
from howdah.phrase import Phrase, say

# A program must end when nobody answers; libpq would wait as long as the kernel does (libpq-connect: connect_timeout, seconds).
TIMEOUT_SECONDS = 10
# The server's own view of a direct session. Through the pooler it sees the pooler, not the client: of the first hop the client's own end
# is asked, of the second one PostgreSQL, for which a session without an address came by a unix socket (docs/adr/0020).
SEEN_BY_SERVER = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()"
SEEN_BEHIND = "SELECT ssl OR pg_catalog.inet_client_addr() IS NULL FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()"
BEHIND = "protected (from the pooler to PostgreSQL, as PostgreSQL sees it)"


class Program(string.Template):
    """The text of a program in a language full of braces and dollars: what is filled in stands as @{name}."""

    delimiter = "@"
    idpattern = r"(?!)"  # a name alone is none, as in "@types/node"
    braceidpattern = r"[a-z]+"


def witness(target: Target, promise: bool = False) -> str:
    """Return the words for who says whether the connection is encrypted; with `promise`, a driver that cannot be asked."""
    if not target.pooled:
        return "as PostgreSQL sees this session"
    return "to the pooler; the driver refuses to go on otherwise" if promise else "to the pooler, as this client sees it"


def asked(target: Target) -> str:
    """Return the question to PostgreSQL: is this session encrypted, or, through the pooler, the one behind it protected?"""
    return SEEN_BEHIND if target.pooled else SEEN_BY_SERVER


def encrypts(target: Target) -> bool:
    """Tell whether the client was told to encrypt."""
    return target.sslmode != "disable"


def doubly(value: str) -> str:
    r"""Return a double-quoted literal of JavaScript, Go, Rust or C#: of what JSON escapes, only these occur in a target's values.

    >>> print(doubly('a"b\\c ü'))
    "a\"b\\c ü"
    """
    return json.dumps(value, ensure_ascii=False)


def ascii_only(value: str) -> str:
    r"""Return a double-quoted literal of Java, whose compiler reads a file in the encoding of the day (before JDK 18).

    >>> print(ascii_only('ü"'))
    "\u00fc\""
    """
    return json.dumps(value)


def singly(value: str) -> str:
    r"""Return a single-quoted literal of PHP or Ruby, in which only these two are escaped.

    >>> print(singly("it's $x \\"))
    'it\'s $x \\'
    """
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def refuse_characters(target: Target, forbidden: str, where: str, *values: str) -> None:
    """Refuse values (those of the target if none is named) with characters that a format cannot carry."""
    for value in values or (target.endpoint.host, target.database, target.user, str(target.ca_file), str(target.passfile or "")):
        if found := next((each for each in value if each in forbidden), None):
            hint = say("use another client, such as uri: nothing escapes {character} there", character=found)
            raise Unsupported("unwritable_value", say("cannot write {value} into {place}", value=shown(value), place=where), hint)


def notes(target: Target, binds: bool = False, finds: bool = True) -> tuple[Phrase, ...]:
    """Return what a person must know of this target, for a driver that is not libpq.

    `binds`: the driver can tie the login to the channel, and does; `finds`: it looks for a passfile by itself.
    """
    return (*_encryption(target, binds), _password(target, finds), *_libpq.pooling(target))


def _encryption(target: Target, binds: bool) -> list[Phrase]:
    if target.sslmode == "verify-full":
        return [_libpq.needs_ca(target)]
    if target.sslmode == "disable":
        return _libpq.unencrypted(target)
    words = say("this program's require encrypts and does not verify who answers; verify-full does")
    return [words, _libpq.bound()] if binds and not target.pooled else [words]


def _password(target: Target, finds: bool) -> Phrase:
    if target.passfile is not None or finds:
        return _libpq.password(target)
    return say("the password is read from PGPASSWORD")
