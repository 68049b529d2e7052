"""The loop over a machine in memory: it converges, stops, withdraws, and goes on where a killed one left off."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from tests.core.miniature import FACTS, Killed, Miniature

from howdah.core import wishes
from howdah.core.host import Refused
from howdah.core.instance import Database, Instance, User
from howdah.core.observed import Observed, Part
from howdah.core.operation import Line, Operation, Outcome
from howdah.engines import single
from howdah.errors import Conflict, Failed, Invalid, Lacking, NotFound, Refusal, Unavailable, Unsupported
from howdah.phrase import say
from howdah.reconciler import Reconciler
from howdah.secret import Secret
from howdah.store.sqlite import SqliteStore

POOLER = {"pool_mode": "transaction", "max_client_conn": "1000", "listen_port": "6432"}
WANT = Instance(
    "abcd1234",
    "shop",
    15,
    5432,
    extensions={"pooler": POOLER, "pg_stat_statements": {"pg_stat_statements.max": "1000"}},
    databases=(Database("orders", "app"),),
    users=(User("app", Secret("SCRAM-SHA-256$4096:x"), ("orders",)),),
)


@pytest.fixture
def store() -> Iterator[SqliteStore]:
    with SqliteStore(":memory:") as opened:
        yield opened


def wish(store: SqliteStore, host: Miniature, want: Instance) -> Operation:
    """Accept a wish and make it come true."""
    return go_on(store, host, store.accept(want, "test", "tests", {}))


def go_on(store: SqliteStore, host: Miniature, operation: Operation) -> Operation:
    return Reconciler(store, host, {"single": single.ENGINE}).converge(operation, lambda step: None)


def again(store: SqliteStore, host: Miniature) -> Operation:
    return go_on(store, host, store.note(store.find_id(WANT.id), "repair", "tests", {}))


def served(store: SqliteStore) -> Miniature:
    """Return a machine on which the instance has come true."""
    host = Miniature()
    wish(store, host, WANT)
    return host


# ── converging ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_instance_comes_true_step_by_step(store: SqliteStore) -> None:
    host = Miniature()
    finished = wish(store, host, WANT)
    assert finished.outcome == "done" and not finished.error
    story = [line.step for line in finished.story]
    assert story == [
        *(
            "TakeData",
            "IssueCertificate",
            "IssueCertificate",
            "WriteServerFiles",
            "BeginPooler",
            "StartServer",
            "SetServiceRoles",
            "SetUser",
        ),
        *("CreateDatabase", "SetAccess", "InstallLookup", "StartPooler", "CreateExtension", "CreateExtension"),
    ]
    assert store.last(WANT.id) == finished
    assert store.find("shop").settled and store.converged_generation(WANT.id) == 1


def test_a_second_pass_plans_nothing(store: SqliteStore) -> None:
    host = served(store)
    assert again(store, host).story == ()


CHANGES: dict[str, Callable[[Instance], Instance]] = {
    "a parameter by reload": lambda w: wishes.with_parameters(w, {"work_mem": "9MB"}, (), FACTS, restart=True)[0],
    "a parameter by restart": lambda w: wishes.with_parameters(w, {"max_connections": "90"}, (), FACTS, restart=True)[0],
    "a parameter that waits": lambda w: wishes.with_parameters(w, {"max_connections": "90"}, (), FACTS, restart=False)[0],
    "TLS off": lambda w: wishes.with_parameters(w, {"ssl": "off"}, (), FACTS, restart=True)[0],
    "no pooler": lambda w: wishes.without_extension(w, "pooler"),
    "no statistics": lambda w: wishes.without_extension(w, "pg_stat_statements"),
    "another pooled port": lambda w: wishes.with_extension_settings(w, "pooler", {"listen_port": "6543"}, FACTS)[0],
    "another pool": lambda w: wishes.with_extension_settings(w, "pooler", {"default_pool_size": "7"}, FACTS)[0],
    "all interfaces": lambda w: wishes.with_reach(w, ("direct", "pooled"), ("0.0.0.0",), ("db.example.org",), ("10.0.0.0/8",))[0],
    "a further user and database": lambda w: wishes.with_database(
        wishes.with_user(w, "ann", Secret("SCRAM-SHA-256$4096:y"), (), shown_once=True), "more", "ann", None
    ),
    "a database less": lambda w: wishes.without_database(w, "orders"),
    "another password": lambda w: wishes.with_password(w, "app", Secret("SCRAM-SHA-256$4096:z"), shown_once=True),
    "a right taken": lambda w: replace(w, users=(replace(w.users[0], databases=()),)),
    "stopped": lambda w: w.next(state="stopped"),
    "deleted": lambda w: w.next(state="deleted"),
}


class Suspicious(Miniature):
    """A machine that looks again at what a step said it does not touch, and compares."""

    def observe(self, want: Instance) -> Observed:
        seen = super().observe(want)
        keeping = seen.keeping

        def kept(earlier: Observed, parts: frozenset[Part]) -> Observed:
            for part in parts & earlier.__dict__.keys():
                now, then = getattr(super(Suspicious, self).observe(want), part), getattr(earlier, part)
                if part == "server" and "people" not in parts:
                    now = replace(now, roles=then.roles, databases=then.databases)
                assert now == then, part
            return keeping(earlier, parts)

        seen.keeping = kept  # type: ignore[method-assign]
        return seen


@pytest.mark.parametrize("name", CHANGES)
def test_a_step_touches_nothing_that_it_does_not_name(store: SqliteStore, name: str) -> None:
    host = Suspicious()
    wish(store, host, WANT)
    wish(store, host, replace(CHANGES[name](store.find_id(WANT.id)), generation=2))
    assert again(store, host).story == ()


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_comes_true_and_plans_nothing_after(store: SqliteStore, name: str) -> None:
    host = served(store)
    after = replace(CHANGES[name](store.find_id(WANT.id)), generation=2)
    finished = wish(store, host, after)
    assert finished.outcome == "done" and finished.story
    assert again(store, host).story == ()
    assert store.converged_generation(WANT.id) == 2


@pytest.mark.parametrize("name", CHANGES)
def test_killed_after_any_step_the_next_pass_finishes(store: SqliteStore, name: str) -> None:
    host = served(store)
    after = replace(CHANGES[name](store.find_id(WANT.id)), generation=2)
    operation = store.accept(after, "test", "tests", {})
    before, kills = len(host.done), 0
    while True:
        host.dies_after = before + kills
        try:
            go_on(store, host, operation)
        except Killed:
            kills += 1
            assert kills < 30
            operation = store.note(store.find_id(WANT.id), "repair", "tests", {})
            continue
        break
    assert kills > 0
    assert again(store, host).story == ()
    assert {each.outcome for each in store.operations(WANT.id, 100)} == {"done"}


def test_after_each_kill_the_pass_that_finishes_adopts_the_interrupted_operation(store: SqliteStore) -> None:
    host = Miniature(dies_after=5)
    with pytest.raises(Killed):
        wish(store, host, WANT)
    killed = store.last(WANT.id)
    assert killed is not None and killed.outcome == "running" and len(killed.story) == 5
    host.dies_after = None
    finisher = again(store, host)
    adopted = store.operations(WANT.id)[1]
    assert (adopted.id, adopted.outcome, adopted.error["code"]) == (killed.id, "done", "adopted")
    assert str(finisher.id) in adopted.error["message"]
    assert len(adopted.story) == 5


def test_what_was_for_one_pass_only_is_forgotten_with_it(store: SqliteStore) -> None:
    host = served(store)
    assert host.server is not None
    asked = store.find_id(WANT.id).next(restart_of=host.server.identity, end_plaintext=True)
    assert [line.step for line in wish(store, host, asked).story] == ["RestartServer"]
    standing = store.find_id(WANT.id)
    assert standing == replace(asked, restart_of="", end_plaintext=False)


def says(words: str, kind: type[Refusal] = Refused) -> Refusal:
    return kind("refused", say("PostgreSQL says: {words}", words=words))


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Refused, Conflict, Invalid, Unsupported])
def test_a_refused_wish_is_withdrawn_and_the_words_and_the_story_are_kept(store: SqliteStore, kind: type[Refusal]) -> None:
    host = served(store)
    host.refuses["9MB"] = says("invalid value", kind)
    current = store.find_id(WANT.id)
    bad, _ = wishes.with_parameters(current, {"work_mem": "9MB"}, (), FACTS, restart=True)
    host.server = None  # so that something is done before the refusal, and after it
    with pytest.raises(kind) as refused:
        wish(store, host, bad)
    assert "invalid value" in str(refused.value.message)
    back = store.find_id(WANT.id)
    assert back == replace(current, generation=3) and store.converged_generation(WANT.id) == 3
    told = store.last(WANT.id)
    assert told is not None and told.outcome == "withdrawn" and told.generation == 2
    assert told.error["code"] == "refused" and told.error["message"] == "PostgreSQL says: invalid value"
    assert [line.step for line in told.story] == ["StartServer"]  # what was put right for the wish that came back
    assert again(store, host).story == ()


def test_a_refused_create_leaves_no_record_and_nothing_on_the_machine(store: SqliteStore) -> None:
    host = Miniature(refuses={"orders": says("invalid name")})
    with pytest.raises(Refused):
        wish(store, host, WANT)
    with pytest.raises(NotFound):
        store.find_id(WANT.id)
    assert not (host.data or host.server or host.pairs or host.generations)
    told = store.last(WANT.id)
    assert told is not None and told.outcome == "withdrawn"
    assert [line.step for line in told.story][-2:] == ["StopServer", "MoveToTrash"]


def test_a_wish_that_held_before_stays_wanted_when_it_is_refused_later(store: SqliteStore) -> None:
    host = served(store)
    host.refuses["shared_buffers"] = says("not on this machine any more")
    host.files.clear()
    with pytest.raises(Refused):
        again(store, host)
    assert store.find_id(WANT.id).generation == 1
    told = store.last(WANT.id)
    assert told is not None and (told.outcome, told.error["code"]) == ("failed", "refused")


@pytest.mark.parametrize("kind", [Failed, Unavailable])
def test_what_only_failed_stays_wanted_and_is_tried_again(store: SqliteStore, kind: type[Refusal]) -> None:
    host = served(store)
    host.refuses["9MB"] = says("no space left on device", kind)
    later, _ = wishes.with_parameters(store.find_id(WANT.id), {"work_mem": "9MB"}, (), FACTS, restart=True)
    with pytest.raises(kind):
        wish(store, host, later)
    told = store.last(WANT.id)
    assert told is not None and told.outcome == "failed" and store.find_id(WANT.id) == later
    host.refuses.clear()
    assert [line.step for line in again(store, host).story] == ["WriteServerFiles", "ReloadServer"]


class Full(SqliteStore):
    """A store that has no room for what was done; `rooms` further lines it still takes."""

    rooms = 99

    def tell(self, operation: Operation, line: Line) -> Operation:
        self.rooms -= 1
        if self.rooms < 0:
            raise Unavailable("store_unavailable", say("cannot use the store: database or disk is full"), say("make room there"))
        return super().tell(operation, line)

    def finish(self, operation: Operation, outcome: Outcome, error: Mapping[str, Any] | None = None) -> Operation:
        if self.rooms < 0:
            raise Unavailable("store_unavailable", say("cannot use the store for this either"))
        return super().finish(operation, outcome, error)


def test_a_store_that_cannot_be_written_is_no_part_that_an_owner_puts_right() -> None:
    """Whatever step it is that cannot be told of: the pass ends with the store's own words, and the next one finishes."""
    for rooms in range(13):  # as many steps as a new instance takes
        store = Full(":memory:")
        with store:
            host, store.rooms = Miniature(), rooms
            with pytest.raises(Unavailable, match="database or disk is full"):
                wish(store, host, WANT)
            assert len(host.done) == rooms + 1
            store.rooms = 99
            assert again(store, host).outcome == "done"
            assert {each.outcome for each in store.operations(WANT.id)} == {"done"}


