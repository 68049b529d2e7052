"""Howdah dies, with kill -9's suddenness, after each single step of every change; the next pass converges, both hops are proven, and the
pass after that plans nothing. Each change is made there and back, so that no step is only ever seen in one direction.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.real.instances import DATABASE, PASSWORD, USER, Place, Voice, in_child, place, prove, served_by, stock, strays
from tests.real.servers import free_port

from howdah import compose
from howdah.core.host import Host
from howdah.core.wishes import Creation
from howdah.errors import Conflict, NotFound
from howdah.host import console, files, process, session, sessions
from howdah.secret import Secret
from howdah.service.caller import Caller
from howdah.service.rounds import LOOP
from howdah.service.verbs import Service
from howdah.store import file as store_file

DEATH = 9
STEPS = {name for name in vars(Host) if not name.startswith("_")} - {"facts", "observe", "at_work", "feel"}
Verb = Callable[[Service], object]


class Dying:
    """A machine on which this process dies: right after its n-th step, or with none allowed before its first."""

    def __init__(self, host: Any, steps: int) -> None:
        self._host, self._left = host, steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._host, name)
        return self._step(found) if name in STEPS else found

    def _step(self, act: Callable[..., None]) -> Callable[..., None]:
        def step(*args: Any, **kwargs: Any) -> None:
            if self._left == 0:
                os._exit(DEATH)
            act(*args, **kwargs)
            self._left -= 1
            if self._left == 0:
                os._exit(DEATH)

        return step


def dies(here: Place, verb: Verb, steps: int) -> bool:
    """Run a verb in a child that dies after so many steps; False when the verb was done before."""

    def act() -> None:
        service = compose.service(here.home)
        verb(served_by(service, Dying(here.host, steps)))

    return in_child(act)


# what leaves a trace outside this process: files, processes, statements, console commands
EFFECTS = [
    (files, "put"),
    (files, "scratch"),
    (files, "remove"),
    (files, "unlink"),
    (files, "make_directory"),
    (Path, "rename"),
    (process, "spawn"),
    (process, "send"),
    (session.Session, "_ask"),
    (console.Console, "ask"),
    (console.Console, "begin"),
]


READS = re.compile(rb"(?s)(?:Q.{4}|P.{4}\0)\s*(?:SELECT|DISCARD ALL)\b(?!.*(?:pg_reload_conf|pg_terminate_backend))")


def only_reads(asked: object) -> bool:
    """Whether these are the words of a query that changes nothing: to die after it is to die after what came before."""
    return asked.startswith("SHOW ") if isinstance(asked, str) else isinstance(asked, bytes) and READS.match(asked) is not None


def dies_inside(here: Place, verb: Verb, effects: int) -> bool:
    """Run a verb in a child that dies after so many effects, wherever within a step that is; False when the verb was done before."""
    left = itertools.count(effects - 1, -1)

    def lethal(effect: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **kwargs: Any) -> Any:
            done = effect(*args, **kwargs)
            if not any(map(only_reads, args)) and next(left) == 0:
                os._exit(DEATH)
            return done

        return act

    def act() -> None:
        service = compose.service(here.home)
        for owner, name in EFFECTS:
            setattr(owner, name, lethal(getattr(owner, name)))
        verb(served_by(service, here.host))

    return in_child(act)


def asks(verb: str) -> Any:
    return Voice().caller(verb)


@dataclass(frozen=True)
class Change:
    """A change there and back; `alike`: both ways take the same steps, and one of them is enough at each."""

    there: Verb
    back: Verb
    alike: bool = False

    def at(self, steps: int) -> tuple[Verb, ...]:
        """Return what to try with a crash after so many steps; the first time, both."""
        both = (self.there, self.back)
        return (both[(steps + 1) % 2],) if self.alike and steps else both


PORTS = [str(free_port()) for _ in range(2)]
CHANGES = {
    "a parameter by reload": Change(
        lambda s: s.set_parameters("shop", {"work_mem": "5MB"}, [], asks("set")),
        lambda s: s.set_parameters("shop", {}, ["work_mem"], asks("unset")),
    ),
    "a parameter by restart": Change(
        lambda s: s.set_parameters("shop", {"max_prepared_transactions": "5"}, [], asks("set")),
        lambda s: s.set_parameters("shop", {}, ["max_prepared_transactions"], asks("unset")),
    ),
    "ssl": Change(
        lambda s: s.set_parameters("shop", {"ssl": "off"}, [], asks("set")),
        lambda s: s.set_parameters("shop", {"ssl": "on"}, [], asks("set")),
    ),
    "the pooler": Change(
        lambda s: s.remove_extension("shop", "pooler", asks("remove")),
        lambda s: s.add_extension("shop", "pooler", {"listen_port": PORTS[0]}, asks("add")),
    ),
    "a pooler setting by reload": Change(
        lambda s: s.set_extension("shop", "pooler", {"max_client_conn": "90"}, asks("set")),
        lambda s: s.set_extension("shop", "pooler", {"max_client_conn": "80"}, asks("set")),
    ),
    "a pooler setting by takeover": Change(
        lambda s: s.set_extension("shop", "pooler", {"listen_port": PORTS[1]}, asks("set")),
        lambda s: s.set_extension("shop", "pooler", {"listen_port": PORTS[0]}, asks("set")),
        alike=True,
    ),
    "an extension": Change(
        lambda s: s.add_extension("shop", "pg_stat_statements", {}, asks("add")),
        lambda s: s.remove_extension("shop", "pg_stat_statements", asks("remove")),
    ),
    "the endpoints": Change(
        lambda s: s.set_reach("shop", ["direct", "pooled"], ["127.0.0.2"], ["db.example.org"], ["10.0.0.0/8"], asks("endpoints")),
        lambda s: s.set_reach("shop", ["direct", "pooled"], ["127.0.0.1"], ["db.example.net"], ["10.1.0.0/16"], asks("endpoints")),
        alike=True,
    ),
    "users": Change(
        lambda s: s.add_user("shop", "two", [DATABASE], Secret("x y z"), asks("users add")),
        lambda s: s.delete_user("shop", "two", asks("users delete")),
    ),
    "databases": Change(
        lambda s: s.add_database("shop", "second", USER, None, asks("databases add")),
        lambda s: s.delete_database("shop", "second", asks("databases delete")),
    ),
    "a restart": Change(lambda s: s.restart("shop", asks("restart")), lambda s: s.restart("shop", asks("restart")), alike=True),
    "a stop": Change(lambda s: s.stop("shop", asks("stop")), lambda s: s.start("shop", asks("start"))),
}


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        made.create("shop")
        yield made


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_survives_a_crash_after_each_step(here: Place, change: Change) -> None:
    for steps in itertools.count():
        died = [_survives(here, verb, steps) for verb in change.at(steps)]
        if not any(died):
            assert steps > 1, "the change takes no step at all"
            return


def _survives(here: Place, verb: Verb, steps: int) -> bool:
    died = dies(here, verb, steps)
    here.repair()
    if here.want().state == "running":
        prove(here)
    else:
        assert here.repair() == ()
    return died


@pytest.mark.long
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_survives_a_crash_inside_its_steps(here: Place, change: Change) -> None:
    """At a fifth of what it changes, and another fifth on the way back, unless both ways are alike."""
    for effects in itertools.count(1, 5):
        died = []
        for offset, verb in enumerate(change.at(effects // 5)):
            died.append(dies_inside(here, verb, effects + offset))
            here.repair()
            with suppress(Conflict, NotFound):  # it may have died before its wish was written down
                verb(here.service)
            if here.want().state == "running":
                prove(here)
        if not any(died):
            assert effects > 5
            return


REQUESTS: list[tuple[str, Callable[[Service, str, Caller], object]]] = [
    ("databases add", lambda s, name, caller: s.add_database("shop", name, None, None, caller)),
    ("params set", lambda s, name, caller: s.set_parameters("shop", {"work_mem": f"{int(name[1:]) + 5}MB"}, [], caller)),
    ("repair", lambda s, name, caller: s.repair_later("shop", caller)),
]


def dies_at_a_write(here: Place, work: Callable[[], None], writes: int, *, after: bool) -> bool:
    """Do something in a child that is killed right before or after its n-th write into the store; False when it made fewer."""
    left, whole = itertools.count(writes, -1), store_file.File.writing

    @contextmanager
    def lethal(self: store_file.File, *, durable: bool = True) -> Iterator[None]:
        number = next(left)
        with whole(self, durable=durable):
            yield
            if number == 0 and not after:
                os._exit(DEATH)  # all is written, and nothing of it committed
        if number == 0 and after:
            os._exit(DEATH)

    def act() -> None:
        store_file.File.writing = lethal  # type: ignore[method-assign]
        work()

    return in_child(act)


@pytest.mark.parametrize(
    ("verb", "request_"), [pytest.param(*each, marks=pytest.mark.long) if each[0] == "params set" else each for each in REQUESTS]
)
def test_what_was_accepted_is_done_once_wherever_the_loop_dies(
    here: Place, tmp_path: Path, verb: str, request_: Callable[[Service, str, Caller], object]
) -> None:
    instance_id, numbers = here.want().id, itertools.count()
    for writes in itertools.count():
        died = []
        for after in (False, True):
            name, answered = f"w{next(numbers)}", tmp_path / f"{writes}-{after}"
            before = here.service.store.operations(instance_id, 1000)

            def work(name: str = name, answered: Path = answered) -> None:
                service = compose.serving(here.home, lambda: None)
                request_(service, name, Voice().caller(f"{verb} {name}", wait=False))
                answered.touch()  # the browser has its answer
                service.attend(instance_id, LOOP)

            died.append(dies_at_a_write(here, work, writes, after=after))
            compose.service(here.home).attend(instance_id, LOOP)  # as the next `serve` begins
            told = [each for each in here.service.store.operations(instance_id, 1000) if each not in before]
            asked = [each for each in told if each.asked.get("request") == f"{verb} {name}"]
            assert [(each.verb, each.outcome) for each in asked] == [(verb, "done")] or (not asked and not answered.exists())
            assert told == asked, "nothing was put right besides: what was asked for is told by its own operation"
            assert compose.service(here.home).attend(instance_id, LOOP).operation is None, "it is not done twice"
            if verb == "databases add":
                assert [row[0] for row in here.control("SELECT datname FROM pg_database")].count(name) == len(asked)
        if not any(died):
            assert writes > 4
            break
    prove(here)


def test_create_survives_a_crash_after_each_step() -> None:
    with place() as here:
        for steps in itertools.count():
            stock(here.home)
            ports = [free_port(), free_port()]
            request = Creation("shop", port=ports[0], extensions={"pooler": {"listen_port": str(ports[1])}}, database=DATABASE, user=USER)

            def create(service: Service, request: Creation = request) -> None:
                service.create(request, asks("create"), Secret(PASSWORD))

            died = dies(here, create, steps)
            if steps % 2:
                create(here.service)
            else:
                here.repair()
            prove(here)
            here.delete()
            assert not list((here.home / "instances").iterdir())
            if not died:
                assert steps > 8
                return


@pytest.mark.parametrize("made", ["with its instance", "later"])
def test_a_first_pooler_that_was_started_but_not_proven_is_proven_or_replaced(monkeypatch: pytest.MonkeyPatch, made: str) -> None:
    """Its start is its own trial: who dies before the login leaves one that looks right in every other way."""

    def die(*_: object, **__: object) -> None:
        raise Unproven

    with place() as here:
        if made == "later":
            here.create(extensions={})
        with monkeypatch.context() as patched:
            patched.setattr(sessions, "try_login", die)
            with pytest.raises(Unproven):
                if made == "later":
                    here.service.add_extension("shop", "pooler", {"listen_port": str(free_port())}, asks("add"))
                else:
                    here.create()
        left = here.newest()
        assert (left.alive, left.keeper, left.reachable, left.proven) == (True, True, True, False)
        here.repair()
        # In an instance that serves, whatever its state, nothing is stopped that may have clients
        assert (here.newest().number, here.newest().proven) == (left.number + (made == "later"), True)
        prove(here)
        assert strays(here) == {}


class Unproven(BaseException):
    """The end of a process in the middle of a proof."""


def test_delete_survives_a_crash_after_each_step() -> None:
    with place() as here:
        for steps in itertools.count():
            stock(here.home)
            here.create("shop", database=None, user=None)
            layout = here.layout()
            died = dies(here, lambda s: s.delete("shop", asks("delete")), steps)
            if died:
                here.service.repair("shop", asks("repair"))
            assert not layout.root.exists()
            assert here.service.all() == []
            assert [entry.instance.name for entry in here.service.trash()][:1] == ["shop"]
            if not died:
                assert steps > 1
                return
