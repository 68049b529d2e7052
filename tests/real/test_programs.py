"""What `show` says that an instance runs on, beside what its servers say themselves; a replaced program still tells its version."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.real.instances import Place, scalar
from tests.real.servers import new_home

from howdah import compose
from howdah.cli import door
from howdah.core.programs import Program, Used
from howdah.host import programs


def look(here: Place) -> dict[str, Used]:
    return {each.name: each for each in compose.programs(here.home, here.want())}


def test_the_versions_are_those_that_the_servers_say(here: Place) -> None:
    found = look(here)
    with here.login("direct") as session:
        assert str(scalar(session, "SHOW server_version")).split()[0] == found["postgresql"].program.version
    told = here.console("SHOW VERSION")[0]
    assert f"PgBouncer {found['pgbouncer'].program.version}" in (told.get("version") or "")
    assert all(each.running for each in found.values())


def test_openssl_is_the_one_that_the_servers_have_loaded(here: Place) -> None:
    for each, pid in ((look(here)["postgresql"], here.postmaster()), (look(here)["pgbouncer"], here.members()[1].pid)):
        loaded = {line.split()[-1] for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "libcrypto" in line}
        library = each.program.openssl
        assert library is not None and loaded == {library.path}
    said = subprocess.run([look(here)["pgbouncer"].program.path, "--version"], capture_output=True, text=True, check=True).stdout
    pooled = look(here)["pgbouncer"].program.openssl
    assert pooled is not None and f"tls: OpenSSL {pooled.version} " in said


def test_packages_are_those_that_dpkg_knows(here: Place) -> None:
    packaged = [each.program for each in look(here).values() if each.program.package]
    if not packaged:
        pytest.skip("no program here is of a Debian package")
    for program in packaged:
        told = subprocess.run(["dpkg-query", "-W", "-f=${Version} ", program.package], capture_output=True, text=True, check=True).stdout
        assert re.sub(r"\+b\d+$", "", told.split()[0]) == program.package_version
        assert programs._status_version(program.package) == told.split()[0], "without documents it is found too"


def test_show_answers_with_the_programs(here: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HOWDAH_HOME", str(here.home))
    assert door.main(["show", "shop", "--json"]) == 0
    told = {each["name"]: each for each in json.loads(capsys.readouterr().out)["programs"]}
    assert set(told) == {"postgresql", "pgbouncer", "openssl"}
    assert set(told["openssl"]["used_by"]) <= {"postgresql", "pgbouncer"}
    assert door.main(["show", "shop"]) == 0
    assert re.search(r"^  PostgreSQL +\d+\.\d+", capsys.readouterr().out, re.MULTILINE)


def test_a_stopped_instance_tells_what_it_would_run_on(here: Place) -> None:
    want = here.want()
    before = look(here)
    absent = programs.used(here.host.layout("absent00"), want)
    assert not any(each.running for each in absent)
    assert {each.name: each.program.version for each in absent} == {name: each.program.version for name, each in before.items()}


def test_a_program_that_was_replaced_still_tells_its_version() -> None:
    home = new_home()
    copy = home / "sleeper"
    shutil.copy("/bin/sleep", copy)
    with copy.open("ab") as program:
        program.write(b"\0PgBouncer 1.99.7\0")
    process = subprocess.Popen([copy, "60"])
    try:
        copy.unlink()
        found = programs._look(process.pid, copy, programs._POOLER)
        assert (found.version, found.path, found.package) == ("1.99.7", str(copy), "")
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("content", [None, b"", b"nothing of the kind"])
def test_what_is_no_program_tells_nothing(content: bytes | None) -> None:
    path = new_home() / "none"
    if content is not None:
        path.write_bytes(content)
    assert programs.pooler_program(path) == Program(str(path), "")