def test_what_the_machine_lacks_stops_the_pass_even_where_one_part_needs_it(store: SqliteStore) -> None:
    host = Miniature(refuses={"listen_port": Lacking("machine_failed", say("cannot write it: no space left on device"), say("make room"))})
    with pytest.raises(Lacking, match="no space left") as caught:
        wish(store, host, WANT)
    assert str(caught.value.hint) == "make room"
    assert host.done[-1] == "start_pooler"
    assert store.find_id(WANT.id) == WANT, "it stays wanted"
    host.refuses.clear()
    assert again(store, host).outcome == "done"


def test_a_part_that_fails_is_told_with_its_own_cure(store: SqliteStore) -> None:
    host = served(store)
    refusal = Failed("keeper_dead", say("cannot take logins over"), say("see its log"))
    host.refuses["listen_port"] = refusal
    host.generations.clear()
    with pytest.raises(Failed, match=r"all is done but this \(1\): cannot take logins over") as caught:
        again(store, host)
    assert caught.value.hint == refusal.hint


def test_a_fallback_that_is_killed_leaves_its_words_in_the_operation(store: SqliteStore) -> None:
    host = served(store)
    host.refuses["9MB"] = says("invalid value")
    bad, _ = wishes.with_parameters(store.find_id(WANT.id), {"work_mem": "9MB"}, (), FACTS, restart=True)
    host.server, host.dies_after = None, len(host.done) + 1
    with pytest.raises(Killed):
        wish(store, host, bad)
    assert "work_mem" not in store.find_id(WANT.id).parameters
    told = store.last(WANT.id)
    assert told is not None and told.outcome == "withdrawn" and "invalid value" in told.error["message"]
    host.dies_after = None
    assert [line.step for line in again(store, host).story] == ["StartServer"]


