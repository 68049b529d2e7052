"""Whoever pauses the pooler may die in the middle of it: the guard that was left first lets the clients go on, without any command."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import Any

import psycopg
import pytest
from tests.conftest import processes_below
from tests.real.instances import Connection, Place, Waiting, asks, in_child, place, prove, scalar
from tests.real.servers import poolers, version_of

from howdah import compose
from howdah.errors import Failed
from howdah.host import admin, guard, installed, pause, pgbouncer, postgres, process
from howdah.host.process import wait_until

KILLED = -signal.SIGKILL
PLENTY = 20  # seconds; a client that nobody lets go on would wait for query_wait_timeout, 120


@pytest.fixture(scope="module", params=poolers(), ids=version_of)
def here(request: pytest.FixtureRequest) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOWDAH_PGBOUNCER", str(request.param.path))
        with place() as made:
            made.create("shop")
            yield made


@pytest.fixture
def sharing(here: Place) -> Place:
    """The instance with a pooler in transaction mode: its clients outlive a restart."""
    here.pool({"pool_mode": "transaction"})
    return here


class Asking:
    """A connected client whose query begins now, and ends when it is let."""

    def __init__(self, session: Connection) -> None:
        self._answer: Future[Any] = Future()
        self._thread = Thread(target=self._ask, args=(session,), daemon=True)
        self._thread.start()

    def _ask(self, session: Connection) -> None:
        try:
            self._answer.set_result(scalar(session, "SELECT 'served'"))
        except psycopg.Error as error:
            self._answer.set_exception(error)

    def answer(self) -> Any:
        return self._answer.result(PLENTY)

    @property
    def waits(self) -> bool:
        return not self._answer.done()


def paused(here: Place) -> bool:
    return pgbouncer.look(here.directory()).paused


def guards(here: Place) -> list[int]:
    return [pid for pid, line in processes_below(here.home).items() if "guard.py" in line]


def restart_that_meets(here: Place, owner: Any, name: str, fate: Callable[[], None], **constants: Any) -> bool:
    """Restart in a child that meets its fate where it would call `owner.name`, held clients behind it; tell whether it was killed."""

    def act() -> None:
        real = getattr(owner, name)

        def fatal(*args: Any, **kwargs: Any) -> Any:
            if paused(here):
                fate()
            return real(*args, **kwargs)

        setattr(owner, name, fatal)
        for constant, value in constants.items():
            setattr(pause, constant, value)
        compose.service(here.home).restart("shop", asks("restart"))

    return in_child(act, die=KILLED)


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def halts() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_restart_leaves_no_guard(sharing: Place) -> None:
    with sharing.login() as session:
        sharing.service.restart("shop", asks("restart"))
        assert scalar(session, "SELECT 1") == 1
    assert guards(sharing) == []
    assert not paused(sharing)
    prove(sharing)


def test_who_dies_before_the_stop_lets_clients_go_on(sharing: Place) -> None:
    with sharing.login() as session:
        before = sharing.postmaster()
        assert restart_that_meets(sharing, postgres, "stop", dies)
        assert Asking(session).answer() == "served"
        assert wait_until(lambda: not paused(sharing), PLENTY)
        assert sharing.postmaster() == before
    assert wait_until(lambda: not guards(sharing), PLENTY), "it has ended, its work done"
    sharing.repair()
    prove(sharing)
    assert sharing.postmaster() != before, "the restart that was asked for is still made"


def test_who_dies_after_the_start_lets_clients_go_on(sharing: Place) -> None:
    with sharing.login() as session:
        before = sharing.postmaster()
        assert restart_that_meets(sharing, admin, "resume", dies)
        assert Asking(session).answer() == "served"
        assert sharing.postmaster() not in (0, before)
    assert wait_until(lambda: not guards(sharing), PLENTY)
    assert sharing.repair() == ()
    prove(sharing)


def test_who_dies_between_holds_nobody_and_the_next_pass_starts_the_server(sharing: Place) -> None:
    """Nobody starts PostgreSQL then: who comes waits for a server, not for a RESUME, and is served after the next pass."""
    assert restart_that_meets(sharing, postgres, "start", dies)
    assert wait_until(lambda: not paused(sharing), PLENTY)
    assert sharing.postmaster() == 0
    waiting = Waiting(sharing)
    sharing.repair()
    waiting.close()
    prove(sharing)


def test_in_session_mode_too(here: Place) -> None:
    here.pool({"pool_mode": "session"})
    with here.login() as linked:
        assert scalar(linked, "SELECT 1") == 1, "it keeps its server connection, so that the PAUSE is never answered"
        assert restart_that_meets(here, postgres, "stop", dies)
        here.login().close()
        assert scalar(linked, "SELECT 2") == 2
    here.repair()
    prove(here)


def test_who_stands_still_holds_clients_until_the_deadline(sharing: Place) -> None:
    with sharing.login() as session:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if not restart_that_meets(sharing, postgres, "stop", halts, LONGEST_HOLD_SECONDS=2.0) else 2
            finally:
                os._exit(code)
        assert wait_until(lambda: paused(sharing), PLENTY)
        asking = Asking(session)
        assert asking.answer() == "served"
        assert not paused(sharing)
        [halted] = [each for each in children(pid) if process.halted(each)]
        os.kill(halted, signal.SIGCONT)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "it goes on and is done"
    assert guards(sharing) == []
    sharing.repair()
    prove(sharing)


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nothing_is_paused_without_a_guard(sharing: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "interpreter", lambda account: Path("/bin/false"))
    with pytest.raises(Failed) as caught, pause.held([sharing.directory()], seconds=5):
        raise AssertionError("held without a guard")
    assert caught.value.code == "no_guard"
    assert not paused(sharing)
    assert guards(sharing) == []


def test_a_guard_asks_until_a_pgbouncer_that_stands_still_answers(sharing: Place) -> None:
    _, member = sharing.members()
    with sharing.login() as session:

        def halts_and_dies() -> None:
            process.send(member, signal.SIGSTOP)
            dies()

        assert restart_that_meets(sharing, postgres, "stop", halts_and_dies)
        asking = Asking(session)
        assert guards(sharing) != []
        assert asking.waits
        process.send(member, signal.SIGCONT)
        assert asking.answer() == "served"
    assert wait_until(lambda: not guards(sharing), PLENTY)
    sharing.repair()
    prove(sharing)


def test_it_imports_nothing_heavy() -> None:
    names = {"os", "select", "socket", "struct", "sys", "time", "annotations", "__future__"}
    lines = [line.split() for line in Path(guard.__file__).read_text().splitlines() if line.startswith(("import ", "from "))]
    assert {line[1] for line in lines} <= names
