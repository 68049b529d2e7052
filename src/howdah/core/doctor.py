"""Is this machine fit? Plain facts in, findings out: versions and what they lack, weaknesses, limits, space, ports, and each instance.

Nothing here looks at anything. `fail` is what stops Howdah from working here, `warn` what somebody should know; every one says what to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from typing import Final

from howdah.catalog import advisories
from howdah.catalog.advisories import Minor, Weakness
from howdah.catalog.parameters import MAJORS
from howdah.certificate import LONGEST_DAYS
from howdah.core import libraries
from howdah.core.aging import Older
from howdah.core.finding import DAY, Finding, day
from howdah.core.layout import LONGEST_SOCKET
from howdah.core.machine import Quick
from howdah.core.programs import Program, lacking
from howdah.core.room import SCARCE
from howdah.core.rotation import Bundle, stands
from howdah.phrase import Phrase, say

_MIB = 2**20
_ALMOST_NONE = 0.02
_BUSY_QUEUE = 1024
_FEW_DAYS, _VERY_FEW_DAYS = 30, 7


@dataclass(frozen=True)
class Space:
    """The file system that holds the home."""

    free: int
    total: int
    free_files: int
    total_files: int  # 0 where the file system has no such limit
    read_only: bool = False  # as it is mounted


@dataclass(frozen=True)
class Kernel:
    """What the kernel can do for the keeper and for waiting."""

    release: str
    pidfd: bool
    steering: bool  # SO_REUSEPORT groups that a classic BPF program steers


@dataclass(frozen=True)
class Doctored:
    """One instance, looked at without a login; versions are empty where nothing runs."""

    name: str
    quick: Quick
    older: tuple[Older, ...] = ()  # its servers that are older than their program on disk
    space: Space | None = None  # of the file system that holds its data, where it is not the home's


@dataclass(frozen=True)
class Condition:
    """What this machine is and has, as far as the doctor judges it."""

    now: float
    home: str
    socket_bytes: int  # of the longest unix socket that an instance would have
    root: bool
    sudo: bool
    server_user: bool  # as root: whether the system user `postgres` is there
    python: str
    keeper_python: Phrase | str  # path, or why there is none
    servers: Mapping[int, Program]
    pooler: Program | None
    open_files: int
    clients: int  # that one pooler could have beside a small instance's server connections
    backlog: int  # net.core.somaxconn
    half_open: int  # net.ipv4.tcp_max_syn_backlog, 0 where it cannot be read
    memory_mib: int
    available_mib: int
    space: Space
    kernel: Kernel
    loopback_v6: bool
    ports: Mapping[int, str | None]  # who holds it
    boots: bool = False  # systemd runs this machine, and could start instances
    lingering: bool | None = None  # None: logging out ends nothing here
    logout_harms: bool = False
    renews: bool = False
    authority: Bundle | None = None  # what clients verify with; None before the first instance
    instances: Sequence[Doctored] = field(default=())


def judge(found: Condition) -> tuple[Finding, ...]:
    """Return every finding, in the order in which a person reads them."""
    return (
        _servers(found),
        *_support(found),
        *_server_weaknesses(found),
        _pooler(found),
        *_pooler_weaknesses(found),
        *libraries.judge(found.servers.values(), found.pooler, found.now),
        *_lacking(found),
        _rights(found),
        _python(found),
        _kernel(found.kernel),
        _files(found),
        _queues(found),
        _memory(found),
        _space(found),
        _socket_path(found),
        _loopback(found),
        *(_port(number, holder) for number, holder in found.ports.items()),
        _clock(found),
        _unattended(found),
        *_logout(found),
        *_authority(found),
        *(finding for each in found.instances for finding in _instance(each)),
    )


def _and(phrases: Sequence[Phrase | str]) -> Phrase | str:
    """Join what was found with semicolons, each part translatable by itself."""
    return reduce(lambda left, right: say("{left}; {right}", left=left, right=right), phrases)


# --- PostgreSQL ---------------------------------------------------------------------------------------------------------------------


def _servers(found: Condition) -> Finding:
    title = say("PostgreSQL")
    usable = {major: each for major, each in found.servers.items() if major in MAJORS}
    if not usable:
        fix = say("sudo apt-get install postgresql, or name its programs in HOWDAH_POSTGRES_BINDIRS")
        return Finding("postgresql", title, "fail", say("no server of versions {first} to {last}", first=MAJORS[0], last=MAJORS[-1]), fix)
    listed = ", ".join(f"{each.version} ({each.package_version or each.path})" for each in usable.values())
    return Finding("postgresql", title, "pass", say("{versions}", versions=listed))


def _support(found: Condition) -> Iterator[Finding]:
    for major in found.servers:
        last = advisories.LAST_DAYS.get(major)
        if last is None or found.now < day(last) + DAY:
            continue
        evidence = say("nobody mends version {major} since {date}", major=major, date=last)
        yield Finding(f"postgresql-{major}-support", say("PostgreSQL {major}: support", major=major), "warn", evidence, _NEWER)


_NEWER: Final = say("create new instances on a newer version, and move the data with pg_dump")


def _server_weaknesses(found: Condition) -> Iterator[Finding]:
    for major, each in found.servers.items():
        title = say("PostgreSQL {version}: published weaknesses", version=each.version or major)
        name = f"postgresql-{major}-advisories"
        minor = each.number[1] if len(each.number) > 1 else None
        if minor is None:
            yield Finding(name, title, "skip", say("it does not tell its minor version"))
            continue
        lacks = advisories.of_postgres(major, minor, each.mended)
        if not lacks:
            yield Finding(name, title, "pass", say("none that the table of {date} knows of", date=advisories.date()))
            continue
        newest = lacks[-1].version
        package = each.package or "postgresql"
        fix = say(
            "sudo apt-get install --only-upgrade {package} (to {newest} or later), then howdah restart NAME",
            package=package,
            newest=newest,
        )
        yield Finding(name, title, "warn", _unmended(lacks), fix)


def _unmended(lacks: Sequence[Minor]) -> Phrase:
    by_release = ", ".join(f"{each.version}: {len(each.mended)}" for each in lacks)
    grave = [one for each in reversed(lacks) for one in each.mended if one.kind in ("stranger", "code")]
    rest = sum(len(each.mended) for each in lacks) - len(grave)
    if not grave:
        return say("mended in later releases ({releases})", releases=by_release)
    named = "; ".join(f"{one.id}: {one.consequence}" for one in grave)
    return say(
        "mended in later releases ({releases}); the gravest: {named}; and {rest} others", releases=by_release, named=named, rest=rest
    )


# --- PgBouncer ----------------------------------------------------------------------------------------------------------------------


def _pooler(found: Condition) -> Finding:
    title, pooler = say("PgBouncer"), found.pooler
    if pooler is None:
        evidence = say("not installed; instances work without it, the extension pooler does not")
        return Finding("pgbouncer", title, "warn", evidence, say("sudo apt-get install pgbouncer"))
    if not pooler.version:
        return Finding("pgbouncer", title, "fail", say("{path} does not run", path=pooler.path), say("sudo apt-get install pgbouncer"))
    if not pooler.systemd:
        evidence = say("{version} was built without systemd's library and cannot take over listening sockets", version=pooler.version)
        fix = say("install the operating system's own, or build it with --with-systemd")
        return Finding("pgbouncer", title, "fail", evidence, fix)
    return Finding("pgbouncer", title, "pass", say("{version} ({from_where})", version=pooler.version, from_where=_source(pooler)))


def _source(program: Program) -> str:
    return program.package_version or program.path


def _pooler_weaknesses(found: Condition) -> Iterator[Finding]:
    if found.pooler is None or not found.pooler.version:
        return
    lacks = advisories.of_pooler(found.pooler.number, found.pooler.package_version, found.pooler.mended)
    for each in sorted(lacks, key=lambda each: each.prevented is not None):
        yield _weakness(found.pooler.version, each)
    if not lacks:
        title = say("PgBouncer {version}: published weaknesses", version=found.pooler.version)
        yield Finding("pgbouncer-advisories", title, "pass", say("none that the table of {date} knows of", date=advisories.date()))


def _weakness(version: str, each: Weakness) -> Finding:
    title = say("PgBouncer {version}: {cve}", version=version, cve=each.id)
    if each.prevented is not None:
        return Finding(each.id, title, "pass", say("not here, for {why} ({consequence})", why=each.prevented, consequence=each.consequence))
    fixed = ".".join(map(str, each.fixed))
    fix = say("install PgBouncer {fixed} or later; until then open the pooler's port to known networks alone (--allow)", fixed=fixed)
    return Finding(each.id, title, "warn", each.consequence, fix)


# --- what versions lack -------------------------------------------------------------------------------------------------------------


def _lacking(found: Condition) -> Iterator[Finding]:
    for major, server in found.servers.items():
        if lacks := lacking("postgresql", server):
            yield _lacks(f"postgresql-{major}-features", say("PostgreSQL {version} lacks", version=server.version or major), lacks)
    if found.pooler is not None and (lacks := lacking("pgbouncer", found.pooler)):
        yield _lacks("pgbouncer-features", say("PgBouncer {version} lacks", version=found.pooler.version), lacks)


def _lacks(name: str, title: Phrase, lacks: Sequence[Phrase]) -> Finding:
    return Finding(name, title, "pass", say("{features}", features=_and(lacks)))


# --- the machine --------------------------------------------------------------------------------------------------------------------


def _rights(found: Condition) -> Finding:
    title = say("rights")
    if not found.root:
        can = say("sudo is there") if found.sudo else say("there is no sudo")
        return Finding("rights", title, "pass", say("an ordinary user: PostgreSQL and PgBouncer run as this user, too; {sudo}", sudo=can))
    if not found.server_user:
        fix = say("sudo apt-get install postgresql, which makes it")
        return Finding("rights", title, "fail", say("root, but there is no system user postgres for the servers to run as"), fix)
    return Finding("rights", title, "pass", say("root: PostgreSQL and PgBouncer run under system users of their own"))


def _python(found: Condition) -> Finding:
    title = say("Python")
    if isinstance(found.keeper_python, Phrase):
        return Finding("python", title, "fail", found.keeper_python, say("sudo apt-get install python3-minimal"))
    return Finding("python", title, "pass", say("{version}; for the keeper {path}", version=found.python, path=found.keeper_python))


def _kernel(kernel: Kernel) -> Finding:
    title = say("kernel")
    if not kernel.pidfd:
        fix = say("use Linux 5.3 or later")
        return Finding("kernel", title, "fail", say("{release} has no pidfd, by which ends are waited for", release=kernel.release), fix)
    if not kernel.steering:
        evidence = say(
            "{release} does not steer SO_REUSEPORT groups: a planned change of the pooler may reset logins", release=kernel.release
        )
        return Finding("kernel", title, "warn", evidence, say("use Linux 4.5 or later, outside of a sandbox that forbids it"))
    return Finding("kernel", title, "pass", say("{release}: pidfd, steered SO_REUSEPORT groups", release=kernel.release))


def _files(found: Condition) -> Finding:
    title, limit = say("open files"), found.open_files
    fix = say("raise it: ulimit -Hn 65536, or LimitNOFILE= of the unit")
    if limit < 1024:
        return Finding("open-files", title, "fail", say("a process may open {limit}", limit=limit), fix)
    if limit < 4096:
        return Finding("open-files", title, "warn", say("a process may open {limit}: max_client_conn stays small", limit=limit), fix)
    return Finding(
        "open-files", title, "pass", say("a process may open {limit}: max_client_conn up to {clients}", limit=limit, clients=found.clients)
    )


def _queues(found: Condition) -> Finding:
    title = say("queues of new connections")
    evidence = say(
        "net.core.somaxconn {most}, net.ipv4.tcp_max_syn_backlog {half}: listen_backlog up to {most}",
        most=found.backlog,
        half=found.half_open,
    )
    if found.backlog < _BUSY_QUEUE or 0 < found.half_open < _BUSY_QUEUE:
        fix = say(
            "for storms of logins: sysctl -w net.core.somaxconn=4096 net.ipv4.tcp_max_syn_backlog=4096, and a line each in /etc/sysctl.d"
        )
        return Finding("queues", title, "warn", evidence, fix)
    return Finding("queues", title, "pass", evidence)


def _memory(found: Condition) -> Finding:
    title = say("memory")
    evidence = say("{available} MiB of {total} MiB available", available=found.available_mib, total=found.memory_mib)
    if found.available_mib < 256:
        return Finding("memory", title, "warn", evidence, say("free memory, or create instances with --size tiny"))
    return Finding("memory", title, "pass", evidence)


def _space(found: Condition) -> Finding:
    return _room("disk", say("disk"), found.space, found.home)


def _room(name: str, title: Phrase, space: Space, place: Phrase | str) -> Finding:
    shares = [space.free / space.total if space.total else 0.0]
    if space.total_files:
        shares.append(space.free_files / space.total_files)
    evidence = say(
        "{free} MiB of {total} MiB free below {home}, {files} % of its inodes",
        free=space.free // _MIB,
        total=space.total // _MIB,
        home=place,
        files=round(100 * shares[-1]) if space.total_files else 100,
    )
    if space.read_only:
        told = say("the file system below {home} is mounted read-only", home=place)
        return Finding(name, title, "fail", told, say("mount it for writing: until then instances can be looked at, and not changed"))
    if min(shares) < _ALMOST_NONE:
        return Finding(name, title, "fail", evidence, say("free space now: PostgreSQL stops when it cannot write its WAL"))
    if min(shares) < SCARCE:
        return Finding(name, title, "warn", evidence, say("free space, or move HOWDAH_HOME to a larger disk"))
    return Finding(name, title, "pass", evidence)


def _socket_path(found: Condition) -> Finding:
    title = say("length of the home's path")
    evidence = say("a unix socket in it has {length} bytes of {limit}", length=found.socket_bytes, limit=LONGEST_SOCKET)
    if found.socket_bytes > LONGEST_SOCKET:
        longest = LONGEST_SOCKET - found.socket_bytes + len(found.home.encode())
        return Finding("socket-path", title, "fail", evidence, say("set HOWDAH_HOME to a path of at most {limit} bytes", limit=longest))
    return Finding("socket-path", title, "pass", evidence)


def _loopback(found: Condition) -> Finding:
    evidence = say("::1 is there") if found.loopback_v6 else say("there is no ::1: instances listen on 127.0.0.1 alone")
    return Finding("loopback-v6", say("IPv6 on this machine"), "pass", evidence)


def _port(number: int, holder: str | None) -> Finding:
    title = say("port {port}", port=number)
    if holder is None:
        return Finding(f"port-{number}", title, "pass", say("free"))
    return Finding(f"port-{number}", title, "pass", say("held by {holder}: a new instance takes the next free one", holder=holder))


def _clock(found: Condition) -> Finding:
    title = say("clock")
    said = datetime.fromtimestamp(found.now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if found.now < day(advisories.date()):
        evidence = say("it says {now}, which is before this Howdah was made", now=said)
        return Finding("clock", title, "fail", evidence, say("set the clock: certificates made now would not be valid elsewhere"))
    return Finding("clock", title, "pass", say("it says {now}", now=said))


def _unattended(found: Condition) -> Finding:
    title = say("while nobody types")
    if found.renews:
        return Finding("unattended", title, "pass", say("something renews certificates and starts instances after a reboot"))
    evidence = say("nothing starts instances after a reboot, and certificates are renewed only by commands that touch their instance")
    fix = say("howdah service install") if found.boots else say("let cron run howdah repair --all @reboot and @daily")
    return Finding("unattended", title, "warn", evidence, fix)


def _logout(found: Condition) -> Iterator[Finding]:
    if found.lingering is None:
        return
    title = say("logging out")
    if not found.logout_harms:
        evidence = (
            say("this user lingers: servers keep their shared memory") if found.lingering else say("servers keep their shared memory")
        )
        yield Finding("logout", title, "pass", evidence)
        return
    evidence = say("systemd may remove the shared memory of your servers when you log out (RemoveIPC)")
    yield Finding("logout", title, "warn", evidence, say("howdah service install, or: loginctl enable-linger"))


def _authority(found: Condition) -> Iterator[Finding]:
    if found.authority is None:
        return
    title, told, days = say("authority"), stands(found.authority), int((found.authority.not_after - found.now) // DAY)
    evidence = say("good for {days} days; {told}", days=days, told=told)
    if found.authority.cut_off:
        yield Finding("authority", title, "warn", evidence, say("howdah repair --all"))
    elif found.authority.phase != "settled":
        yield Finding("authority", title, "warn", evidence, say("howdah ca show tells the next turn"))
    elif days < LONGEST_DAYS:
        yield Finding("authority", title, "warn", evidence, say("howdah ca rotate makes a successor; then every client needs the new file"))
    else:
        yield Finding("authority", title, "pass", evidence)


# --- each instance ------------------------------------------------------------------------------------------------------------------


def _instance(each: Doctored) -> Iterator[Finding]:
    yield _certificates(each)
    for old in each.older:
        title, cure = say("{name}: {program}", name=each.name, program=old.title), say("{command}", command=old.cure(each.name))
        yield Finding(f"{each.name}-{old.name}-older", title, "warn", old.words, cure)
    if each.quick.draining:
        title = say("{name}: older poolers", name=each.name)
        evidence = say("{count} serve on, for sessions that have not left since a change", count=each.quick.draining)
        yield Finding(f"{each.name}-draining", title, "warn", evidence, say("howdah pooler drain {name}", name=each.name))
    if each.space is not None:
        yield _room(f"{each.name}-disk", say("{name}: disk", name=each.name), each.space, say("the data"))


def _certificates(each: Doctored) -> Finding:
    name, title = f"{each.name}-certificates", say("{name}: certificates as served", name=each.name)
    days = {hop: left for hop, left in each.quick.days_left.items() if left is not None}
    if not days:
        return Finding(name, title, "skip", say("nothing serves TLS now"))
    listed = ", ".join(f"{hop} {left:.0f}" for hop, left in days.items())
    evidence, fix = say("days left: {listed}", listed=listed), say("howdah repair {name}", name=each.name)
    if min(days.values()) < _VERY_FEW_DAYS:
        return Finding(name, title, "fail", evidence, fix)
    return Finding(
        name, title, "warn" if min(days.values()) < _FEW_DAYS else "pass", evidence, fix if min(days.values()) < _FEW_DAYS else None
    )
