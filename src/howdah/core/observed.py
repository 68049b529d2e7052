"""What is really there, at one moment: plain facts, gathered part by part, each part looked at when a concern first asks for it.

A look costs: files a millisecond, SQL ten, every database its own connection. So `Observed` holds looks, not results, and remembers
each answer for the pass. Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal, TypeVar

from howdah.core.instance import Hop
from howdah.core.layout import Layout
from howdah.core.rotation import Bundle

T = TypeVar("T")
ServerState = Literal["absent", "starting", "ready", "unreachable"]


@dataclass(frozen=True)
class Facts:
    """What this machine is and has; the same for every instance."""

    server_user: str
    pooler_user: str
    own_user: str
    pooler_version: tuple[int, ...] = ()
    cores: int = 1
    memory_mib: int = 1024
    nofile: int = 1024  # hard limit of file descriptors of one process
    backlog: int = 65_535  # what the kernel cuts every listener's queue to (net.core.somaxconn)
    loopback_v6: bool = False
    addresses: tuple[str, ...] = ()  # of this machine's interfaces, loopback left out
    hostname: str = ""
    renews: bool = False  # something is known to renew certificates while nobody types
    logout_harms: bool = False  # logging out may take the servers' shared memory away (logind's RemoveIPC)
    now: float = 0.0  # seconds since the epoch


@dataclass(frozen=True)
class FileSeen:
    """A file as it lies on disk."""

    digest: str
    mode: int
    owner: str
    ctime: float


@dataclass(frozen=True)
class Pair:
    """A certificate with its key on disk, both readable and belonging together."""

    serial: str
    names: frozenset[str]
    not_before: float
    not_after: float
    trusted: bool  # issued by an authority that clients are told to verify with
    current: bool = True  # by the one of them that issues now


@dataclass(frozen=True)
class Disk:
    """The instance's files."""

    data: Literal["absent", "ready"]
    present: bool = True  # anything of the instance lies on disk
    pooler: bool = False  # anything of its pooler does
    files: Mapping[str, FileSeen] = field(default_factory=dict)
    pairs: Mapping[Hop, tuple[Pair, ...]] = field(default_factory=dict)  # newest first
    trashed: bool = False  # the data directory lies in the trash instead
    authority: Bundle | None = None  # what clients verify with; None where there is none yet, or none that makes sense


@dataclass(frozen=True)
class Session:
    """A client session, named so that a person can recognise it."""

    hop: Hop
    user: str
    database: str
    application: str
    address: str
    id: str  # backend pid, or PgBouncer's client id or pointer
    since: float = 0.0  # seconds since the epoch; 0 where it is not told

    def __str__(self) -> str:
        return f"{self.user}@{self.database} ({self.application or '-'}, {self.address})"


def named(sessions: Sequence[Session], most: int = 5) -> str:
    """Return some of the sessions by name, and how many there are besides.

    >>> named([Session("pooled", "app", "shop", "web", "::1", "1")] * 3, 2)
    'app@shop (web, ::1), app@shop (web, ::1), … +1'
    """
    rest = [f"… +{len(sessions) - most}"] if len(sessions) > most else []
    return ", ".join([*map(str, sessions[:most]), *rest])


@dataclass(frozen=True)
class Role:
    """A role as the server has it; `mark` is the digest of the verifier that Howdah last set, empty for a role it did not make."""

    login: bool
    superuser: bool = False
    replication: bool = False
    createrole: bool = False
    mark: str = ""


@dataclass(frozen=True)
class DatabaseSeen:
    """A database as the server has it; `access` are the wanted roles that hold every right there."""

    owner: str
    made: bool  # made by Howdah
    connectable: bool = True
    access: frozenset[str] = frozenset()
    public: bool = True  # PUBLIC may connect


@dataclass(frozen=True)
class Server:
    """The PostgreSQL server: alive, reachable and right are three facts."""

    state: ServerState
    pid: int = 0
    identity: str = ""  # pid and start time: never true of another process
    version: str = ""
    digest: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    pending: frozenset[str] = frozenset()  # what only a start can apply, or take away
    outvoted: frozenset[str] = frozenset()  # settings that ALTER ROLE ALL SET changes for every session
    loaded_at: float = 0.0  # pg_conf_load_time()
    errors: tuple[str, ...] = ()  # pg_file_settings, pg_hba_file_rules, pg_ident_file_mappings
    roles: Mapping[str, Role] = field(default_factory=dict)
    databases: Mapping[str, DatabaseSeen] = field(default_factory=dict)
    listens: frozenset[tuple[str, int]] = frozenset()  # where the postmaster itself listens
    sessions: tuple[Session, ...] = ()  # on the TCP port
    plaintext: tuple[Session, ...] = ()  # those of them without TLS
    swept: bool = True  # a sweeper stands beside it, with today's limit


