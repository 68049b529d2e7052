"""What someone wants: the `Instance` record and the rules for its names. Pure data; a new wish is a new record, one generation on."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from howdah.errors import Invalid
from howdah.phrase import Phrase, say
from howdah.secret import Secret

Wish = Literal["running", "stopped", "deleted"]
Hop = Literal["direct", "pooled"]
HOPS: tuple[Hop, ...] = ("direct", "pooled")
LOOPBACK = ("127.0.0.1", "::1")

CONTROL_ROLE = "postgres"
LOOKUP_ROLE = "howdah_lookup"
PROBE_ROLE = "howdah_probe"
_RESERVED_ROLES = {"postgres", "pgbouncer", "public", "none", "current_user", "session_user", "current_role"}
_RESERVED_DATABASES = {"postgres", "template0", "template1", "pgbouncer"}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_HOSTNAME = re.compile(r"(?=.{1,253}$)(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


@dataclass(frozen=True)
class Reach:
    """Where one hop is reached: addresses to listen on, DNS names it is known by, networks that may connect."""

    listen: tuple[str, ...] = ("127.0.0.1",)
    hostnames: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


@dataclass(frozen=True)
class Database:
    """A database that is wanted; `owner` None is the control role."""

    name: str
    owner: str | None = None
    icu_locale: str | None = None


@dataclass(frozen=True)
class User:
    """A login role that is wanted: its SCRAM verifier, the databases granted to it, and whether its made-up password was shown."""

    name: str
    verifier: Secret
    databases: tuple[str, ...] = ()
    shown: bool = True


@dataclass(frozen=True)
class Hold:
    """How long open transactions may hold a restart up (seconds), and whether they are ended then; else the restart is given up."""

    seconds: float = 5.0
    end: bool = False


@dataclass(frozen=True)
class Instance:
    """One PostgreSQL service, as wanted. `generation` counts wishes; `id` names everything on disk, `name` is only a label."""

    id: str
    name: str
    version: int
    port: int
    project: str = "default"
    engine: str = "single"
    generation: int = 1
    state: Wish = "running"
    size: str = "small"
    direct: Reach = field(default_factory=Reach)
    pooled: Reach = field(default_factory=Reach)
    parameters: Mapping[str, str] = field(default_factory=dict)
    extensions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    databases: tuple[Database, ...] = ()
    users: tuple[User, ...] = ()
    deferred: tuple[str, ...] = ()  # restart-only parameters that wait for the next restart
    restart_of: str = ""  # identity of a postmaster that must not be the one running
    renewed: tuple[str, ...] = ()  # serials of certificates that must not be the ones served
    settled: bool = False  # it has served once: a data directory that is gone is a loss, and never made anew
    end_plaintext: bool = False  # consent to end sessions that were opened before ssl=on
    hold: Hold = Hold()  # for the restart that this wish takes
    end_of: tuple[str, ...] = ()  # identities of older PgBouncers that are to end though they have clients

    @property
    def pooler(self) -> Mapping[str, str] | None:
        """The pooler's settings, or None where none is wanted."""
        return self.extensions.get("pooler")

    @property
    def tls(self) -> bool:
        """Whether TLS is wanted; a new instance has it unless told otherwise."""
        return self.parameters.get("ssl", "on") == "on"

    def reach(self, hop: Hop) -> Reach:
        """Return where `hop` is reached."""
        return self.direct if hop == "direct" else self.pooled

    def hop_port(self, hop: Hop) -> int | None:
        """Return the TCP port of `hop`, or None where there is no pooler."""
        if hop == "direct":
            return self.port
        return int(self.pooler["listen_port"]) if self.pooler is not None else None

    def next(self, **changes: Any) -> Instance:
        """Return the record with `changes`, one generation on."""
        return replace(self, generation=self.generation + 1, **changes)


def to_record(instance: Instance) -> dict[str, Any]:
    """Return the instance as plain JSON values; verifiers are in it, so the record belongs in a 0600 store only."""
    record = asdict(replace(instance, users=()))
    record["users"] = [
        {"name": u.name, "verifier": u.verifier.reveal(), "databases": list(u.databases), "shown": u.shown} for u in instance.users
    ]
    return record


def from_record(record: Mapping[str, Any]) -> Instance:
    """Return the instance that `to_record` wrote; unknown keys of a newer Howdah are an error of the store, not ignored.

    >>> i = Instance("abcd1234", "shop", 15, 5432, users=(User("app", Secret("SCRAM")),), databases=(Database("d"),))
    >>> from_record(to_record(i)) == i
    True
    """
    plain = dict(record)
    direct, pooled = (Reach(**{key: tuple(value) for key, value in plain.pop(hop).items()}) for hop in HOPS)
    users = tuple(User(u["name"], Secret(u["verifier"]), tuple(u["databases"]), u["shown"]) for u in plain.pop("users"))
    databases = tuple(Database(**d) for d in plain.pop("databases"))
    lists = {name: tuple(plain.pop(name, ())) for name in ("deferred", "end_of", "renewed")}
    hold = Hold(**plain.pop("hold", {}))
    made = Instance(**plain, direct=direct, pooled=pooled, users=users, databases=databases)
    return replace(made, hold=hold, deferred=lists["deferred"], end_of=lists["end_of"], renewed=lists["renewed"])


