"""The decisions of the single engine, one trigger at a time: a world as wanted, one thing changed in it, and the steps that follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.core.miniature import FACTS, FIXED, HOME, Miniature

from howdah.core import files as texts
from howdah.core.instance import LOOKUP_ROLE, PROBE_ROLE, Database, Instance, Reach, User
from howdah.core.layout import Layout
from howdah.core.observed import DatabaseSeen, Disk, Facts, FileSeen, Generation, Inside, Looks, Observed, Pair, Role, Server, Session
from howdah.core.plan import next_steps
from howdah.core.rotation import Authority, Bundle, Phase
from howdah.core.steps import EndPlaintext, InstallLookup, RemoveLookup, RetirePooler, StartPooler, Step, WriteServerFiles
from howdah.engines import single
from howdah.errors import Failed
from howdah.secret import Secret

POOLER = {"pool_mode": "transaction", "max_client_conn": "1000", "listen_port": "6432"}
WANT = Instance(
    "abcd1234",
    "shop",
    15,
    5432,
    extensions={"pooler": POOLER, "pg_stat_statements": {}},
    databases=(Database("orders", "app"),),
    users=(User("app", Secret("SCRAM-SHA-256$4096:x"), ("orders",)),),
    settled=True,
)
BARE = replace(WANT, extensions={}, databases=(), users=())
OFF = replace(WANT, parameters={"ssl": "off"})
PLAIN = Session("direct", "app", "orders", "psql", "10.0.0.9", "77")
POOLED = replace(PLAIN, hop="pooled")


@dataclass(frozen=True)
class World:
    """What is wanted beside what is there."""

    want: Instance
    facts: Facts
    disk: Disk
    server: Server
    inside: Mapping[str, Inside]
    pooler: tuple[Generation, ...]
    wire: Mapping[Any, Any]

    @property
    def seen(self) -> Observed:
        looks = Looks(lambda: self.disk, lambda: self.server, lambda: self.inside, lambda: self.pooler, self.wire.get)
        return Observed(self.facts, Layout(HOME, self.want.id), looks)

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(next_steps(single.ENGINE.concerns[self.want.state], self.want, self.seen))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(type(step).__name__ for step in self.steps)

    def on_disk(self, **changes: Any) -> World:
        return replace(self, disk=replace(self.disk, **changes))

    def on_server(self, **changes: Any) -> World:
        return replace(self, server=replace(self.server, **changes))

    def newest(self, **changes: Any) -> World:
        return replace(self, pooler=(*self.pooler[:-1], replace(self.pooler[-1], **changes)))

    def older(self, **changes: Any) -> World:
        """Put a generation that still serves clients before the newest."""
        old = replace(self.pooler[-1], number=self.pooler[-1].number - 1, identity="old", clients=(POOLED,))
        return replace(self, pooler=(replace(old, **changes), *self.pooler))

    def told(self, hop: str, **changes: Any) -> World:
        return replace(self, wire={**self.wire, hop: replace(self.wire[hop], **changes)})


def satisfied(want: Instance = WANT, facts: Facts = FACTS) -> World:
    """Return a world in which `want` has come true."""
    host = Miniature(facts)
    first = replace(want, settled=False, state="running")
    for _ in range(40):
        steps = next_steps(single.ENGINE.concerns["running"], first, host.observe(first))
        for step in steps:
            step.apply(host)
        if not steps:
            break
    seen = host.observe(first)
    return World(want, facts, seen.disk, seen.server, seen.inside, seen.pooler, seen.wire)


def version(*number: int) -> Facts:
    return replace(FACTS, pooler_version=number)


# ── nothing to do ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

WORLDS = {
    "pooler and statistics": WANT,
    "bare": BARE,
    "TLS off": OFF,
    "all addresses": replace(WANT, direct=Reach(("0.0.0.0", "::1"), ("db.example.org",), ("10.0.0.0/8",))),
    "a user without a database": replace(WANT, users=(*WANT.users, User("ann", Secret("y")))),
    "an IPv6 pooler": replace(WANT, pooled=Reach(("::1",))),
    "parameters set": replace(WANT, parameters={"datestyle": "ISO, DMY", "timezone": "Europe/Berlin", "work_mem": "4096kB"}),
}


@pytest.mark.parametrize("number", [(1, 18), (1, 21), (1, 26)])
@pytest.mark.parametrize("major", [13, 15, 17, 18])
@pytest.mark.parametrize("name", WORLDS)
def test_a_satisfied_world_plans_nothing(name: str, major: int, number: tuple[int, ...]) -> None:
    assert satisfied(replace(WORLDS[name], version=major), version(*number)).steps == ()


def test_what_is_decided_never_depends_on_the_name() -> None:
    assert replace(satisfied(), want=replace(WANT, name="other")).steps == ()


# ── each concern's trigger ───────────────────────────────────────────────────────────────────────────────────────────────────────────

Twist = Callable[[World], World]


def pair_twist(**changes: Any) -> Twist:
    def twist(world: World) -> World:
        newest, *rest = world.disk.pairs["direct"]
        return world.on_disk(pairs={**world.disk.pairs, "direct": (replace(newest, **changes), *rest)})

    return twist


def file_twist(name: str, **changes: Any) -> Twist:
    return lambda w: w.on_disk(files={**w.disk.files, name: replace(w.disk.files[name], **changes)})


def setting(name: str, value: str) -> Twist:
    return lambda w: w.on_server(settings={**w.server.settings, name: value})


def role(name: str, **changes: Any) -> Twist:
    return lambda w: w.on_server(roles={**w.server.roles, name: replace(w.server.roles[name], **changes)})


def no_role(name: str) -> Twist:
    return lambda w: w.on_server(roles={key: value for key, value in w.server.roles.items() if key != name})


def in_database(name: str, **changes: Any) -> Twist:
    return lambda w: replace(w, inside={**w.inside, name: replace(w.inside[name], **changes)})


def database(name: str, **changes: Any) -> Twist:
    return lambda w: w.on_server(databases={**w.server.databases, name: replace(w.server.databases[name], **changes)})


def wanted(**changes: Any) -> Twist:
    return lambda w: replace(w, want=replace(w.want, **changes))


STALE_KEY = FACTS.now - 250 * 86_400.0


def bundle(world: World, phase: Phase = "settled", days: float = 3000, other_days: float = 3000) -> Bundle:
    """An authority with so many days left, and another where the phase has one."""
    ends = [world.facts.now + left * 86_400 for left in (days, other_days)]
    one, other = (Authority("", str(ends.index(end)), 0.0, end) for end in ends)
    return Bundle(Path("/srv/howdah/ca/ca.crt"), one, other if phase != "settled" else None, phase)


TRIGGERS: dict[str, tuple[Twist, tuple[str, ...]]] = {
    # a create that was killed before it settled
    "no data directory yet": (lambda w: wanted(settled=False)(w).on_disk(data="absent"), ("TakeData",)),
    "taken back from the trash": (lambda w: w.on_disk(data="absent", trashed=True), ("TakeFromTrash",)),
    "no certificate": (lambda w: w.on_disk(pairs={"pooled": w.disk.pairs["pooled"]}), ("IssueCertificate",)),
    "no certificate at all": (lambda w: w.on_disk(pairs={}), ("IssueCertificate", "IssueCertificate")),
    "the authority's last years": (lambda w: w.on_disk(authority=bundle(w, days=700)), ("TurnAuthority",)),
    "the authority's last days": (lambda w: w.on_disk(authority=bundle(w, "announced", days=29)), ("TurnAuthority",)),
    "a predecessor that expired": (lambda w: w.on_disk(authority=bundle(w, "switched", other_days=-1)), ("TurnAuthority",)),
    "a turn that was killed": (lambda w: w.on_disk(authority=replace(bundle(w), cut_off=True)), ("TurnAuthority",)),
    "the successor issues": (
        lambda w: w.on_disk(pairs={hop: tuple(replace(each, current=False) for each in pairs) for hop, pairs in w.disk.pairs.items()}),
        ("IssueCertificate", "IssueCertificate"),
    ),
    "another certificate was asked for": (lambda w: wanted(renewed=(w.disk.pairs["pooled"][0].serial,))(w), ("IssueCertificate",)),
    "a name more": (wanted(direct=Reach(hostnames=("db.example.org",))), ("IssueCertificate",)),
    "another CA's certificate": (pair_twist(trusted=False), ("IssueCertificate",)),
    "two thirds of its life gone": (pair_twist(not_before=STALE_KEY, not_after=STALE_KEY + 365 * 86_400.0), ("IssueCertificate",)),
    "a life longer than others allow": (
        pair_twist(not_before=FACTS.now - 60, not_after=FACTS.now + 397 * 86_400.0),
        ("IssueCertificate",),
    ),
    "a certificate made for a timer that is gone": (
        pair_twist(not_before=FACTS.now - 60, not_after=FACTS.now + 60 * 86_400.0),
        ("IssueCertificate",),
    ),
    "a certificate from the future": (pair_twist(not_before=FACTS.now + 60), ("IssueCertificate",)),
    "an edited file": (file_twist("pg_hba.conf", digest="0" * 12), ("WriteServerFiles",)),
    "a file written while the clock was ahead": (file_twist("pg_hba.conf", ctime=FACTS.now + 3600), ("WriteServerFiles",)),
    "a file that others may read": (file_twist("postgresql.conf", mode=0o644), ("WriteServerFiles",)),
    "a stranger's file": (file_twist("pg_ident.conf", owner="ann"), ("WriteServerFiles",)),
    "a file that is gone": (
        lambda w: w.on_disk(files={k: v for k, v in w.disk.files.items() if k != "postgresql.auto.conf"}),
        ("WriteServerFiles",),
    ),
    "a wanted parameter": (wanted(parameters={"work_mem": "9MB"}), ("WriteServerFiles",)),
    "TLS off": (wanted(parameters={"ssl": "off"}), ("WriteServerFiles",)),
    "a crashed server": (lambda w: w.on_server(state="absent"), ("StartServer",)),
    "a server that starts": (lambda w: w.on_server(state="starting"), ("StartServer",)),
    "a deaf server": (lambda w: w.on_server(state="unreachable"), ("RestartServer",)),
    "an old digest": (lambda w: w.on_server(digest="0" * 12), ("ReloadServer",)),
    "a file touched after the load": (lambda w: w.on_server(loaded_at=0.5), ("ReloadServer",)),
    "a file in error": (lambda w: w.on_server(errors=("line 3: nonsense",)), ("ReloadServer",)),
    "another value": (setting("work_mem", "1234"), ("ReloadServer",)),
    "a value not reported": (
        lambda w: w.on_server(settings={k: v for k, v in w.server.settings.items() if k != "timezone"}),
        ("ReloadServer",),
    ),
    "plaintext let in": (lambda w: w.told("direct", plaintext_refused=False), ("ReloadServer",)),
    "an old certificate served": (lambda w: w.told("direct", serial="older"), ("ReloadServer",)),
    "a port that does not answer": (lambda w: w.told("direct", answers=False), ("ReloadServer",)),
    "a restart-only value": (setting("max_connections", "40"), ("RestartServer",)),
    "what left the file and needs a restart": (lambda w: w.on_server(pending=frozenset({"wal_level"})), ("RestartServer",)),
    "a restart asked for": (lambda w: wanted(restart_of=w.server.identity)(w), ("RestartServer",)),
    "an address not listened on": (lambda w: w.on_server(listens=frozenset()), ("RestartServer",)),
    "the probe's role gone": (no_role(PROBE_ROLE), ("SetServiceRoles",)),
    "the probe left open": (role(PROBE_ROLE, login=True), ("SetServiceRoles",)),
    "the lookup raised": (role(LOOKUP_ROLE, superuser=True), ("SetServiceRoles",)),
    "the lookup cannot log in": (role(LOOKUP_ROLE, login=False), ("SetServiceRoles",)),
    "a user gone": (no_role("app"), ("SetUser",)),
    "another password": (role("app", mark="0" * 12), ("SetUser",)),
    "a user of old": (lambda w: w.on_server(roles={**w.server.roles, "ann": Role(True, mark="x")}), ("DropUser",)),
    "a database half made": (database("orders", made=False), ("CreateDatabase",)),
    "another owner": (database("orders", owner="postgres"), ("CreateDatabase",)),
    "a database wanted": (wanted(databases=(*WANT.databases, Database("more"))), ("CreateDatabase",)),
    "a database of old": (
        lambda w: w.on_server(databases={**w.server.databases, "old": DatabaseSeen("postgres", made=True)}),
        ("DropDatabase",),
    ),
    "a database of old, and no access to another": (
        lambda w: database("orders", public=True)(
            w.on_server(databases={**w.server.databases, "old": DatabaseSeen("postgres", made=True)}),
        ),
        ("DropDatabase",),
    ),
    "no access": (database("orders", access=frozenset()), ("SetAccess",)),
    "open to everybody": (database("orders", public=True), ("SetAccess",)),
    "a database that lets nobody in": (in_database("orders", closed=True, lookup_right=False), ("EnterDatabase",)),
    "a database closed by its owner": (database("orders", connectable=False), ("CreateDatabase",)),
    "a lookup altered": (in_database("postgres", lookup_right=False), ("InstallLookup",)),
    "a lookup that may not connect": (in_database("postgres", lookup_connect=False), ("InstallLookup",)),
    "a server and a pooler that are made": (
        lambda w: replace(wanted(settled=False)(w).on_server(state="absent"), pooler=()),
        ("BeginPooler", "StartServer"),
    ),
    "a server that served, and no pooler": (lambda w: replace(w.on_server(state="absent"), pooler=()), ("StartServer",)),
    "a first pooler that is begun": (lambda w: wanted(settled=False)(w).newest(proven=False), ("StartPooler",)),
    "no pooler yet": (lambda w: replace(w, pooler=()), ("StartPooler",)),
    "a killed pooler": (lambda w: w.newest(alive=False), ("StartPooler",)),
    "a killed keeper": (lambda w: w.newest(keeper=False), ("StartPooler",)),
    "a deaf pooler": (lambda w: w.newest(reachable=False), ("StartPooler",)),
    "an upgraded PgBouncer": (lambda w: replace(w, facts=version(1, 26)), ("StartPooler",)),
    "an update of PgBouncer's libraries": (lambda w: w.newest(replaced=("libssl.so.3",)), ("StartPooler",)),
    "another pooled port": (wanted(extensions={"pooler": {**POOLER, "listen_port": "6543"}, "pg_stat_statements": {}}), ("StartPooler",)),
    "another pool size": (wanted(extensions={"pooler": {**POOLER, "default_pool_size": "7"}, "pg_stat_statements": {}}), ("ChangePooler",)),
    "another pool mode": (wanted(extensions={"pooler": {**POOLER, "pool_mode": "statement"}, "pg_stat_statements": {}}), ("StartPooler",)),
    "a pooler's file edited": (
        lambda w: w.newest(files={**w.pooler[-1].files, "pgbouncer.ini": FileSeen("0" * 12, 0o600, "pgbouncer", 1.0)}),
        ("ChangePooler",),
    ),
    "a file not loaded": (lambda w: w.newest(loaded="0" * 12), ("ReloadPooler",)),
    "a setting changed at the console": (lambda w: w.newest(config={**w.pooler[-1].config, "query_timeout": "9"}), ("ReloadPooler",)),
    "plaintext let in by the pooler": (lambda w: w.told("pooled", plaintext_refused=False), ("ReloadPooler",)),
    "an old certificate served by the pooler": (lambda w: w.told("pooled", serial="older"), ("ReloadPooler",)),
    "an empty older generation": (lambda w: w.older(clients=()), ("RetirePooler",)),
    "a dead older generation": (lambda w: w.older(alive=False, clients=()), ("RetirePooler",)),
    "a pooler whose place has changed": (lambda w: w.older().newest(steered=False), ("SteerPooler",)),
    "a paused database": (lambda w: w.newest(halted=("orders",)), ("ResumePooler",)),
    "statistics not created": (in_database("orders", extensions=frozenset()), ("CreateExtension",)),
    "nobody sweeps the logs": (lambda w: w.on_server(swept=False), ("SweepLogs",)),
    "the pooler's logs have another limit": (lambda w: w.newest(bounded=False), ("SweepLogs",)),
    "no pooler wanted": (wanted(extensions={"pg_stat_statements": {}}), ("RetirePooler",)),
    "keys of a pooler not wanted": (
        lambda w: replace(wanted(extensions={"pg_stat_statements": {}})(w), pooler=()),
        ("RemovePooler",),
    ),
}


@pytest.fixture(scope="module")
def world() -> World:
    return satisfied()


@pytest.mark.parametrize("name", TRIGGERS)
def test_each_trigger_plans_its_step(world: World, name: str) -> None:
    twist, expected = TRIGGERS[name]
    assert twist(world).names == expected


def test_a_short_life_is_right_where_a_timer_renews(world: World) -> None:
    short = TRIGGERS["a certificate made for a timer that is gone"][0](world)
    assert replace(short, facts=replace(short.facts, renews=True)).names == ()


@pytest.mark.parametrize(("phase", "days"), [("settled", 740), ("announced", 31), ("switched", 1)])
def test_an_authority_with_time_left_is_turned_by_people_alone(world: World, phase: Phase, days: float) -> None:
    assert world.on_disk(authority=bundle(world, phase, days)).steps == ()


def test_every_concern_of_a_running_instance_has_a_trigger(world: World) -> None:
    """A concern that no row of the table reaches would be untested; those about plaintext have tests of their own below."""
    reached = set()
    for twist, _ in TRIGGERS.values():
        seen = twist(world)
        reached.add(next(c.__name__ for c in single.ENGINE.concerns["running"] if c(seen.want, seen.seen)))
    assert {c.__name__ for c in single.ENGINE.concerns["running"]} - reached == {"plaintext_ended", "pooler_plaintext_ended"}


@pytest.mark.parametrize("name", TRIGGERS)
def test_every_step_says_why_in_words_that_can_be_translated(world: World, name: str) -> None:
    twist, _ = TRIGGERS[name]
    for step in twist(world).steps:
        assert str(step.why) and "{" not in str(step.why)


# ── data ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_data_directory_gone_after_it_served_is_a_loss(world: World) -> None:
    lost = world.on_disk(data="absent").on_server(state="absent")
    with pytest.raises(Failed) as failed:
        _ = lost.steps
    assert failed.value.code == "data_missing" and "shop" in str(failed.value.message)


def test_roles_and_databases_that_people_made_are_left_alone(world: World) -> None:
    theirs = world.on_server(
        roles={**world.server.roles, "ann": Role(True, superuser=True)},
        databases={**world.server.databases, "theirs": DatabaseSeen("ann", made=False)},
    )
    assert theirs.steps == ()


# ── restarts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_restart_that_was_asked_to_wait_waits(world: World) -> None:
    waiting = wanted(deferred=("max_connections",))(setting("max_connections", "40")(world))
    assert waiting.steps == ()
    assert waiting.on_server(pending=frozenset({"max_connections"})).steps == ()
    assert waiting.on_server(pending=frozenset({"max_connections", "wal_level"})).names == ("RestartServer",)


def test_a_deferred_address_waits_too(world: World) -> None:
    deaf = world.on_server(listens=frozenset())
    assert wanted(deferred=("listen_addresses",))(deaf).steps == ()


def test_a_restart_once_made_is_not_made_again(world: World) -> None:
    assert wanted(restart_of="another postmaster")(world).steps == ()
    assert wanted(restart_of="none")(world).steps == ()


def test_what_a_library_brings_waits_for_the_start_that_loads_it(world: World) -> None:
    brought = {name for name in world.server.settings if name.startswith("pg_stat_statements.")}
    assert brought == {"pg_stat_statements.max", "pg_stat_statements.track", "pg_stat_statements.track_utility"}
    bare = {name: value for name, value in world.server.settings.items() if name not in brought}
    added = world.on_server(settings={**bare, "shared_preload_libraries": ""})
    [step] = added.steps  # and no reload that could never be enough
    assert type(step).__name__ == "RestartServer" and "pg_stat_statements.track" in str(step.why)
    loaded = setting("pg_stat_statements.track", "none")(world)
    assert loaded.names == ("ReloadServer",)  # once the library is there, a reload brings it


def test_a_reload_comes_before_the_restart(world: World) -> None:
    both = setting("work_mem", "1234")(setting("max_connections", "40")(world))
    assert both.names == ("ReloadServer",)


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_with_tls_off_a_server_that_still_speaks_it_is_reloaded() -> None:
    off = satisfied(OFF)
    assert off.told("direct", serial="direct0").names == ("ReloadServer",)
    assert off.told("pooled", serial="pooled0").names == ("ReloadPooler",)
    assert off.on_server(plaintext=(PLAIN,)).steps == ()


def test_sessions_in_plaintext_are_ended_only_with_consent(world: World) -> None:
    open_still = world.on_server(plaintext=(PLAIN,))
    assert open_still.steps == ()
    [step] = wanted(end_plaintext=True)(open_still).steps
    assert isinstance(step, EndPlaintext) and step.hop == "direct"


def test_pooled_plaintext_is_ended_one_by_one_where_pgbouncer_can(world: World) -> None:
    consented = wanted(end_plaintext=True)(world.newest(plaintext=(POOLED,)))
    [step] = consented.steps
    assert isinstance(step, EndPlaintext) and step.hop == "pooled"
    assert wanted(end_plaintext=False)(consented).steps == ()


@pytest.mark.parametrize("number", [(1, 18), (1, 23)])
def test_pooled_plaintext_is_ended_by_a_new_generation_where_it_cannot(number: tuple[int, ...]) -> None:
    consented = wanted(end_plaintext=True)(satisfied(facts=version(*number)).newest(plaintext=(POOLED,), clients=(POOLED,)))
    [step] = consented.steps
    assert isinstance(step, StartPooler) and step.number == 2
    taken_over = replace(consented, pooler=(consented.pooler[0], replace(consented.pooler[0], number=2, plaintext=(), clients=())))
    [retire] = taken_over.steps
    assert isinstance(retire, RetirePooler) and retire.number == 1


def test_pooled_plaintext_is_not_ended_before_tls_is_required(world: World) -> None:
    early = wanted(end_plaintext=True)(
        world.newest(plaintext=(POOLED,), config={**world.pooler[-1].config, "client_tls_sslmode": "disable"})
    )
    assert early.names == ("ReloadPooler",)


# ── the pooler ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_older_generation_stays_while_it_has_clients(world: World) -> None:
    assert world.older().steps == ()
    drained = world.older(clients=())
    [step] = drained.steps
    assert isinstance(step, RetirePooler) and step.number == 0 and step.leaving == "empty"


def test_while_two_generations_serve_the_wire_is_not_asked(world: World) -> None:
    """Which of the two answers a stranger is not known, so an old certificate proves nothing."""
    assert world.older().told("pooled", serial="older").steps == ()


def test_what_a_running_pgbouncer_cannot_change_takes_a_new_generation(world: World) -> None:
    moved = wanted(pooled=Reach(("127.0.0.1", "::1")))(world)
    [step] = moved.steps
    assert isinstance(step, StartPooler) and step.number == 2 and "listen_addr" in str(step.why)
    assert "listen_addr" in FIXED


@pytest.mark.parametrize(("number", "places"), [((1, 18), ("orders", "postgres", "template1")), ((1, 19), ("postgres",))])
def test_the_lookup_stands_where_this_pgbouncer_looks(number: tuple[int, ...], places: tuple[str, ...]) -> None:
    there = satisfied(facts=version(*number))
    assert tuple(sorted(name for name, inside in there.inside.items() if inside.lookup)) == places
    gone = replace(there, inside={name: replace(each, lookup=False, lookup_right=False) for name, each in there.inside.items()})
    assert tuple(name for step in gone.steps if isinstance(step, InstallLookup) for name in step.databases) == places


def test_without_a_pooler_the_lookup_goes_and_then_its_role(world: World) -> None:
    without = replace(wanted(extensions={"pg_stat_statements": {}})(world), pooler=())
    without = without.on_disk(pooler=False, pairs={"direct": world.disk.pairs["direct"]})
    ident = texts.server_files(without.want, without.seen.layout, without.disk.pairs["direct"][0], FACTS)
    [step] = without.steps
    assert isinstance(step, WriteServerFiles) and {f.name for f in step.files} == {f.name for f in ident}
    loaded = replace(without, disk=satisfied(without.want).disk, server=replace(satisfied(without.want).server, roles=world.server.roles))
    [remove] = loaded.steps
    assert isinstance(remove, RemoveLookup) and remove.databases == ("postgres",)
    removed = in_database("postgres", lookup=False)(loaded)
    assert removed.names == ("SetServiceRoles",)
    assert no_role(LOOKUP_ROLE)(removed).steps == ()


def test_a_sql_extension_nobody_wants_is_dropped_everywhere(world: World) -> None:
    fewer = replace(satisfied(replace(WANT, extensions={"pooler": POOLER})), inside=world.inside)
    assert fewer.names == ("DropExtension", "DropExtension")
    assert {getattr(step, "database", "") for step in fewer.steps} == {"orders", "postgres"}  # template1 never had it


# ── the other lives ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stopped_life_ends_pooler_then_server_and_keeps_everything_else(world: World) -> None:
    stopped = wanted(state="stopped")(world.older())
    assert stopped.names == ("RetirePooler", "RetirePooler")
    assert all(isinstance(step, RetirePooler) and step.leaving == "now" for step in stopped.steps)
    stopped = replace(stopped, pooler=())
    assert stopped.names == ("StopServer",)
    assert stopped.on_server(state="unreachable").names == ("StopServer",)
    assert stopped.on_server(state="absent").steps == ()
    assert stopped.on_server(state="absent").on_disk(data="absent").steps == ()  # what is stopped is not looked for


def test_a_deleted_life_ends_in_the_trash(world: World) -> None:
    deleted = wanted(state="deleted")(world)
    assert deleted.names == ("RetirePooler",)
    deleted = replace(deleted, pooler=())
    assert deleted.names == ("StopServer",)
    deleted = deleted.on_server(state="absent")
    assert deleted.names == ("MoveToTrash",)
    assert deleted.on_disk(data="absent").names == ("MoveToTrash",)  # keys may still lie there
    assert deleted.on_disk(data="absent", present=False).steps == ()


def test_a_pair_is_judged_by_the_names_it_bears(world: World) -> None:
    pair = world.disk.pairs["direct"][0]
    assert pair.names >= {"localhost", "127.0.0.1", "::1"}
    every = wanted(direct=Reach(("0.0.0.0",)))(replace(world, facts=replace(FACTS, addresses=("192.0.2.7",), hostname="db7")))
    assert every.names == ("IssueCertificate",)
    known = Pair("new", pair.names | {"192.0.2.7", "db7"}, pair.not_before, pair.not_after, trusted=True)
    assert every.on_disk(pairs={**world.disk.pairs, "direct": (known, pair)}).names == ("WriteServerFiles",)


def test_a_pooler_that_was_begun_is_proven_in_its_place_before_anybody_was_told_of_it(world: World) -> None:
    unproven = world.newest(proven=False)
    [new] = wanted(settled=False)(unproven).steps
    [another] = unproven.steps
    number = unproven.pooler[-1].number
    assert isinstance(new, StartPooler) and isinstance(another, StartPooler)
    assert (new.number, another.number) == (number, number + 1), "one that may have clients is never stopped to be tried"
