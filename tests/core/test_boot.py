"""What systemd is told: the texts, without a systemd. That systemd reads them as they are meant is seen in tests/real/test_service.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from howdah.core.boot import FEWEST_FILES, MARK, Boot, links, same, switched_lingering_on, texts, unit_name

SYSTEM = Boot("howdah", Path("/var/lib/howdah"), Path("/opt/howdah/bin/python"), settings={"HOWDAH_TRASH": "60"})
USER = replace(SYSTEM, personal=True)


def lines(boot: Boot, unit: str) -> list[str]:
    return texts(boot)[unit].splitlines()


@pytest.mark.parametrize("boot", [SYSTEM, USER], ids=["system", "user"])
def test_servers_are_started_once_ended_in_order_and_never_killed(boot: Boot) -> None:
    said = lines(boot, "howdah.service")
    for line in ("Type=oneshot", "RemainAfterExit=yes", "KillMode=process", "OOMPolicy=continue", "TasksMax=infinity"):
        assert line in said
    assert 'ExecStart=-":/opt/howdah/bin/python" -P -m howdah repair --all' in said
    assert 'ExecStopPost=":/opt/howdah/bin/python" -P -m howdah service down --yes' in said
    assert {'Environment="HOWDAH_HOME=/var/lib/howdah"', 'Environment="HOWDAH_TRASH=60"'} <= {*said}


def test_a_machine_waits_for_its_network_and_disks_and_a_user_can_not() -> None:
    waits = {"After=network-online.target", 'RequiresMountsFor="/var/lib/howdah" "/opt/howdah/bin/python"'}
    assert waits <= {*lines(SYSTEM, "howdah.service")}
    assert not waits & {*lines(USER, "howdah.service")}


def test_it_starts_with_the_machine_or_with_its_user() -> None:
    assert "WantedBy=multi-user.target" in lines(SYSTEM, "howdah.service")
    assert "WantedBy=default.target" in lines(USER, "howdah.service")
    assert {*links(SYSTEM)} == {"multi-user.target.wants/howdah.service", "timers.target.wants/howdah-repair.timer"}
    assert {*links(USER)} == {"default.target.wants/howdah.service", "timers.target.wants/howdah-repair.timer"}


def test_the_timer_repairs_by_way_of_the_service() -> None:
    assert "ExecStart=systemctl try-reload-or-restart howdah.service" in lines(SYSTEM, "howdah-repair.service")
    assert "ExecStart=systemctl --user try-reload-or-restart howdah.service" in lines(USER, "howdah-repair.service")
    timer = lines(SYSTEM, "howdah-repair.timer")
    assert {"OnStartupSec=5min", "OnCalendar=daily", "Persistent=yes"} <= {*timer}
    assert not any(line.startswith("RandomizedDelaySec") for line in timer), "it would hold back the repair after a start"


def test_no_instance_gets_fewer_open_files_at_boot_than_it_was_made_with() -> None:
    assert f"LimitNOFILE=1024:{FEWEST_FILES}" in lines(replace(SYSTEM, open_files=1024), "howdah.service")
    assert "LimitNOFILE=1024:524288" in lines(replace(SYSTEM, open_files=524_288), "howdah.service")


def test_two_homes_never_share_a_unit() -> None:
    names = {unit_name(Path(home), default=False) for home in ("/srv/a", "/srv/b", "/srv/a/b")} | {unit_name(Path("/srv/a"), default=True)}
    assert len(names) == 4


def test_what_was_installed_is_known_again_with_other_settings_but_not_with_another_program() -> None:
    text = texts(SYSTEM)["howdah.service"]
    later = replace(SYSTEM, settings={}, open_files=524_288, lingering_is_ours=True)
    assert same(text, texts(later)["howdah.service"])
    assert not same(text, texts(replace(SYSTEM, python=Path("/other/python")))["howdah.service"])


def test_lingering_that_was_switched_on_for_it_is_remembered_in_the_unit() -> None:
    assert switched_lingering_on(texts(replace(USER, lingering_is_ours=True))["howdah.service"])
    assert not switched_lingering_on(texts(USER)["howdah.service"])


def test_every_unit_says_whose_it_is() -> None:
    assert all(text.startswith(MARK) for text in texts(SYSTEM).values())