def shown(text: str) -> str:
    """Return hostile text fit for a message: printable and short.

    >>> shown("a\\nb"), shown("x" * 99)[-3:]
    ("'a\\\\nb'", '...')
    """
    short = text if len(text) <= 80 else text[:77] + "..."
    return short if short.isprintable() else repr(short)


def check_name(name: str) -> str:
    """Return an instance's name, or refuse it. Names are labels, unique in their project without regard to case."""
    if not _NAME.fullmatch(name):
        hint = say("use 1 to 63 letters, digits, dots, underscores or hyphens, beginning with a letter or digit, such as shop-1")
        raise Invalid("invalid_name", say("cannot name an instance {name}", name=shown(name) or "''"), hint)
    return name


def check_role(name: str) -> str:
    """Return a role's name, or refuse it: reserved, or not carried exactly by every file and driver (63 bytes, no control characters)."""
    if name.lower() in _RESERVED_ROLES or name.lower().startswith(("pg_", "howdah")):
        raise Invalid("reserved_name", say("cannot use the role name {name}: it is reserved", name=shown(name)))
    return _check_identifier(name, say("user"))


def check_database(name: str) -> str:
    """Return a database's name, or refuse it, as for `check_role`."""
    if name.lower() in _RESERVED_DATABASES or name.lower().startswith(("pg_", "howdah")):
        raise Invalid("reserved_name", say("cannot use the database name {name}: it is reserved", name=shown(name)))
    return _check_identifier(name, say("database"))


def _check_identifier(name: str, kind: Phrase) -> str:
    bad = any(unicodedata.category(c)[0] in "CZ" and c != " " for c in name) or name != name.strip()
    if not name or bad or len(name.encode("utf-8", "surrogatepass")) > 63 or unicodedata.normalize("NFC", name) != name:
        hint = say("use 1 to 63 bytes of printable text without control characters and without a space at either end")
        raise Invalid("invalid_name", say("cannot name a {kind} {name}", kind=kind, name=shown(name) or "''"), hint)
    return name


def check_address(text: str) -> str:
    """Return an address to listen on in its canonical form.

    >>> check_address("127.0.0.1"), check_address("0:0::1")
    ('127.0.0.1', '::1')
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        hint = say("give an IPv4 or IPv6 address of this machine, such as 127.0.0.1, or 0.0.0.0 for all")
        raise Invalid("invalid_address", say("cannot listen on {address}: not an IP address", address=shown(text)), hint) from None
    if address.is_multicast or (address.version == 6 and address.scope_id):
        raise Invalid(
            "invalid_address", say("cannot listen on {address}: multicast and scoped addresses are not for servers", address=text)
        )
    return str(address)


def check_network(text: str) -> str:
    """Return a network in CIDR form; host bits must be zero, so that what is written is what is allowed."""
    try:
        if "%" in text:  # an interface of this machine, fe80::1%eth0: neither server's rules know one
            raise ValueError
        return str(ipaddress.ip_network(text))
    except ValueError:
        hint = say("give a network such as 10.1.0.0/16 or 2001:db8::/32, with the host bits zero")
        raise Invalid("invalid_network", say("cannot allow {network}: not a network", network=shown(text)), hint) from None


def check_hostname(text: str) -> str:
    """Return a DNS name in lower case."""
    if not _HOSTNAME.fullmatch(text):
        hint = say("give a name of letters, digits, hyphens and dots, such as db.example.org")
        raise Invalid("invalid_hostname", say("cannot use the host name {name}", name=shown(text)), hint)
    return text.lower()


def check_port(port: int) -> int:
    """Return a TCP port that a server without privileges may bind (1024 to 65535)."""
    if not 1024 <= port <= 65535:
        raise Invalid("invalid_port", say("cannot use port {port}: expected 1024 to 65535", port=port))
    return port


def check_password(text: str) -> Secret:
    """Return a password, or refuse what cannot be one: empty, control characters, ready-made verifiers."""
    if not text:
        raise Invalid("invalid_password", say("cannot use an empty password"), say("leave --password-stdin out and a password is made"))
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in text) or len(text.encode("utf-8", "surrogatepass")) > 1024:
        raise Invalid("invalid_password", say("cannot use this password: it has control characters or more than 1024 bytes"))
    if re.match(r"SCRAM-SHA-256\$|md5[0-9a-fA-F]{32}$", text):
        hint = say("give the password itself on standard input")
        raise Invalid("invalid_password", say("cannot use a ready-made verifier as a password"), hint)
    return Secret(text)
