"""Units as systemd reads them: put in place in a directory such as its own, taken away again, and asked about with systemd's own programs.
No systemd that runs anything is told of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howdah.core.boot import MARK, Boot, links, texts
from howdah.errors import Conflict, Unsupported
from howdah.host import systemd


@pytest.fixture
def systemds(tmp_path: Path) -> systemd.Place:
    """A directory such as systemd's own, of a systemd that does not run."""
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "multi-user.target.wants").mkdir()
    (units / "multi-user.target.wants/cron.service").symlink_to("/lib/systemd/system/cron.service")
    return systemd.Place(units, tmp_path / "timers", running=False)


def lying(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def test_units_are_put_in_place_and_leave_nothing_behind(systemds: systemd.Place, tmp_path: Path) -> None:
    boot = systemd.boot(tmp_path / "home", systemds)
    before = lying(systemds.units)
    systemd.write(systemds, boot)
    systemd.write(systemds, boot)
    seen = systemd.seen(systemds, boot)
    assert seen.current
    assert {*seen.files} == {str(systemds.units / name) for name in (*texts(boot), *links(boot))}
    assert {(systemds.units / name).stat().st_mode & 0o777 for name in texts(boot)} == {0o644}
    systemds.stamps.mkdir()
    (systemds.stamps / f"stamp-{boot.timer}").touch()
    assert systemd.remove(systemds, boot)
    assert lying(systemds.units) == before
    assert not [*systemds.stamps.iterdir()]
    assert not systemd.remove(systemds, boot)
    assert not systemd.seen(systemds, boot).files


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="there is no systemctl to ask")
def test_systemctl_calls_them_enabled(systemds: systemd.Place, tmp_path: Path) -> None:
    boot = systemd.boot(tmp_path / "home", systemds)
    systemd.write(systemds, boot)
    for unit in (boot.service, boot.timer):
        asked = ["systemctl", f"--root={tmp_path}", "is-enabled", unit]
        assert subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "enabled\n"


def test_a_unit_that_others_wrote_is_left_alone(systemds: systemd.Place, tmp_path: Path) -> None:
    boot = systemd.boot(tmp_path / "home", systemds)
    path = systemds.units / boot.service
    path.write_text("[Service]\nExecStart=/bin/true\n")
    with pytest.raises(Conflict, match="somebody else's unit"):
        systemd.install(replace(systemds, running=True), boot)
    assert not systemd.remove(systemds, boot)
    assert path.read_text() == "[Service]\nExecStart=/bin/true\n"


def test_an_older_unit_of_ours_is_brought_up_to_date(systemds: systemd.Place, tmp_path: Path) -> None:
    boot = systemd.boot(tmp_path / "home", systemds)
    systemd.write(systemds, boot)
    (systemds.units / boot.service).write_text(f"{MARK}\n[Service]\nExecStart=/bin/true\n")
    assert not systemd.seen(systemds, boot).current
    systemd.write(systemds, boot)
    assert systemd.seen(systemds, boot).current


def test_certificates_are_known_to_be_renewed_while_the_timer_is_there(systemds: systemd.Place, tmp_path: Path) -> None:
    running, boot = replace(systemds, running=True), systemd.boot(tmp_path / "home", systemds)
    assert not systemd.renews(running, boot)
    systemd.write(running, boot)
    assert systemd.renews(running, boot)
    assert not systemd.renews(systemds, boot), "systemd does not run"
    nobody = replace(running, user="nobody-who-lingers")
    assert not systemd.renews(nobody, replace(boot, personal=True)), "only while somebody is logged in"
    systemd.remove(systemds, boot)
    assert not systemd.renews(running, boot)


WORD = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/'\"\\"), min_size=1, max_size=12
)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze to ask")
@settings(max_examples=6, deadline=None)
@given(
    home=WORD.filter(lambda word: word.isprintable() and word not in (".", "..")),
    trash=WORD,
    personal=st.booleans(),
    serve=st.sampled_from(["", "[::]:8779"]),
)
def test_systemd_reads_units_as_they_are_meant(home: str, trash: str, personal: bool, serve: str) -> None:
    above = Path(mkdtemp(prefix="n"))
    python = above / home / "100 % $x" / "python"
    python.parent.mkdir(parents=True)
    boot = Boot("howdah", above / home, python, personal, {"HOWDAH_TRASH": trash}, serve=serve)
    started = {boot.service, *([boot.serving] if serve else [])}
    try:
        expected = {f"{unit}: Command {python} is not executable: No such file or directory" for unit in started}
        assert verified(above, boot) == expected, "it reads the very path"
        python.symlink_to(shutil.which("true") or "/bin/true")
        assert verified(above, boot) == set()
    finally:
        shutil.rmtree(above)


def verified(above: Path, boot: Boot) -> set[str]:
    """Return what `systemd-analyze verify` complains of."""
    for name, text in texts(boot).items():
        (above / name).write_text(text)
    command = ["systemd-analyze", "--user" if boot.personal else "--system", "verify", *(str(above / name) for name in texts(boot))]
    env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(above), "HOME": str(above), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=30, check=False)
    ours = {line for line in done.stderr.splitlines() if "howdah" in line or str(above) in line}
    return ours or ({done.stderr} if done.returncode else set())


def test_a_path_that_systemd_starts_nothing_from_is_refused(systemds: systemd.Place, tmp_path: Path) -> None:
    running = replace(systemds, running=True)
    for python in ("/opt/it's/python", "/opt/back\\slash/python", "/opt/line\nbreak/python"):
        with pytest.raises(Unsupported, match="cannot write these into a unit"):
            systemd.install(running, Boot("howdah", tmp_path, Path(python)))
    assert not (systemds.units / "howdah.service").exists()
