"""The loop, kept running: what is killed comes back, what was accepted is done once, however it ends and however many of it there are."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.real.instances import Place, Voice, kill, known, place, prove
from tests.real.served import ADMIN, PASSWORD, Browser, Served, begin, serving, wait

from howdah.certificate import read_pem
from howdah.errors import Conflict
from howdah.host import pki, process, spares


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    """A home with the instance `shop`, which several of these tests serve one after another."""
    with place() as made:
        made.create("shop")
        yield made


def answers(here: Place) -> bool:
    with suppress(psycopg.OperationalError):
        return bool(here.ask("SELECT 1") == 1)
    return False


def idle(here: Place) -> bool:
    """Whether nobody is at work, and the newest operation is over."""
    last = here.service.store.last(here.want().id)
    return here.service.holder(here.want().id) is None and last is not None and last.outcome not in ("waiting", "running")


def repairs(here: Place) -> int:
    return sum(each.verb == "repair" for each in here.service.store.operations(here.want().id, 1000))


def test_what_is_killed_comes_back_and_sigterm_leaves_it_running(here: Place) -> None:
    with serving(here.home) as served:
        before, began = here.postmaster(), time.monotonic()
        kill(known(before))
        wait(lambda: answers(here) and here.postmaster() != before, 60, served.said)
        print(f"\na killed postmaster served pooled queries again after {time.monotonic() - began:.2f} s", end=" ")
        wait(lambda: idle(here))
        for member in here.members():  # the keeper and its PgBouncer, at once
            process.send(member, signal.SIGKILL)
        wait(lambda: answers(here) and idle(here) and None not in here.members(), 60, served.said)
        (here.layout().data / "postgresql.conf").unlink()
        wait(lambda: (here.layout().data / "postgresql.conf").exists() and idle(here), 60, served.said)
        pids = {here.postmaster(), *(each.pid for each in here.members())}
        assert served.end() == 0
    assert pids == {here.postmaster(), *(each.pid for each in here.members())}
    assert answers(here)
    with serving(here.home):  # picks all of it up, and finds nothing to do
        count = repairs(here)
        wait(lambda: here.service.holder(here.want().id) is None)
    assert repairs(here) == count
    prove(here)


@pytest.mark.long
def test_a_stopped_process_is_seen_without_a_connection(here: Place) -> None:
    with serving(here.home) as served:
        wait(lambda: "all is as wanted" in served.said(), 60, served.said)
        before = here.postmaster()
        process.send(known(before), signal.SIGSTOP)
        wait(lambda: answers(here) and here.postmaster() != before, 90, served.said)
    prove(here)


def test_the_command_line_works_beside_it_and_without_it(here: Place) -> None:
    def howdah(*words: str) -> str:
        environment = {**os.environ, "HOWDAH_HOME": str(here.home), "HOWDAH_LANG": "en"}
        done = subprocess.run([sys.executable, "-m", "howdah", *words], capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with serving(here.home) as served:
        assert "work_mem" in howdah("params", "set", "shop", "work_mem=12MB")
        howdah("params", "set", "shop", "work_mem=14MB", "--no-wait")
        wait(lambda: here.ask("SHOW work_mem", "direct") == "14MB", 60, served.said)
        howdah("stop", "shop", "--yes")
        wait(lambda: idle(here))
        time.sleep(2)  # two rounds: what is wanted stopped stays stopped
        assert not answers(here)
        howdah("start", "shop")
        assert answers(here)
        howdah("service", "down", "--yes")
        time.sleep(2)  # what a shutdown ends is not started again by the loop that is about to end, too
        assert not answers(here)
        wait(lambda: idle(here))
    with serving(here.home) as served:
        wait(lambda: answers(here), 60, served.said)
    howdah("params", "unset", "shop", "work_mem")
    prove(here)


@pytest.mark.long
def test_kill_9_loses_no_accepted_request_and_doubles_none() -> None:
    with place() as here:
        here.create("shop")
        moments = random.Random(7)
        served = begin(here.home)
        accepted = []
        try:
            for number in range(6):
                served.await_health()
                voice = Voice().caller(f"databases add d{number}", wait=False, patience=20.0)
                done = here.service.add_database("shop", f"d{number}", None, None, voice)
                assert done.operation is not None
                accepted.append(done.operation.id)
                wake(served)
                time.sleep(moments.uniform(0.0, 0.5))
                served.end(signal.SIGKILL)
                served = begin(here.home, served.port)
            served.await_health()
            wait(lambda: all(each.outcome == "done" for each in here.service.store.operations(here.want().id, 1000)), 90, served.said)
        finally:
            served.end()
        told = [each for each in here.service.store.operations(here.want().id, 1000) if each.verb == "databases add"]
        assert sorted(each.id for each in told) == accepted
        assert all(each.story for each in told), "each was done under the operation that asked for it"
        names = {row[0] for row in here.control("SELECT datname FROM pg_database WHERE NOT datistemplate")}
        assert {f"d{number}" for number in range(6)} <= names
        assert here.want().generation == 1 + len(accepted)
        prove(here)


def wake(served: Served) -> None:
    """Nothing wakes the loop from outside: it sees within a second that somebody has written into the store."""
    assert served.process.poll() is None


@pytest.mark.long
def test_two_of_them_share_a_store(here: Place) -> None:
    with serving(here.home) as one, serving(here.home) as other:
        for _ in range(2):
            wait(lambda: idle(here))
            count, before = repairs(here), here.postmaster()
            kill(known(before))
            wait(lambda before=before: answers(here) and here.postmaster() != before and idle(here), 60, lambda: one.said() + other.said())  # type: ignore[misc]
            time.sleep(2.5)  # rounds of both, and the full look that follows a change
            wait(lambda: idle(here))
            assert repairs(here) == count + 1, "one of them put it right, and the other found it so"
    prove(here)


def test_on_an_address_that_others_reach_it_speaks_tls(here: Place) -> None:
    served = begin(here.home, host="0.0.0.0")
    try:
        trusted = ssl.create_default_context(cafile=here.layout().ca_file)

        def answer() -> bytes:
            with suppress(OSError), urllib.request.urlopen(f"https://127.0.0.1:{served.port}/healthz", context=trusted, timeout=10) as told:
                return bytes(told.read())
            return b""

        wait(lambda: answer() == b"ok\n", 60, served.said)
        with suppress(OSError):
            assert Browser(served.port).ask("/healthz")[0] != 200, "it answered without TLS"
        cookie = urllib.request.Request(
            f"https://127.0.0.1:{served.port}/sign-in", f"name={ADMIN}&password={urllib.parse.quote(PASSWORD)}".encode(), method="POST"
        )
        opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusted), _Stay())
        said = opener.open(cookie, timeout=60).headers["set-cookie"]
        assert said.startswith("__Host-howdah=") and all(word in said.lower() for word in ("secure", "httponly", "samesite=lax"))
    finally:
        assert served.end() == 0


def test_a_renewed_certificate_is_presented_without_a_restart(here: Place) -> None:
    def serial(served: Served) -> str:
        with suppress(OSError):
            return read_pem(ssl.get_server_certificate(("127.0.0.1", served.port), timeout=10)).serial
        return ""

    own, given = here.home / "console", here.home / "given"
    served = begin(here.home, host="0.0.0.0")
    try:
        wait(lambda: serial(served), 60, served.said)
        first = serial(served)
        shutil.rmtree(own)  # as lost, or too old: another is issued
        served.process.send_signal(signal.SIGHUP)
        wait(lambda: serial(served) not in ("", first), 60, served.said)
    finally:
        assert served.end() == 0
    given.mkdir()

    def bring(certificate: Path, key: Path) -> None:
        for source, name in ((certificate, "console.pem"), (key, "console.key")):
            shutil.copy(source, given / f"{name}.new")
            (given / f"{name}.new").replace(given / name)

    pairs = [pki.issue(here.home, own, "console", ["127.0.0.1"], 1.0) for _ in range(2)]
    files = [(own / f"console.{pair.serial}.crt", own / f"console.{pair.serial}.key") for pair in pairs]
    bring(*files[0])
    served = begin(here.home, 0, "--certificate", str(given / "console.pem"), "--key", str(given / "console.key"))
    try:
        wait(lambda: serial(served) == pairs[0].serial, 60, served.said)
        bring(files[1][0], files[0][1])  # half a pair
        served.process.send_signal(signal.SIGHUP)
        wait(lambda: "certificate of before" in served.said(), 60, served.said)
        assert serial(served) == pairs[0].serial
        bring(*files[1])
        served.process.send_signal(signal.SIGHUP)
        wait(lambda: serial(served) == pairs[1].serial, 60, served.said)
    finally:
        assert served.end() == 0


def test_charts_go_on_after_a_restart_and_do_without_their_file(here: Place) -> None:
    def measured(served: Served) -> list[float]:
        told = served.browser().ask("/instances/shop/monitoring/samples.json")[1]
        return [float(at) for at in json.loads(told)["at"]]

    with serving(here.home) as served:
        wait(lambda: measured(served), 60, served.said)
        before = measured(served)
    with serving(here.home) as served:
        wait(lambda: {*measured(served)} > {*before[:1]}, 60, served.said)
    file = here.home / "samples.sqlite3"
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_bytes(b"no database" * 1000)
    with serving(here.home) as served:
        wait(lambda: "charts begin anew" in served.said(), 60, served.said)
        wait(lambda: measured(served), 60, served.said)
    file.unlink()


def test_the_stock_of_spares_is_filled(here: Place) -> None:
    major = here.want().version
    assert spares.wanting(here.home, major)
    with serving(here.home, HOWDAH_SPARES="1") as served:
        wait(lambda: not spares.wanting(here.home, major), 120, served.said)
        wait(lambda: not makers(here), 60, served.said)


def makers(here: Place) -> list[int]:
    """Return the processes that make spares for this home."""
    home, found = f"HOWDAH_HOME={here.home}\0".encode(), list[int]()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if "spare" in process.cmdline(int(entry.name)) and home in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


class _Stay(urllib.request.HTTPErrorProcessor):
    """Takes an answer as it is, and follows nothing."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        return response

    https_response = http_response


def test_a_port_that_is_taken_and_an_address_that_is_none_are_refused(here: Place) -> None:
    with serving(here.home) as served:
        second = begin(here.home, served.port)
        assert second.process.wait(60) == Conflict.exit_code
        assert "cannot listen on" in second.said()
