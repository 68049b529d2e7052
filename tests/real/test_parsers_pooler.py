"""Whatever is asked of the pooler reaches PgBouncer exactly, or is refused: its own SHOW CONFIG and SHOW DATABASES after a RELOAD of
the very files that Howdah writes, on the oldest and the newest PgBouncer that is here.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.hostile import examples, fair, names, texts
from tests.real.servers import free_port, new_home, poolers, server_account, version_of

from howdah.catalog.extensions import extension
from howdah.core import files as rendered
from howdah.core import wishes
from howdah.core.instance import Instance
from howdah.core.layout import Layout
from howdah.core.observed import Facts, Pair
from howdah.errors import Refusal
from howdah.host import files, installed, process, trial
from howdah.host.console import Console, console
from howdah.host.pgbouncer import show_config
from howdah.settings import home

PAIR = Pair("7f", frozenset({"localhost"}), 0.0, 1.0, trusted=True)
ACCOUNT = server_account()
ENTRY = extension("pooler")
SETTINGS = sorted(ENTRY.settings)
FRACTIONS = sorted(name for name, each in ENTRY.settings.items() if each.kind == "seconds" and not each.whole)
NUMBERS = sorted(name for name, each in ENTRY.settings.items() if each.kind in ("integer", "seconds"))
# PgBouncer's atoi() and its callers wrap these, or take what stands before the first letter
# fmt: off
WRAPPED = (

    "99999999999",
    "4294967297",
    "2147483648",
    "-1",
    "-2147483649",
    "+5",
    " 5",
    "5 ",
    "5s",
    "10k",
    "1e3",
    "0x10",
    "0777",
    "٥",
    "５",
    "1_0",
    "1.5.0",
    "",
)


@dataclass(frozen=True)
class Pooler:
    """A PgBouncer of this module's own; its files may be replaced by any others, it is asked over one console."""

    program: installed.Binary
    layout: Layout
    asked: Console
    want: Instance
    facts: Facts

    @property
    def directory(self) -> Path:
        """Where its files lie."""
        return self.layout.pool

    def reload(self, want: Instance, layout: Layout | None = None) -> dict[str, str]:
        """Put the files of a wish in place and have them loaded; return what SHOW CONFIG must say."""
        made = rendered.pooler_files(want, layout or self.layout, PAIR, self.facts)
        for each in made:
            files.put(self.directory / each.name, each.text, 0o600, ACCOUNT)
        self.asked.ask("RELOAD")
        return dict(rendered.wanted_config(made))

    def differs(self, wanted: dict[str, str]) -> dict[str, tuple[str, str | None]]:
        """Return what PgBouncer has loaded otherwise; what only a start takes is left out."""
        seen = show_config(self.asked)
        kept = {name for name, (_, changeable) in seen.items() if not changeable}
        found = {name: (value, seen[name][0] if name in seen else None) for name, value in wanted.items() if name not in kept}
        return {name: pair for name, pair in found.items() if not rendered.config_holds(name, *pair)}


@pytest.fixture(scope="module", params=dict.fromkeys((*poolers()[:1], *poolers()[-1:])), ids=version_of)
def pooler(request: pytest.FixtureRequest) -> Iterator[Pooler]:
    program: installed.Binary = request.param
    layout, port = Layout(new_home(), "x"), free_port()
    directory = layout.pool
    files.make_parents(directory)
    files.make_directory(directory, 0o700, ACCOUNT)
    start = f"[databases]\n[pgbouncer]\nunix_socket_dir = {directory}\nlisten_port = {port}\nauth_type = any\nadmin_users = pgbouncer\n"
    files.put(directory / "pgbouncer.ini", f"{start}pidfile = pid\nlogfile = log\n", 0o600, ACCOUNT)
    user = {"user": ACCOUNT.uid, "group": ACCOUNT.gid, "extra_groups": ()} if ACCOUNT is not None else {}
    running = subprocess.Popen([program.path, "-q", "pgbouncer.ini"], cwd=directory, **user)  # type: ignore[call-overload]
    path = directory / f".s.PGSQL.{port}"
    try:
        assert process.wait_until(lambda: answers(path), 30)
        with console(path, uid=ACCOUNT.uid if ACCOUNT is not None else os.geteuid(), seconds=30) as asked:
            machine: dict[str, Any] = {"server_user": "postgres", "pooler_user": "pgbouncer", "own_user": "root"}
            facts = Facts(**machine, pooler_version=program.version, cores=2, memory_mib=4096, nofile=1_048_576)
            chosen = {"pool_mode": "session", "max_client_conn": "100", "listen_port": str(port)}
            # without TLS: a certificate that is not there would keep PgBouncer from taking the rest
            want = Instance("x", "shop", 15, 5432, parameters={"ssl": "off"}, extensions={"pooler": chosen})
            yield Pooler(program, layout, asked, want, facts)
    finally:
        running.kill()
        running.wait()