@dataclass(frozen=True)
class Inside:
    """What is inside one database: SQL extensions, and the pooler's lookup function."""

    extensions: frozenset[str] = frozenset()
    lookup: bool = False  # schema howdah stands here
    lookup_right: bool = False  # the function stands here as shipped: body, settings, owner and rights
    lookup_connect: bool = False  # the lookup role may connect
    closed: bool = False  # it lets nobody in to look, so that the rest is not known


@dataclass(frozen=True)
class Generation:
    """One generation of the pooler: one keeper with its PgBouncer, or several; what is said of it holds for each."""

    number: int
    keeper: bool
    alive: bool
    reachable: bool
    identity: str = ""
    version: tuple[int, ...] = ()
    files: Mapping[str, FileSeen] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)  # of its first process
    further: tuple[Mapping[str, str], ...] = ()  # of each further process
    fixed: frozenset[str] = frozenset()  # settings that this PgBouncer cannot reload
    loaded: str = ""
    replaced: tuple[str, ...] = ()  # its program and libraries that an update has replaced since it started
    routes: frozenset[tuple[str, int]] = frozenset()  # host and port that databases in use are sent to
    addresses: tuple[tuple[str, int], ...] = ()
    halted: tuple[str, ...] = ()  # databases paused or disabled
    clients: tuple[Session, ...] = ()
    plaintext: tuple[Session, ...] = ()
    proven: bool = True  # a login was made before it took the logins over
    steered: bool = True  # and they still come to it: nobody has left the kernel's group since
    bounded: bool = True  # its logs are kept within today's limit

    @property
    def configs(self) -> tuple[Mapping[str, str], ...]:
        """What each process has loaded."""
        return (self.config, *self.further)

    def total(self, name: str) -> int:
        """Return a limit of the whole pooler, over all its processes; 0 where it is none."""
        return sum(int(config.get(name) or 0) for config in self.configs)


@dataclass(frozen=True)
class Wire:
    """What a stranger on the wire is told at one hop."""

    answers: bool = False
    plaintext_refused: bool = False
    serial: str = ""  # of the certificate served; empty where TLS is not spoken
    error: str = ""
    lax: bool = False  # a user is let in without a password, or with another proof than SCRAM


@dataclass(frozen=True)
class Looks:
    """How each part is looked at; tests hand in plain lambdas."""

    disk: Callable[[], Disk]
    server: Callable[[], Server] = lambda: Server("absent")
    inside: Callable[[], Mapping[str, Inside]] = dict
    pooler: Callable[[], tuple[Generation, ...]] = tuple
    wire: Callable[[Hop], Wire | None] = lambda _: None
    people: Callable[[Server], Server] = lambda server: server
    """The same server with its roles and databases as they are now."""


Part = Literal["disk", "server", "people", "inside", "pooler", "direct", "pooled"]
"""A look at one thing; `people` are the server's roles and databases, a quicker look than the whole one."""
PARTS: Final[frozenset[Part]] = frozenset({"disk", "server", "people", "inside", "pooler", "direct", "pooled"})


class Observed:
    """One moment of one instance; every part is looked at once, when first asked for."""

    def __init__(self, facts: Facts, layout: Layout, looks: Looks) -> None:
        self.facts = facts
        self.layout = layout
        self._looks = looks
        self._concluded: dict[object, Any] = {}

    def once(self, key: object, conclude: Callable[[], T]) -> T:
        """Return what was concluded from this moment under that key; it is concluded when first asked for."""
        if key not in self._concluded:
            self._concluded[key] = conclude()
        found: T = self._concluded[key]
        return found

    def keeping(self, earlier: Observed, parts: frozenset[Part]) -> Observed:
        """Return this moment with what an earlier one, of the same pass, saw of these parts; what it did not look at is looked at now."""
        self.__dict__.update({part: seen for part in parts if (seen := earlier.__dict__.get(part)) is not None})
        if "people" not in parts and (server := self.__dict__.get("server")) is not None:
            self.__dict__["server"] = self._looks.people(server)
        return self

    @cached_property
    def disk(self) -> Disk:
        """The instance's files."""
        return self._looks.disk()

    @cached_property
    def server(self) -> Server:
        """The PostgreSQL server."""
        return self._looks.server()

    @cached_property
    def inside(self) -> Mapping[str, Inside]:
        """Every database that admits connections, by name."""
        return self._looks.inside()

    @cached_property
    def pooler(self) -> tuple[Generation, ...]:
        """The generations of the pooler that have a directory, oldest first."""
        return self._looks.pooler()

    @cached_property
    def direct(self) -> Wire | None:
        """What PostgreSQL's port tells a stranger."""
        return self._looks.wire("direct")

    @cached_property
    def pooled(self) -> Wire | None:
        """What the pooler's port tells a stranger; None without a pooler."""
        return self._looks.wire("pooled")

    @property
    def wire(self) -> Mapping[Hop, Wire]:
        """What each hop tells a stranger."""
        hops: Mapping[Hop, Wire | None] = {"direct": self.direct, "pooled": self.pooled}
        return {hop: told for hop, told in hops.items() if told is not None}