def test_what_would_harm_clients_now_is_left_to_a_later_pass(store: SqliteStore) -> None:
    host = served(store)
    host.vain = {"retire_pooler"}
    moved, _ = wishes.with_extension_settings(store.find_id(WANT.id), "pooler", {"listen_port": "6543"}, FACTS)
    assert [line.step for line in wish(store, host, moved).story] == ["StartPooler"]
    assert (host.done.count("retire_pooler"), len(host.generations)) == (1, 2)
    host.vain.clear()
    assert [line.step for line in again(store, host).story] == ["RetirePooler"]


def test_what_its_own_steps_do_not_satisfy_is_given_up_after_three_tries(store: SqliteStore) -> None:
    host = Miniature(vain={"set_user"})
    with pytest.raises(Failed) as failed:
        wish(store, host, WANT)
    assert failed.value.code == "does_not_converge" and not isinstance(failed.value, Refused)
    assert "app has not got its password yet" in str(failed.value.message)
    assert host.done.count("set_user") == 3
    told = store.last(WANT.id)
    assert told is not None and (told.outcome, told.error["code"]) == ("failed", "does_not_converge")
    assert store.find_id(WANT.id) == WANT and store.converged_generation(WANT.id) == 0
    host.vain.clear()
    assert again(store, host).outcome == "done"


def test_a_data_directory_that_is_gone_is_never_made_anew(store: SqliteStore) -> None:
    host = served(store)
    host.data, host.server, done = False, None, len(host.done)
    with pytest.raises(Failed) as failed:
        again(store, host)
    assert failed.value.code == "data_missing" and len(host.done) == done