def answers(path: Path) -> bool:
    """Whether somebody listens: a socket is there before that."""
    with socket.socket(socket.AF_UNIX) as knock:
        return knock.connect_ex(str(path)) == 0


def asked_of(made: Pooler, given: dict[str, str]) -> Instance | None:
    """Return the wish with settings as asked; None where it is refused."""
    try:
        return wishes.with_extension_settings(made.want, "pooler", given, made.facts)[0]
    except Refusal:
        return None


@examples(60)
@given(name=st.sampled_from(NUMBERS), text=st.integers(-(2**40), 2**40).map(str) | st.integers(0, 70_000).map(str) | texts)
@example(name="query_timeout", text="31536000")
@example(name="client_idle_timeout", text="1000001")
@example(name="max_client_conn", text="1000000")
def test_a_number_is_loaded_as_it_was_given_or_refused(pooler: Pooler, name: str, text: str) -> None:
    want = asked_of(pooler, {name: text})
    if want is None:
        return
    assert text.isascii() and (text.isdigit() or (name in FRACTIONS and text.replace(".", "", 1).isdigit()))
    wanted = pooler.reload(want)
    if name in wanted:
        assert float(wanted[name]) == float(text)
    assert pooler.differs(wanted) == {}


@pytest.mark.parametrize("text", WRAPPED)
def test_what_pgbouncer_would_wrap_or_cut_is_refused(pooler: Pooler, text: str) -> None:
    taken = [name for name in NUMBERS if asked_of(pooler, {name: text}) is not None]
    assert taken == ([] if text != "0777" else [name for name in NUMBERS if asked_of(pooler, {name: "777"}) is not None]), "no octal here"


def test_a_fraction_of_a_second_is_loaded_and_no_other_fraction_is_taken(pooler: Pooler) -> None:
    wants = {name: want for name in NUMBERS if (want := asked_of(pooler, {name: "1.5"})) is not None}
    assert sorted(wants) == FRACTIONS
    for want in wants.values():
        assert pooler.differs(pooler.reload(want)) == {}


@examples(60)
@given(data=st.data())
def test_every_setting_is_loaded_as_it_was_given_or_refused(pooler: Pooler, data: st.DataObject) -> None:
    chosen: dict[str, str] = {}
    for name in data.draw(st.sets(st.sampled_from(SETTINGS), min_size=1, max_size=5)):
        one = ENTRY.settings[name]
        right = st.integers(one.minimum, min(one.maximum, one.minimum + 1000)).map(str) if name in NUMBERS else st.nothing()
        chosen[name] = data.draw(right | st.sampled_from([*one.choices, "on", "off", "0", "1"]) | names)
    want = asked_of(pooler, chosen)
    if want is not None:
        assert pooler.differs(pooler.reload(want)) == {}


@examples(60)
@given(name=fair)
@example(name="a b;c#d%e[f]=g,h:i")
@example(name="%include x")
def test_a_home_is_loaded_as_the_path_that_it_is_or_refused(pooler: Pooler, name: str) -> None:
    try:
        place = home({"HOWDAH_HOME": f"/srv/{name.replace('/', '-')}/howdah"})
        layout = Layout(place, "x")
        layout.check()
    except Refusal:
        return
    wanted = pooler.reload(pooler.want, layout)
    assert pooler.differs(wanted) == {}
    [row] = [each for each in pooler.asked.ask("SHOW DATABASES") if each["name"] == "template1"]
    assert (row["host"], row["port"], row["database"]) == (str(layout.socket_dir), "5432", "postgres")


networks = (
    st.ip_addresses().map(str) | texts | st.sampled_from(["all", "samenet", "0.0.0.0/0", "::/0", "10.0.0.0/8 trust", "10.0.0.0/8\tx"])
)


@examples(60)
@given(asked=st.lists(networks, min_size=1, max_size=4))
def test_every_rule_for_a_network_is_one_that_pgbouncer_reads(pooler: Pooler, asked: list[str]) -> None:
    try:
        want, _ = wishes.with_reach(pooler.want, ("pooled",), (), (), asked)
    except Refusal:
        return
    log = pooler.directory / "log"
    before = log.stat().st_size if log.exists() else 0
    wanted = pooler.reload(want)
    rules = Path(wanted["auth_hba_file"])
    assert pooler.differs(wanted) == {} and rules.read_text() == rendered.pooler_hba(want)
    said = log.read_bytes()[before:].decode(errors="replace").splitlines()
    assert [line for line in said if trial.COMPLAINT.search(line) and not trial.HARMLESS.search(line)] == []
